"""Which of the events that were reported really happened, and which of those that happened were reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

TOLERANCE_S = 1.0


@dataclass(frozen=True)
class Span:
    """From when to when, in seconds from the beginning of the media."""

    start_s: float
    end_s: float

    def near(self, other: Span, tolerance_s: float) -> bool:
        """Whether the two overlap once one of them is widened by the tolerance."""
        return self.start_s <= other.end_s + tolerance_s and other.start_s <= self.end_s + tolerance_s


@dataclass(frozen=True)
class Matched:
    """Counts of one label in one stream; sums with `+`."""

    found: int = 0  # true events that were reported
    missed: int = 0
    right: int = 0  # reported events that are near a true one
    false: int = 0

    def __add__(self, other: Matched) -> Matched:
        """Both streams together."""
        return Matched(self.found + other.found, self.missed + other.missed, self.right + other.right,
                       self.false + other.false)

    @property
    def precision(self) -> float:
        """Part of the reported events that are true; 1 where nothing was reported."""
        return self.right / (self.right + self.false) if self.right + self.false else 1.0

    @property
    def recall(self) -> float:
        """Part of the true events that were reported; 1 where there were none."""
        return self.found / (self.found + self.missed) if self.found + self.missed else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def match(reported: Sequence[Span], true: Sequence[Span], tolerance_s: float = TOLERANCE_S) -> Matched:
    """Count one label's events. A long report may cover several true events, and finds them all."""
    found = sum(any(event.near(report, tolerance_s) for report in reported) for event in true)
    right = sum(any(report.near(event, tolerance_s) for event in true) for report in reported)
    return Matched(found, len(true) - found, right, len(reported) - right)
