"""Timestamps as sources give them, brought to a time line that goes forward."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from operators.capture.packet import Kind, Packet, PlacedPacket

BACK_NS = 500_000_000  # how far decoding times may step back before it counts as a jump
BACK_REORDERED_NS = 2_000_000_000  # the same where only presentation times are there, which go back and forth
REMEMBERED_OFFSETS = 4  # a jump back to one of them is undone exactly
MAX_UNTIMED = 16  # packets that wait for the first time of their track
INTRA_ONLY = frozenset({"mjpeg"})  # every picture stands for itself, in the order shown


@dataclass(slots=True)
class _Progress:
    """How far one track is."""

    offset_ns: int = 0  # what its times are corrected by
    last_ns: int | None = None  # corrected time of its newest packet
    step_ns: int = 0  # from its last but one packet to its last
    untimed: list[Packet] = field(default_factory=list)


class Timeline:
    """Gives every packet of a session its time; a jump of the source's clock becomes an offset.

    A track's times are taken as they come while they neither step back nor leap forward by more than
    `max_leap_ns`. At a jump the track continues where it was, and the other track, which jumps a few
    packets earlier or later, takes the same offset, so that sound and picture stay together. Packets
    without a time follow the one before them. All this follows from the packets alone: the same file
    always gets the same times.

    Args:
        max_leap_ns: a larger gap is a jump of the clock.
        zero_ns: where the source's times begin, if that is known beforehand.
        jumps: counts what was corrected.
    """

    def __init__(self, max_leap_ns: int, zero_ns: int | None, jumps: Counter[str]) -> None:
        self._jumps = jumps
        self._max_leap_ns = max_leap_ns
        self._zero_ns = zero_ns
        self._tracks: dict[Kind, _Progress] = {"video": _Progress(), "audio": _Progress()}
        self._offsets: deque[int] = deque([0], maxlen=REMEMBERED_OFFSETS)

    def place(self, packet: Packet) -> Iterator[PlacedPacket]:
        """Take the next packet; gives those whose time is known now, in the order they came."""
        track = self._tracks[packet.track.kind]
        raw_ns = packet.pts_ns if packet.dts_ns is None else packet.dts_ns
        if raw_ns is None and track.last_ns is None and len(track.untimed) < MAX_UNTIMED:
            track.untimed.append(packet)
            return
        if track.untimed:
            yield from self._place_untimed(track, packet.duration_ns, raw_ns)
        yield self._place(track, packet, raw_ns)

    def flush(self) -> Iterator[PlacedPacket]:
        """The session is over: give what never got a time of its own."""
        for track in self._tracks.values():
            yield from self._place_untimed(track, 0, None)

    def _place_untimed(self, track: _Progress, step_ns: int, next_ns: int | None) -> Iterator[PlacedPacket]:
        """Packets before the first time of their track: they end where it begins."""
        waiting, track.untimed = track.untimed, []
        for index, packet in enumerate(waiting):
            before_ns = (len(waiting) - index) * (packet.duration_ns or step_ns)
            yield self._place(track, packet, None if next_ns is None else next_ns - before_ns)

    def _place(self, track: _Progress, packet: Packet, raw_ns: int | None) -> PlacedPacket:
        step_ns = packet.duration_ns if 0 < packet.duration_ns <= self._max_leap_ns else track.step_ns
        expected_ns = self._expect(track, step_ns)
        if raw_ns is None:
            time_ns = pts_ns = 0 if expected_ns is None else expected_ns
        else:
            if expected_ns is not None:
                back_ns = BACK_REORDERED_NS if packet.dts_ns is None else BACK_NS
                track.offset_ns = self._choose_offset(track.offset_ns, raw_ns, expected_ns, back_ns)
            time_ns = raw_ns + track.offset_ns
            pts_ns = time_ns if packet.pts_ns is None else packet.pts_ns + track.offset_ns
            if not -BACK_NS <= pts_ns - time_ns <= self._max_leap_ns:  # one of the two is damaged
                self._jumps["jump_apart"] += 1
                pts_ns = time_ns
        if track.last_ns is not None and time_ns > track.last_ns:
            track.step_ns = time_ns - track.last_ns
        track.last_ns = time_ns
        in_order = packet.track.description.codec in INTRA_ONLY or (packet.dts_ns is not None and pts_ns == time_ns)
        return PlacedPacket(packet, pts_ns, step_ns, leads=packet.track.kind == "video" and not in_order)

    def _expect(self, track: _Progress, step_ns: int) -> int | None:
        if track.last_ns is not None:
            return track.last_ns + step_ns
        others = [other.last_ns for other in self._tracks.values() if other.last_ns is not None]
        return max(others, default=self._zero_ns)

    def _choose_offset(self, current_ns: int, raw_ns: int, expected_ns: int, back_ns: int) -> int:
        for offset_ns in (current_ns, *reversed(self._offsets)):
            if -back_ns <= raw_ns + offset_ns - expected_ns <= self._max_leap_ns:
                return offset_ns
        self._jumps["jump_back" if raw_ns + current_ns < expected_ns else "jump_ahead"] += 1
        self._offsets.append(expected_ns - raw_ns)
        return expected_ns - raw_ns
