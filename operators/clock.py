"""Time: integer nanoseconds since the Unix epoch inside, RFC 3339 and seconds at the edges."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from fractions import Fraction

from typing_extensions import override

NS_PER_S = 1_000_000_000


class Clock(ABC):
    """Where `now` comes from; injected so that tests own the time."""

    @abstractmethod
    def now_ns(self) -> int:
        """Wall-clock time in nanoseconds since the Unix epoch."""

    @abstractmethod
    def monotonic_ns(self) -> int:
        """Nanoseconds that never jump, for intervals and deadlines."""


class SystemClock(Clock):
    """The machine's own clock."""

    @override
    def now_ns(self) -> int:
        return time.time_ns()

    @override
    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


class ManualClock(Clock):
    """A clock that moves only when told to."""

    def __init__(self, start_ns: int = 0) -> None:
        self._ns = start_ns

    @override
    def now_ns(self) -> int:
        return self._ns

    @override
    def monotonic_ns(self) -> int:
        return self._ns

    def sleep(self, seconds: float) -> None:
        """Move the time forward."""
        self._ns += seconds_to_ns(seconds)


def ticks_to_ns(ticks: int, time_base: Fraction) -> int:
    """A media timestamp in `time_base` units as nanoseconds, rounded to the nearest."""
    denominator = time_base.denominator
    return (2 * ticks * time_base.numerator * NS_PER_S + denominator) // (2 * denominator)


def seconds_to_ns(seconds: float) -> int:
    """Seconds as whole nanoseconds."""
    return round(seconds * NS_PER_S)


def ns_to_seconds(ns: int) -> float:
    """Nanoseconds as seconds."""
    return ns / NS_PER_S


def from_rfc3339(text: str) -> int:
    """`text` as nanoseconds since the epoch, to the microsecond.

    Raises:
        ValueError: it is none, or does not say its offset from UTC.
    """
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        message = f"{text!r} does not say its offset from UTC"
        raise ValueError(message)
    since = time - datetime.fromtimestamp(0, UTC)
    return ((since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds) * 1000


def rfc3339(ns: int) -> str:
    """`ns` since the epoch as UTC text with milliseconds: `2026-11-22T10:00:00.250Z`."""
    seconds, rest = divmod(ns, NS_PER_S)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z"
