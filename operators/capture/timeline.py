"""Timestamps as they come to a time line that only goes forward."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace

from operators.capture.packet import Kind, Packet

BACK_NS = 500_000_000  # how far decoding times may step back before it counts as a jump
BACK_REORDERED_NS = 2_000_000_000  # the same where only presentation times are there, which go back and forth
REMEMBERED_OFFSETS = 4


class Timeline:
    """Gives every packet a presentation time; a jump of the source's clock becomes an offset.

    A track's times are taken as they come while they neither step back nor leap forward by more than
    `max_leap_ns`. At a jump the track continues where it was, and the other track, which jumps a few
    packets earlier or later, takes the same offset, so sound and picture stay together. All of it
    follows from the packets alone: the same file always gives the same times.
    """

    def __init__(self, max_leap_ns: int, zero_ns: int | None = None) -> None:
        self.jumps: Counter[str] = Counter()
        self._max_leap_ns = max_leap_ns
        self._zero_ns = zero_ns
        self._last: dict[Kind, int] = {}  # corrected time of each track's newest packet
        self._step: dict[Kind, int] = {}  # time between its two newest packets
        self._offset: dict[Kind, int] = {}
        self._offsets: deque[int] = deque([0], maxlen=REMEMBERED_OFFSETS)

    def place(self, packet: Packet) -> Packet:
        """The packet with both times set and corrected."""
        kind = packet.track.kind
        last = self._last.get(kind)
        step = packet.duration_ns or self._step.get(kind, 0)
        if last is None:
            expected = max(self._last.values(), default=self._zero_ns)
        else:
            expected = last + step
        raw = packet.dts_ns if packet.dts_ns is not None else packet.pts_ns
        if raw is None:
            time = 0 if expected is None else expected
            offset = self._offset.get(kind, 0)
            pts = time
        else:
            back = BACK_REORDERED_NS if packet.dts_ns is None else BACK_NS
            offset = self._choose_offset(kind, raw, expected, back)
            time = raw + offset
            pts = time if packet.pts_ns is None else packet.pts_ns + offset
        if last is not None and time > last:
            self._step[kind] = time - last
        self._last[kind] = time
        self._offset[kind] = offset
        return replace(packet, pts_ns=pts, dts_ns=None if packet.dts_ns is None else time)

    def _choose_offset(self, kind: Kind, raw: int, expected: int | None, back_ns: int) -> int:
        current = self._offset.get(kind, self._offsets[-1])
        if expected is None:
            return current
        for offset in (current, *reversed(self._offsets)):
            if -back_ns <= raw + offset - expected <= self._max_leap_ns:
                return offset
        self.jumps["backward" if raw + current < expected else "forward"] += 1
        self._offsets.append(expected - raw)
        return expected - raw
