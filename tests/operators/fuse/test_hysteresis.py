"""Scores to events, against a reference that looks at the whole story at once."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from operators.fuse.hysteresis import UPDATE_NS, Kind, Step, Tracker, follow
from operators.models.bundle import Label

STEP_NS = 500_000_000
SCORES = st.lists(st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.8, 1.0]), max_size=60)
TIMES_S = st.sampled_from([0.0, 0.3, 0.5, 1.0, 1.2, 2.5])


def a_label(min_length_s: float, merge_gap_s: float, open_: float = 0.7, close: float = 0.3) -> Label:
    return Label(name="x", sense="both", alertable=True, open=open_, close=close, min_length_s=min_length_s,
                 merge_gap_s=merge_gap_s)


def reports(scores: list[float], label: Label) -> list[tuple[int, Kind, int | None, int]]:
    """(number of the step, kind, start, end of the last step in it) as `follow` tells it."""
    tracker, found = Tracker(), []
    for number, score in enumerate(scores):
        kind = follow(tracker, label, Step(number * STEP_NS, (number + 1) * STEP_NS, score, 1.0, [1, 0, 0, 0]))
        if kind:
            found.append((number, kind, tracker.start_ns, tracker.lasted_ns))
        if kind == "close":
            tracker.reset()
    return found


@dataclass
class Run:
    """Steps from `first` to `last`, all of one event."""

    first: int
    last: int


def reference(scores: list[float], label: Label) -> list[tuple[int, Kind, int | None, int]]:
    """Runs above the thresholds first, then those long enough joined over short pauses, then what is told when."""
    runs: list[Run] = []
    for number, score in enumerate(scores):
        if runs and runs[-1].last == number - 1 and score >= label.close:
            runs[-1].last = number
        elif score >= label.open:
            runs.append(Run(number, number))
    told: list[tuple[int, Kind, int | None, int]] = []
    members: list[int] = []  # steps of the event
    opened_at = -1
    for number in range(len(scores)):
        run = next((run for run in runs if run.first <= number <= run.last), None)
        if run is not None:
            members.append(number)
            length_ns = (number - members[0] + 1) * STEP_NS
            if opened_at < 0 and length_ns >= label.min_length_s * 1e9:
                opened_at = number
                told.append((number, "open", members[0] * STEP_NS, (number + 1) * STEP_NS))
            elif opened_at >= 0 and (number - told[-1][0]) * STEP_NS >= UPDATE_NS:
                told.append((number, "update", members[0] * STEP_NS, (number + 1) * STEP_NS))
        elif members:
            pause_ns = (number - members[-1]) * STEP_NS
            if opened_at < 0:
                members = []
            elif pause_ns > label.merge_gap_s * 1e9:
                told.append((number, "close", members[0] * STEP_NS, (members[-1] + 1) * STEP_NS))
                members, opened_at = [], -1
    return told


@given(scores=SCORES, min_length_s=TIMES_S, merge_gap_s=TIMES_S)
def test_it_tells_what_the_reference_tells(scores: list[float], min_length_s: float, merge_gap_s: float) -> None:
    label = a_label(min_length_s, merge_gap_s)
    assert reports(scores, label) == reference(scores, label)


def test_it_opens_at_the_upper_and_closes_below_the_lower_threshold() -> None:
    told = reports([0.69, 0.7, 0.3, 0.3, 0.29, 0.0], a_label(0, 0))
    assert [(number, kind) for number, kind, _, _ in told] == [(1, "open"), (4, "close")]
    assert told[1][2:] == (1 * STEP_NS, 4 * STEP_NS)


def test_a_short_one_is_not_told() -> None:
    assert reports([1, 0, 0, 1, 1, 0], a_label(1.0, 0)) == [
        (4, "open", 3 * STEP_NS, 5 * STEP_NS), (5, "close", 3 * STEP_NS, 5 * STEP_NS)]


def test_a_pause_is_bridged_up_to_the_merge_gap() -> None:
    assert [kind for _, kind, _, _ in reports([1, 1, 0, 0, 1, 1, 0, 0, 0], a_label(0.5, 1.0))] == ["open", "close"]
    assert [kind for _, kind, _, _ in reports([1, 1, 0, 0, 0, 1, 1, 0], a_label(0.5, 1.0))] == ["open", "close", "open"]


def test_a_pause_ends_only_at_the_upper_threshold() -> None:
    assert [kind for _, kind, _, _ in reports([1, 0, 0.5, 0.5], a_label(0, 1.0))] == ["open", "close"]


def test_a_lasting_one_is_told_every_five_seconds() -> None:
    told = reports([1.0] * 31, a_label(0.5, 0))
    assert [(number, kind) for number, kind, _, _ in told] == [(0, "open"), (10, "update"), (20, "update"),
                                                               (30, "update")]


def test_steps_that_never_came_count_as_a_pause() -> None:
    tracker, label = Tracker(), a_label(0, 1.0)
    assert follow(tracker, label, Step(0, STEP_NS, 1.0, 1.0, [1, 0, 0, 0])) == "open"
    late = Step(10 * STEP_NS, 11 * STEP_NS, 0.5, 1.0, [1, 0, 0, 0])  # above closing only
    assert follow(tracker, label, late) == "close"
    assert tracker.lasted_ns == STEP_NS
