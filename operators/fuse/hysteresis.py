"""Scores to events, one label of one camera at a time.

An event starts where the score reaches `open`, is reported once it has lasted `min_length_s`, goes on
while the score stays at `close` or above, and ends when it has been below for longer than
`merge_gap_s`; a score that reaches `open` again before that continues the same event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from operators.clock import NS_PER_S, seconds_to_ns
from operators.models.bundle import Label

UPDATE_NS = 5 * NS_PER_S  # how often a lasting event is reported


class Tracker(msgspec.Struct):
    """Where a label stands; plain data, so that a snapshot holds it as it is."""

    start_ns: int | None = None  # of the event being watched; None: nothing there
    lasted_ns: int = 0  # end of the last step at or above the closing threshold
    opened: bool = False  # long enough to have been reported
    reported_ns: int = 0  # time of the last report
    score: float = 0.0
    peak: float = 0.0
    steps: int = 0
    visual: float = 0.0  # sum over steps of the visual share
    sentiment: list[float] = msgspec.field(default_factory=lambda: [0.0] * 4)  # sums: nobody, then the three

    def reset(self) -> None:
        """Forget the event."""
        fresh = Tracker()
        for name in self.__struct_fields__:
            setattr(self, name, getattr(fresh, name))


class Step(msgspec.Struct, frozen=True):
    """What one step says about one label."""

    start_ns: int
    end_ns: int
    score: float
    visual: float  # share of the score that came from the pictures
    sentiment: Sequence[float]  # probabilities: nobody heard, then the three


Kind = Literal["open", "update", "close"]


def follow(tracker: Tracker, label: Label, step: Step) -> Kind | None:
    """Take the next step; says what is to be reported of the event in `tracker`, if anything.

    After "close" the tracker still holds the event, for the report; the caller then resets it.
    """
    paused_ns = step.end_ns - tracker.lasted_ns if tracker.start_ns is not None else 0
    going_on = tracker.start_ns is not None and tracker.lasted_ns >= step.start_ns
    if step.score >= (label.close if going_on else label.open):
        _add(tracker, step)
        return _due(tracker, label, step)
    tracker.score = step.score
    if tracker.opened:
        return "close" if paused_ns > seconds_to_ns(label.merge_gap_s) else None
    tracker.reset()
    return None


def _add(tracker: Tracker, step: Step) -> None:
    if tracker.start_ns is None:
        tracker.start_ns = step.start_ns
    tracker.lasted_ns, tracker.score = step.end_ns, step.score
    tracker.peak = max(tracker.peak, step.score)
    tracker.steps += 1
    tracker.visual += step.visual
    tracker.sentiment = [total + more for total, more in zip(tracker.sentiment, step.sentiment, strict=True)]


def _due(tracker: Tracker, label: Label, step: Step) -> Kind | None:
    """The first report once the event is long enough, then one every `UPDATE_NS`."""
    if not tracker.opened:
        if tracker.start_ns is None or step.end_ns - tracker.start_ns < seconds_to_ns(label.min_length_s):
            return None
        tracker.opened, tracker.reported_ns = True, step.end_ns
        return "open"
    if step.end_ns - tracker.reported_ns < UPDATE_NS:
        return None
    tracker.reported_ns = step.end_ns
    return "update"
