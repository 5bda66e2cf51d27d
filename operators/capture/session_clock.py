"""The wall clock of a session: where a time on the source's scale stands among all other cameras."""

from __future__ import annotations

from abc import ABC, abstractmethod

from typing_extensions import override

from operators.capture.packet import PlacedPacket
from operators.clock import NS_PER_S

MAX_LATENCY_NS = 5 * NS_PER_S  # from a camera's clock to ours; beyond it the camera's clock is not set
AHEAD_NS = NS_PER_S // 20  # how far a camera's clock may be ahead of the arrival of what it has timed
OBSERVED_NS = 30 * NS_PER_S  # the quickest packet of so long says what the offset is
MAX_SLEW = 200  # a segment is stretched or squeezed by one part in so many


class SessionClock(ABC):
    """Turns times of the session's time line into nanoseconds since the Unix epoch."""

    @abstractmethod
    def observe(self, placed: PlacedPacket) -> None:
        """A packet has come."""

    @abstractmethod
    def at(self, time_ns: int) -> int:
        """The wall clock at a time of the time line."""

    @abstractmethod
    def media_at(self, time_ns: int) -> int | None:
        """The position in the recording; None for cameras."""

    @property
    def ahead_ns(self) -> int | None:
        """How far the camera's own clock is ahead of ours, less what packets need; None: it tells no time."""
        return None

    @abstractmethod
    def advance(self, elapsed_ns: int) -> None:
        """A segment of this length has been cut: `at` changes here and, once called, nowhere else."""


class RecordedClock(SessionClock):
    """A recording, which began at a known time.

    Args:
        start_ns: wall clock of its beginning.
        zero_ns: its beginning on the source's scale; None: the first time asked for.
    """

    def __init__(self, start_ns: int, zero_ns: int | None) -> None:
        self._start_ns, self._zero_ns = start_ns, zero_ns

    @override
    def observe(self, placed: PlacedPacket) -> None:
        pass

    @override
    def at(self, time_ns: int) -> int:
        return self._start_ns + self.media_at(time_ns)

    @override
    def media_at(self, time_ns: int) -> int:
        if self._zero_ns is None:
            self._zero_ns = time_ns
        return time_ns - self._zero_ns

    @override
    def advance(self, elapsed_ns: int) -> None:
        pass


class LiveClock(SessionClock):
    """A camera: by its RTCP sender reports where its clock is set, else by when packets arrive.

    The packet that was quickest on its way says most truly when things happened, so the offset is the
    smallest of arrival minus time, over the last half to full minute. Until the first segment is cut
    the offset follows at once; then by at most 5 ms a second, so that a camera whose clock drifts
    stays with the others and its segments still tile.
    """

    def __init__(self) -> None:
        self._offset_ns: int | None = None  # in use
        self._arrival_ns: int | None = None  # smallest arrival minus time, in this span and the one before
        self._arrival_before_ns: int | None = None
        self._span_began_ns = 0
        self._reported_ns: int | None = None  # by the newest sender report
        self._cut = False

    @override
    def observe(self, placed: PlacedPacket) -> None:
        packet = placed.packet
        arrival_ns = packet.received_ns - placed.pts_ns
        if self._arrival_ns is None or packet.received_ns - self._span_began_ns > OBSERVED_NS:
            self._arrival_before_ns, self._span_began_ns = self._arrival_ns, packet.received_ns
            self._arrival_ns = arrival_ns
        self._arrival_ns = min(self._arrival_ns, arrival_ns)
        if packet.captured_ns is not None:
            self._reported_ns = packet.captured_ns - placed.pts_ns
        if not self._cut:
            self._offset_ns = self._target()

    @override
    def at(self, time_ns: int) -> int:
        return time_ns + (self._offset_ns or 0)

    @override
    def media_at(self, time_ns: int) -> None:
        return None

    @property
    @override
    def ahead_ns(self) -> int | None:
        return None if self._reported_ns is None else self._reported_ns - self._quickest_ns()

    @override
    def advance(self, elapsed_ns: int) -> None:
        self._cut = True
        if self._offset_ns is not None:
            most_ns = elapsed_ns // MAX_SLEW
            self._offset_ns += max(-most_ns, min(self._target() - self._offset_ns, most_ns))

    def _quickest_ns(self) -> int:
        return min(ns for ns in (self._arrival_ns, self._arrival_before_ns) if ns is not None)

    def _target(self) -> int:
        arrival_ns, reported_ns = self._quickest_ns(), self._reported_ns
        if reported_ns is not None and -AHEAD_NS <= arrival_ns - reported_ns <= MAX_LATENCY_NS:
            return reported_ns
        return arrival_ns
