"""Rules fire once per event, hold back by event time, and count everything they hold back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings

from operators.errors import SettingsError
from operators.notify.alerter import Alerter
from operators.notify.memory import MAX_OPEN
from operators.notify.rules import EscalateSettings, RuleSettings, SenseShares, check_rules
from operators.records import Alert, Event, Suppressed, alert_id
from tests.operators.notify.events import an_event

ALERTABLE = ("siren", "fight")


class Watched:
    """An alerter and what it told."""

    def __init__(self, *rules: RuleSettings) -> None:
        self.held: list[Suppressed] = []
        self.alerter = Alerter(rules, ALERTABLE)

    def give(self, *events: Event) -> list[Alert]:
        made = list(self.alerter.process(events))
        self.held += [item for item in made if isinstance(item, Suppressed)]
        return [item for item in made if isinstance(item, Alert)]

    @property
    def reasons(self) -> Counter[tuple[str, str]]:
        return Counter((held.rule, held.reason) for held in self.held)


def life(start_s: float = 0.0, end_s: float = 4.0, **fields: Any) -> list[Event]:
    """An event from open to close, with an update every second."""
    updates = [an_event("update", start_s=start_s, at_s=float(at), **fields)
               for at in range(int(start_s) + 1, int(end_s))]
    return [an_event("open", start_s=start_s, **fields), *updates,
            an_event("close", start_s=start_s, at_s=end_s, **fields)]


def test_without_rules_every_alertable_event_is_told_once() -> None:
    watched = Watched()
    events = [*life(), *life(label="fight"), *life(label="street_music")]
    alerts = watched.give(*events)
    assert [alert.event.label for alert in alerts] == ["siren", "fight"]
    assert watched.reasons == {("", "unmatched"): 1}


def test_an_alert_is_deterministic_and_carries_its_event() -> None:
    opened = an_event()
    alert, = Watched().give(opened)
    name = alert_id("default", opened.id)
    assert alert == Alert(id=name, rule="default", created_ns=opened.time_ns, event=opened, incident=name)


def test_labels_and_cameras_choose() -> None:
    rule = RuleSettings(name="gates", labels=("street_music",), cameras=("gate-*", "lobby"))
    watched = Watched(rule)
    alerts = watched.give(
        an_event(label="street_music", camera="gate-1"), an_event(label="street_music", camera="gates"),
        an_event(label="street_music", camera="lobby"), an_event(label="siren", camera="lobby"))
    assert [alert.event.camera for alert in alerts] == ["gate-1", "lobby"]


def test_every_rule_fires_for_itself() -> None:
    watched = Watched(RuleSettings(name="one"), RuleSettings(name="two", min_length_s=2.0))
    alerts = watched.give(*life())
    assert [(alert.rule, alert.event.kind) for alert in alerts] == [("one", "open"), ("two", "update")]
    assert len({alert.id for alert in alerts}) == 2


@pytest.mark.parametrize(("min_length_s", "kind", "told_at_s"), [(0.0, "open", 0.0), (2.0, "update", 2.0),
                                                                  (3.5, "close", 4.0)])
def test_fires_when_the_event_has_lasted_long_enough(min_length_s: float, kind: str, told_at_s: float) -> None:
    alert, = Watched(RuleSettings(name="long", min_length_s=min_length_s)).give(*life())
    assert alert.event.kind == kind
    assert alert.created_ns - alert.event.start_ns == told_at_s * 1e9


def test_too_short_and_too_weak_are_counted_at_the_end() -> None:
    watched = Watched(RuleSettings(name="strict", min_length_s=3.0, min_score=0.95))
    assert watched.give(*life(end_s=4.0)) == []
    assert watched.give(*life(start_s=10, end_s=12.0, peak_score=0.99)) == []
    assert watched.reasons == {("strict", "score"): 1, ("strict", "length"): 1}


def test_the_score_may_be_reached_late() -> None:
    rising = [an_event("open", peak_score=0.5), an_event("update", at_s=1.0, peak_score=0.97)]
    alert, = Watched(RuleSettings(name="sure", min_score=0.95)).give(*rising)
    assert alert.event.kind == "update"


def test_cooldown_is_of_one_rule_camera_and_label() -> None:
    watched = Watched(RuleSettings(name="calm", cooldown_s=30.0))
    alerts = watched.give(*life(), *life(10, 14), *life(10, 14, camera="gate"), *life(10, 14, label="fight"),
                          *life(40, 44))
    assert [(a.event.camera, a.event.label) for a in alerts] == [
        ("lobby", "siren"), ("gate", "siren"), ("lobby", "fight"), ("lobby", "siren")]
    assert watched.reasons == {("calm", "cooldown"): 1}


def test_an_event_that_outlasts_the_cooldown_is_told_late() -> None:
    first, second = Watched(RuleSettings(name="calm", cooldown_s=30.0)).give(*life(0, 4), *life(20, 50))
    assert first.event.kind == "open"
    assert (second.event.kind, second.created_ns - first.created_ns) == ("update", 30_000_000_000)


def test_a_clock_set_back_silences_nothing() -> None:
    assert len(Watched(RuleSettings(name="calm")).give(*life(1000, 1004), *life(0, 4))) == 2


def test_a_second_close_or_a_late_start_breaks_nothing() -> None:
    watched = Watched()
    closing = life()[-1]
    assert [alert.event.kind for alert in watched.give(closing, closing)] == ["close"]
    assert watched.reasons == {("default", "cooldown"): 1}


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 40), st.sampled_from(["lobby", "gate"]),
                          st.sampled_from(["siren", "fight", "dog_bark"])), max_size=12, unique_by=lambda e: e[0]),
       st.integers(1, 7), st.integers(0, 9))
def test_sent_and_suppressed_add_up_over_any_restarts(
        lives: Sequence[tuple[int, int, str, str]], batch: int, min_length_s: int) -> None:
    rule = RuleSettings(name="rule", min_length_s=float(min_length_s), cooldown_s=25.0)
    events = sorted((event for start, length, camera, label in lives
                     for event in life(start, start + length, camera=camera, label=label)),
                    key=lambda event: event.time_ns)
    undisturbed, restarted = Watched(rule), Watched(rule)
    expected = undisturbed.give(*events)
    alerts: list[Alert] = []
    state: dict[str, bytes] = {}
    for at in range(0, len(events), batch):
        held, restarted = restarted.held, Watched(rule)
        restarted.held += held
        restarted.alerter.restore(state)
        alerts += restarted.give(*events[at:at + batch])
        state |= restarted.alerter.snapshot()
    assert alerts == expected
    assert restarted.reasons == undisturbed.reasons
    assert len(alerts) + sum(restarted.reasons.values()) == len(lives)


def test_what_was_not_committed_is_forgotten() -> None:
    watched = Watched()
    state = watched.alerter.snapshot()
    first = watched.give(an_event())
    watched.alerter.restore(state)
    assert watched.give(an_event()) == first


def test_snapshot_tells_only_what_changed() -> None:
    watched = Watched()
    watched.give(an_event(camera="a"), an_event(camera="b"), an_event(camera="c", label="dog_bark"))
    assert set(watched.alerter.snapshot()) == {"a", "b"}
    watched.give(an_event("update", at_s=1.0, camera="a"), an_event("close", at_s=2.0, camera="b"))
    assert set(watched.alerter.snapshot()) == {"b"}
    assert watched.alerter.snapshot() == {}


def test_state_stays_small_when_events_never_close() -> None:
    watched = Watched(RuleSettings(name="all", cooldown_s=0.0))
    sizes = []
    for round_ in range(3):
        watched.give(*(an_event(start_s=round_ * MAX_OPEN + i) for i in range(MAX_OPEN)))
        sizes.append(len(watched.alerter.snapshot()["lobby"]))
    assert sizes[1] == sizes[2] < 40_000


def test_rules_gone_from_the_config_leave_the_state() -> None:
    before = Watched(RuleSettings(name="former"), RuleSettings(name="new"))
    before.give(an_event())
    after = Watched(RuleSettings(name="new"))
    after.alerter.restore(before.alerter.snapshot())
    after.give(an_event("close", at_s=1.0))
    assert b"former" not in after.alerter.snapshot()["lobby"]


@pytest.mark.parametrize(("rules", "says"), [
    ([RuleSettings(name="a"), RuleSettings(name="a")], "rules.a: the name is used twice"),
    ([RuleSettings(name="a", labels=("figth",))], "rules.a.labels: 'figth' is none of fight, siren"),
    ([RuleSettings(name="a", sinks=("pager",))], "rules.a.sinks: 'pager' is none of guard"),
    ([RuleSettings(name="a", escalate=EscalateSettings(after_s=9, sinks=("boss",)))],
     "rules.a.escalate.sinks: 'boss' is none of guard"),
    ([RuleSettings(name="a", senses=SenseShares(visual=0.6, acoustic=0.6))],
     "rules.a.senses: the two shares of an event sum to 1, these to more"),
])
def test_rules_that_cannot_work_are_refused(rules: list[RuleSettings], says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_rules(rules, ALERTABLE, ["guard"])
    assert str(caught.value) == says


@pytest.mark.parametrize("wrong", [{"name": ""}, {"name": "a b"}, {"name": "a", "min_score": 1.5},
                                   {"name": "a", "cooldown_s": -1}, {"name": "a", "cameras": []},
                                   {"name": "a", "label": ["fight"]}])
def test_settings_out_of_bounds_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, RuleSettings)


def test_without_rules_what_is_wrong_with_a_camera_is_told_too_but_not_every_minute() -> None:
    watched = Watched()
    alerts = watched.give(*life(label="camera_black"), *life(120, 124, label="camera_black"),
                          *life(130, 134, label="camera_frozen"))
    assert [(alert.rule, alert.event.label) for alert in alerts] == [
        ("camera_health", "camera_black"), ("camera_health", "camera_frozen")]
    assert watched.reasons == {("camera_health", "cooldown"): 1}


def test_only_a_rule_that_asks_for_it_tells_what_is_wrong_with_a_camera() -> None:
    events = [*life(label="camera_black"), *life(label="camera_moved"), *life(label="camera_x"), *life()]
    rules = {"all_alertable": (), "one": ("camera_moved",), "any": ("camera_*",), "both": ("camera_*", "siren")}
    told = {name: [alert.event.label for alert in Watched(RuleSettings(name=name, labels=labels)).give(*events)]
            for name, labels in rules.items()}
    assert told == {"all_alertable": ["siren"], "one": ["camera_moved"], "any": ["camera_black", "camera_moved"],
                    "both": ["camera_black", "camera_moved", "siren"]}
    check_rules([RuleSettings(name="a", labels=("camera_*", "camera_black", "siren"))], ALERTABLE, [])
    for wrong in ("*", "camera_", "camera_x", "c*"):
        with pytest.raises(SettingsError, match="labels"):
            check_rules([RuleSettings(name="a", labels=(wrong,))], ALERTABLE, [])
