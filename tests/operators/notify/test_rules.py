"""Every table of a rule does what it says, holds back by name, and is remembered exactly over restarts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings

from operators.clock import NS_PER_S
from operators.notify.alerter import Alerter
from operators.notify.hours import Hours
from operators.notify.rules import LACKS, EscalateSettings, GroupSettings, RateSettings, RuleSettings, SenseShares
from operators.records import Alert, Event, Senses, Sentiment, Suppressed, escalation_id
from tests.operators.notify.events import T0, an_event

ALERTABLE = ("siren", "fight")
BERLIN = ZoneInfo("Europe/Berlin")


def made(rules: list[RuleSettings], events: list[Event]) -> tuple[list[Alert], Counter[tuple[str, str]]]:
    outputs = list(Alerter(rules, ALERTABLE).process(events))
    return ([one for one in outputs if isinstance(one, Alert)],
            Counter((one.rule, one.reason) for one in outputs if isinstance(one, Suppressed)))


def life(start_s: float, end_s: float, **fields: Any) -> list[Event]:
    """An event from open to close, with an update every second."""
    updates = [an_event("update", start_s=start_s, at_s=start_s + at, **fields)
               for at in range(1, int(end_s - start_s))]
    return [an_event("open", start_s=start_s, **fields), *updates,
            an_event("close", start_s=start_s, at_s=end_s, **fields)]


def rule(**fields: Any) -> RuleSettings:
    return RuleSettings(name="rule", **{"cooldown_s": 0.0, **fields})


def at(text: str) -> float:
    """Seconds after T0 of a local time in Berlin."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp() - T0 / NS_PER_S


@pytest.mark.parametrize(("hours", "within", "outside"), [
    (Hours(start="08:00", end="18:00", timezone="Europe/Berlin"), "2026-11-20T08:00", "2026-11-20T18:00"),
    (Hours(start="08:00", end="18:00", timezone="Europe/Berlin"), "2026-07-20T17:59", "2026-07-20T07:59"),  # summer
    (Hours(start="22:00", end="06:00", timezone="Europe/Berlin"), "2026-11-20T23:00", "2026-11-20T21:59"),
    (Hours(start="22:00", end="06:00", timezone="Europe/Berlin"), "2026-11-20T05:59", "2026-11-20T06:00"),
    (Hours(days=("sat", "sun"), timezone="Europe/Berlin"), "2026-11-21T00:00", "2026-11-20T23:59"),
    (Hours(start="22:00", end="06:00", days=("fri",), timezone="Europe/Berlin"), "2026-11-21T05:00",
     "2026-11-20T05:00"),  # Friday's night ends on Saturday
    (Hours(start="12:00"), "2026-11-20T23:59", "2026-11-20T12:59"),  # UTC: an hour behind Berlin
])
def test_hours_are_those_of_the_place(hours: Hours, within: str, outside: str) -> None:
    for text, wanted in ((within, True), (outside, False)):
        assert hours.contain(T0 + round(at(text) * NS_PER_S)) is wanted, text
    only, quiet = rule(hours=(hours,)), rule(quiet=(hours,))
    for text, told_only, told_quiet in ((within, 1, 0), (outside, 0, 1)):
        event = an_event("close", start_s=at(text))
        assert len(made([only], [event])[0]) == told_only
        assert len(made([quiet], [event])[0]) == told_quiet
    assert made([only], [an_event("close", start_s=at(outside))])[1] == {("rule", "hours"): 1}
    assert made([quiet], [an_event("close", start_s=at(within))])[1] == {("rule", "quiet"): 1}


@pytest.mark.parametrize("wrong", [
    {"timezone": "Europe/Atlantis"}, {"timezone": "../etc/passwd"}, {"timezone": ""}, {"start": "25:00"},
    {"start": "8:00"}, {"start": "08:00", "end": "08:00"}, {"days": ["someday"]}, {"from": "08:00"}])
def test_hours_that_there_are_not_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": "a", "hours": [wrong]}, RuleSettings)


def test_an_event_that_outlasts_quiet_hours_is_told_late() -> None:
    quiet = Hours(start="00:00", end="06:00", timezone="Europe/Berlin")
    begins = at("2026-11-20T05:59:58")
    alert, = made([rule(quiet=(quiet,))], life(begins, begins + 5))[0]
    assert (alert.created_ns - alert.event.start_ns) / NS_PER_S == 2


@pytest.mark.parametrize(("sentiment", "reasons"), [
    (None, {("rule", "sentiment"): 1}), (Sentiment("neutral", 0.2, 0.7, 0.1), {("rule", "sentiment"): 1}),
    (Sentiment("negative", 0.8, 0.1, 0.1), {})])
def test_sentiment_is_heard_or_not(sentiment: Sentiment | None, reasons: dict[tuple[str, str], int]) -> None:
    events = life(0, 3, sentiment=sentiment)
    assert made([rule(sentiments=("negative",))], events)[1] == reasons
    assert made([rule()], events)[1] == {}


def test_a_sense_must_have_its_share() -> None:
    heard, seen = life(0, 3, senses=Senses(0.1, 0.9)), life(10, 13, senses=Senses(0.9, 0.1))
    alerts, reasons = made([rule(senses=SenseShares(acoustic=0.5))], heard + seen)
    assert [alert.event for alert in alerts] == [heard[0]]
    assert reasons == {("rule", "senses"): 1}


GATES = rule(group=GroupSettings(window_s=30, areas=(("gate-*", "yard"), ("hall",))))


def test_neighbours_within_the_window_are_one_incident() -> None:
    events = [*life(0, 3, camera="gate-1"), *life(10, 13, camera="gate-2"), *life(20, 23, camera="yard"),
              *life(25, 28, camera="gate-1"), *life(26, 28, camera="hall"), *life(27, 28, camera="yard", label="fight")]
    alerts, reasons = made([GATES], events)
    assert [(alert.event.camera, alert.event.label) for alert in alerts] == [
        ("gate-1", "siren"), ("hall", "siren"), ("yard", "fight")]
    assert [alert.incident for alert in alerts] == [alert.id for alert in alerts]
    assert reasons == {("rule", "grouped"): 3}


def test_after_the_window_it_is_a_new_incident() -> None:
    alerts, _ = made([GATES], [*life(0, 3, camera="gate-1"), *life(30, 33, camera="gate-2")])
    assert len({alert.incident for alert in alerts}) == 2


def test_what_was_counted_to_an_incident_is_not_told_after_its_window() -> None:
    alerts, reasons = made([GATES], [*life(0, 3, camera="gate-1"), *life(10, 60, camera="gate-2")])
    assert len(alerts) == 1
    assert reasons == {("rule", "grouped"): 1}


def test_without_areas_all_cameras_are_neighbours() -> None:
    assert len(made([rule(group=GroupSettings())], [*life(0, 3, camera="a"), *life(5, 8, camera="b")])[0]) == 1


def test_a_held_event_names_its_incident() -> None:
    outputs = list(Alerter([GATES], ALERTABLE).process([*life(0, 3, camera="yard"), *life(5, 8, camera="gate-1")]))
    first, held = outputs
    assert isinstance(first, Alert)
    assert isinstance(held, Suppressed)
    assert (held.reason, held.incident) == ("grouped", first.id)


ESCALATING = rule(escalate=EscalateSettings(after_s=10, severity="critical", sinks=("boss",)), sinks=("guard",))


def test_an_event_that_lasts_is_told_a_second_time() -> None:
    alerts, reasons = made([ESCALATING], life(0, 30))
    first, second = alerts
    assert [(one.severity, one.escalated, one.sinks) for one in alerts] == [
        ("warning", False, ("guard",)), ("critical", True, ("boss",))]
    assert (second.created_ns - second.event.start_ns) / NS_PER_S == 10
    assert second.incident == first.id
    assert second.id == escalation_id("rule", first.id) != first.id
    assert reasons == {}


def test_what_ends_soon_does_not_escalate() -> None:
    assert [alert.escalated for alert in made([ESCALATING], life(0, 9))[0]] == [False]


def test_an_incident_escalates_once_by_whichever_event_lasts() -> None:
    grouped = msgspec.structs.replace(GATES, escalate=EscalateSettings(after_s=10))
    events = sorted([*life(0, 3, camera="gate-1"), *life(1, 25, camera="gate-2"), *life(2, 25, camera="yard")],
                    key=lambda event: event.time_ns)
    alerts, reasons = made([grouped], events)
    assert [(alert.event.camera, alert.escalated) for alert in alerts] == [("gate-1", False), ("gate-2", True)]
    assert len({alert.incident for alert in alerts}) == 1
    assert reasons == {("rule", "grouped"): 2}


def test_what_was_not_told_does_not_escalate() -> None:
    strict = msgspec.structs.replace(ESCALATING, min_score=0.95)
    assert made([strict], life(0, 30)) == ([], {("rule", "score"): 1})


def test_the_rate_is_over_all_cameras_and_slides() -> None:
    limited = rule(rate=RateSettings(alerts=2, per_s=100))
    events = [an_event("close", start_s=start, camera=f"c{start}") for start in (0, 50, 99, 101, 149, 151)]
    alerts, reasons = made([limited], events)
    assert [alert.event.camera for alert in alerts] == ["c0", "c50", "c101", "c151"]
    assert reasons == {("rule", "rate"): 2}


def test_a_storm_of_rated_events_keeps_the_state_small() -> None:
    alerter = Alerter([rule(rate=RateSettings(alerts=3, per_s=10))], ALERTABLE)
    for start in range(2000):
        list(alerter.process(life(start, start + 1)))
    assert len(alerter.snapshot()["lobby"]) < 1000


def test_severity_and_receivers_are_those_of_the_rule() -> None:
    alert, = made([rule(severity="info", sinks=("a", "b"))], life(0, 1))[0]
    assert (alert.severity, alert.sinks) == ("info", ("a", "b"))


MANY = [
    RuleSettings(name="plain"),
    RuleSettings(name="strict", min_score=0.6, min_length_s=2.0, cooldown_s=20.0, sentiments=("negative", "neutral")),
    RuleSettings(name="grouped", cooldown_s=0.0, group=GroupSettings(window_s=25, areas=(("a", "b"), ("c", "d"))),
                 escalate=EscalateSettings(after_s=4)),
    RuleSettings(name="rated", cooldown_s=1.0, rate=RateSettings(alerts=3, per_s=60), senses=SenseShares(visual=0.3),
                 cameras=("[ab]",), escalate=EscalateSettings(after_s=3, severity="critical")),
    RuleSettings(name="nights", labels=("fight", "dog_bark"), hours=(Hours(start="22:00", end="22:20"),),
                 quiet=(Hours(start="22:05", end="22:10"),), cooldown_s=5.0),
]


def draw_lives(draw: Callable[..., Any]) -> list[Event]:
    lives = draw(st.lists(st.tuples(
        st.integers(0, 400), st.integers(1, 12), st.sampled_from("abcd"),
        st.sampled_from(["siren", "fight", "dog_bark"]),
        st.sampled_from([0.3, 0.55, 0.9]), st.sampled_from([0.0, 0.4, 1.0]),
        st.sampled_from([None, Sentiment("negative", 0.8, 0.1, 0.1)])), max_size=14,
        unique_by=lambda one: (one[0], *one[2:4])))
    return sorted((event for start, length, camera, label, score, seen, sentiment in lives
                   for event in life(start, start + length, camera=camera, label=label, peak_score=score,
                                     senses=Senses(seen, 1 - seen), sentiment=sentiment)),
                  key=lambda event: event.time_ns)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_a_restart_at_any_record_changes_nothing(data: st.DataObject) -> None:
    events = draw_lives(data.draw)
    expected = list(Alerter(MANY, ALERTABLE).process(events))
    found: list[Any] = []
    state: dict[str, bytes] = {}
    alerter = Alerter(MANY, ALERTABLE)
    for event in events:
        if data.draw(st.booleans(), label="restart"):
            alerter = Alerter(MANY, ALERTABLE)
            alerter.restore(state)
        found += alerter.process([event])
        state |= alerter.snapshot()
    assert found == expected


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_every_event_is_told_or_held_back_for_a_reason_and_none_twice(data: st.DataObject) -> None:
    events = draw_lives(data.draw)
    alerts, reasons = made(MANY, events)
    ids = {event.id for event in events}
    assert len({alert.id for alert in alerts}) == len(alerts)
    assert {reason for _, reason in reasons} <= {*LACKS, "unmatched", "grouped", "cooldown", "rate"}
    for one in MANY:
        about = {event.id for event in events if one.wants(event, ALERTABLE)}
        sent = [alert for alert in alerts if alert.rule == one.name and not alert.escalated]
        assert len(sent) + sum(count for (name, _), count in reasons.items() if name == one.name) == len(about)
        if one.rate:
            assert all(sum(abs(other.created_ns - alert.created_ns) < one.rate.per_s * NS_PER_S for other in sent[i:])
                       <= one.rate.alerts for i, alert in enumerate(sent))
    wanted = {event.id for event in events if any(one.wants(event, ALERTABLE) for one in MANY)}
    assert reasons["", "unmatched"] == len(ids - wanted)


def test_ten_thousand_events_add_up_without_a_duplicate() -> None:
    cameras = [f"{place}-{i}" for place in ("gate", "hall") for i in range(20)]
    labels = ("siren", "fight", "dog_bark")
    events = [event for i in range(10_000) for event in (
        an_event("open", start_s=i * 2.5, camera=cameras[i * 7 % 40], label=labels[i % 3]),
        an_event("close", start_s=i * 2.5, at_s=i * 2.5 + i % 9, camera=cameras[i * 7 % 40], label=labels[i % 3],
                 peak_score=0.3 + i % 70 / 100))]
    one = RuleSettings(name="one", min_score=0.4, min_length_s=1, cooldown_s=400, sinks=("guard",),
                       group=GroupSettings(areas=(("gate-*",), ("hall-*",))), rate=RateSettings(alerts=100),
                       quiet=(Hours(start="01:00", end="02:00"),), escalate=EscalateSettings(after_s=8))
    alerts, reasons = made([one], events)
    sent = [alert for alert in alerts if not alert.escalated]
    assert len(sent) + sum(reasons.values()) == 10_000
    assert len({alert.id for alert in alerts}) == len(alerts)
    assert len({alert.event.id for alert in sent}) == len(sent)
    assert {reason for _, reason in reasons} == {
        "unmatched", "score", "length", "quiet", "grouped", "cooldown", "rate"}
