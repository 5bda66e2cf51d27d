"""Packets to pieces of about a second, cut where a decoder can begin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from operators.capture.packet import Kind, PlacedPacket, Track

SLACK_NS = 50_000_000  # a keyframe this little before the wanted length is good enough
WAIT_NS = 2_000_000_000  # how far one track may run ahead while a cut waits for the other
MAX_PIECE_BYTES = 32 * 2**20  # cut anyway: the log takes no record above 64 MiB
MAX_PIECE_PACKETS = 8192
NEVER_NS = 2**63


@dataclass(frozen=True)
class Piece:
    """A segment before it is written: packets in decoding order, on the session's time line."""

    start_ns: int
    end_ns: int
    packets: tuple[PlacedPacket, ...]
    final: bool
    continued: bool = False  # the pictures go on in the next piece without a keyframe

    @cached_property
    def tracks(self) -> dict[Kind, Track]:
        """The tracks that have packets in this piece."""
        return {placed.kind: placed.packet.track for placed in reversed(self.packets)}

    @property
    def continues(self) -> bool:
        """Whether the pictures begin between keyframes."""
        first = next((placed for placed in self.packets if placed.kind == "video"), None)
        return first is not None and not first.packet.keyframe


@dataclass(slots=True)
class _Scanned:
    """What the open piece holds so far."""

    packets: int = 0
    size_bytes: int = 0
    tracks: dict[Kind, Track] = field(default_factory=dict)
    newest_ns: dict[Kind, int] = field(default_factory=dict)

    def add(self, placed: PlacedPacket) -> None:
        self.packets += 1
        self.size_bytes += len(placed.packet.data)
        self.tracks[placed.kind] = placed.packet.track
        self.newest_ns[placed.kind] = max(placed.pts_ns, self.newest_ns.get(placed.kind, placed.pts_ns))


class Segmenter:
    """Cuts one session. Pure: the same packets always give the same pieces.

    A piece ends before the first keyframe once `segment_ns` is reached, at the latest before the first
    picture beyond `max_segment_ns`, and wherever a track's parameters change. Pieces tile the time
    line. Sound goes where its time belongs: a cut waits until the sound has passed it too, for
    `WAIT_NS` of media at most, and not at all for sound that has stopped coming.

    Args:
        segment_ns: wanted length.
        max_segment_ns: length at which a cut need not wait for a keyframe.
        kinds: which tracks are expected.
        start_ns: where the first piece begins; None: with its first packet.
        dropped: counts packets that are left out, by reason.
    """

    def __init__(self, segment_ns: int, max_segment_ns: int, kinds: frozenset[Kind], start_ns: int | None,
                 dropped: Counter[str]) -> None:
        self._dropped = dropped
        self._segment_ns = segment_ns
        self._max_segment_ns = max_segment_ns
        self._kinds = kinds
        self._start_ns = start_ns  # of the open piece; None: its earliest packet tells
        self._earliest_ns = NEVER_NS
        self._newest_ns: dict[Kind, int] = {}  # latest time of each track
        self._buffer: list[PlacedPacket] = []
        self._scanned = _Scanned()  # of the buffer up to the next cut
        self._cut: int | None = None  # where in the buffer the next piece begins
        self._video: Track | None = None  # of the newest keyframe: other pictures cannot be decoded

    def push(self, placed: PlacedPacket) -> Iterator[Piece]:
        """Take the next packet; gives the pieces that are complete now."""
        if not self._accept(placed):
            return
        for kind in self._kinds:  # a track that has not begun yet may begin now
            self._newest_ns.setdefault(kind, placed.pts_ns)
        self._newest_ns[placed.kind] = max(placed.pts_ns, self._newest_ns[placed.kind])
        self._earliest_ns = min(placed.pts_ns, self._earliest_ns)
        self._buffer.append(placed)
        self._scan()
        while self._cut is not None and self._is_complete(self._cut):
            yield self._close(self._cut)
            self._scan()

    def flush(self) -> Iterator[Piece]:
        """The session is over: give what is left. The last piece is final."""
        while self._cut is not None:
            yield self._close(self._cut)
            self._scan()
        if self._buffer:
            start_ns = self._start()
            end_ns = max(placed.end_ns for placed in self._buffer)
            yield Piece(start_ns, max(end_ns, start_ns + 1), tuple(self._buffer), final=True)
            self._buffer = []

    def _accept(self, placed: PlacedPacket) -> bool:
        reason = None
        if placed.kind == "video":
            if placed.packet.keyframe:
                self._video = placed.packet.track
            elif placed.packet.track != self._video:
                reason = "before_keyframe"
        elif self._start_ns is not None and placed.pts_ns < self._start_ns and placed.end_ns <= self._start_ns:
            reason = "late"
        if len(placed.packet.data) > MAX_PIECE_BYTES:
            reason = "oversized"
        if reason:
            self._dropped[reason] += 1
        return reason is None

    def _start(self) -> int:
        return self._earliest_ns if self._start_ns is None else self._start_ns

    def _scan(self) -> None:
        """Look on through the buffer for the next cut."""
        while self._cut is None and self._scanned.packets < len(self._buffer):
            placed = self._buffer[self._scanned.packets]
            if self._scanned.packets and self._may_begin(placed):
                self._cut = self._scanned.packets
            else:
                self._scanned.add(placed)

    def _may_begin(self, placed: PlacedPacket) -> bool:
        """Whether the packet may begin a piece."""
        held = self._scanned
        if held.tracks.get(placed.kind, placed.packet.track) != placed.packet.track:
            return True
        if held.size_bytes + len(placed.packet.data) > MAX_PIECE_BYTES or held.packets >= MAX_PIECE_PACKETS:
            return True
        return placed.pts_ns - self._start() >= self._length_before(placed)

    def _length_before(self, placed: PlacedPacket) -> int:
        """How long the open piece must be for this packet to begin the next."""
        newest_ns = self._scanned.newest_ns
        if placed.kind == "video":
            if placed.packet.keyframe:
                return self._segment_ns - SLACK_NS
            in_between = placed.pts_ns <= newest_ns.get("video", placed.pts_ns - 1)
            return NEVER_NS if in_between else self._max_segment_ns
        if "video" not in self._kinds:
            return self._segment_ns
        return WAIT_NS + (self._max_segment_ns if "video" in newest_ns else self._segment_ns)

    def _is_complete(self, cut: int) -> bool:
        """Whether everything that belongs before the cut has come."""
        first = self._buffer[cut]
        if first.kind == "audio" or max(self._newest_ns.values()) >= first.pts_ns + WAIT_NS:
            return True
        if len(self._buffer) - cut > MAX_PIECE_PACKETS:
            return True
        if first.leads and self._newest_ns["video"] <= first.pts_ns:
            return False
        sound_ns = self._newest_ns.get("audio", NEVER_NS)
        return sound_ns >= first.pts_ns or sound_ns < first.pts_ns - WAIT_NS

    def _close(self, cut: int) -> Piece:
        """Cut before the packet; pictures shown before it although they come after it move the cut back."""
        start_ns, kind = self._start(), self._buffer[cut].kind
        end_ns = max(min(placed.pts_ns for placed in self._buffer[cut:] if placed.kind == kind), start_ns + 1)
        before: list[PlacedPacket] = []
        after: list[PlacedPacket] = []
        tracks: dict[Kind, Track] = {}
        for index, placed in enumerate(self._buffer):
            if placed.kind == kind or index == 0:  # no piece is left empty
                belongs = index < cut
            elif tracks.get(placed.kind, placed.packet.track) != placed.packet.track:
                belongs = False
            elif placed.kind == "audio":
                belongs = placed.pts_ns < end_ns
            else:  # decoding order must not break: everything from the first later picture on stays together
                belongs = placed.pts_ns < end_ns and not any(other.kind == "video" for other in after)
            if belongs:
                tracks.setdefault(placed.kind, placed.packet.track)
            (before if belongs else after).append(placed)
        self._buffer, self._start_ns = after, end_ns
        self._scanned, self._cut = _Scanned(), None
        following = next((placed.packet.keyframe for placed in after if placed.kind == "video"), False)
        return Piece(start_ns, end_ns, tuple(before), final=False,
                     continued=not following and any(placed.kind == "video" for placed in before))
