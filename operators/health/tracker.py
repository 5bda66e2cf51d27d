"""From measures to the beginning and the end of a condition, with patience in both directions."""

from __future__ import annotations

from typing import Literal

import msgspec

from operators.clock import NS_PER_S, seconds_to_ns
from operators.health.conditions import CLEAR, WORST, Timing

UPDATE_NS = 60 * NS_PER_S  # how often a lasting condition is told, so that rules may wait for its length

Kind = Literal["open", "update", "close"]


class Tracker(msgspec.Struct):
    """Where one condition of one camera stands; plain data, so that a snapshot holds it as it is."""

    session: str = ""  # in which it began
    start_ns: int | None = None  # since when it is bad; None: it is not
    end_ns: int | None = None  # since when it is well again
    told_ns: int | None = None  # time of the last report; None: it has not been told
    bad: float = 0.0
    worst: float = 0.0

    @property
    def opened(self) -> bool:
        """Whether it was told."""
        return self.told_ns is not None

    @property
    def idle(self) -> bool:
        """Whether there is nothing to remember."""
        return self.start_ns is None

    def follow(self, bad: float | None, time_ns: int, timing: Timing) -> Kind | None:
        """Take how bad it is now; says what is to be told. After "close" the caller forgets the tracker."""
        if bad is not None and bad >= (CLEAR if self.opened else 1.0):
            self.start_ns, self.end_ns = time_ns if self.start_ns is None else self.start_ns, None
            self.bad, self.worst = bad, max(self.worst, bad)
        elif bad is not None and bad < CLEAR:
            if not self.opened:
                self.start_ns, self.worst = None, 0.0
            elif self.end_ns is None:
                self.end_ns = time_ns
        if self.start_ns is None:
            return None
        if not self.opened:
            return self.tell("open", time_ns) if time_ns - self.start_ns >= seconds_to_ns(timing.onset_s) else None
        if self.end_ns is not None and time_ns - self.end_ns >= seconds_to_ns(timing.end_s):
            return "close"
        return self.tell("update", time_ns) if time_ns - (self.told_ns or 0) >= UPDATE_NS else None

    def tell(self, kind: Kind, time_ns: int) -> Kind:
        """Note that it is told now."""
        self.told_ns = time_ns
        return kind


def score(bad: float) -> float:
    """How sure it is, 0..1: a half at the threshold."""
    return round(min(1.0, max(0.0, bad / (1.0 + bad))), 4) if bad < WORST else 1.0
