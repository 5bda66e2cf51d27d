"""Packets to pieces of about a second, cut where a decoder can begin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from operators.capture.packet import Packet, Track

INTRA_ONLY = frozenset({"mjpeg"})  # every picture stands for itself, in the order shown
SLACK_NS = 50_000_000  # a keyframe this little before the wanted length is good enough
WAIT_NS = 2_000_000_000  # how far one track may run ahead while a cut waits for the other
MAX_PIECE_BYTES = 32 * 2**20  # cut anyway: the log takes no record above 64 MiB
MAX_PIECE_PACKETS = 8192


@dataclass(frozen=True, slots=True)
class Piece:
    """A segment before it is written: packets in decoding order, times on the source's scale."""

    start_ns: int
    end_ns: int
    packets: tuple[Packet, ...]
    final: bool

    @property
    def video(self) -> Track | None:
        """The picture track, if there is a picture in this piece."""
        return next((packet.track for packet in self.packets if packet.track.kind == "video"), None)

    @property
    def audio(self) -> Track | None:
        """The sound track, if there is sound in this piece."""
        return next((packet.track for packet in self.packets if packet.track.kind == "audio"), None)

    @property
    def continues(self) -> bool:
        """Whether the pictures begin between keyframes."""
        first = next((packet for packet in self.packets if packet.track.kind == "video"), None)
        return first is not None and not first.keyframe


class Segmenter:
    """Cuts one session. Pure: the same packets always give the same pieces.

    A piece ends at the first keyframe once `segment_ns` is reached, at the latest before the first
    picture beyond `max_segment_ns`. Pieces tile the time line. Sound goes where its time belongs: a
    cut waits until the sound has passed it too, for `WAIT_NS` of the other track at most.
    """

    def __init__(self, segment_ns: int, max_segment_ns: int, *, has_video: bool, has_audio: bool,
                 start_ns: int | None = None) -> None:  # fmt: skip
        self.dropped: Counter[str] = Counter()
        self._segment_ns = segment_ns
        self._max_segment_ns = max_segment_ns
        self._has = {"video": has_video, "audio": has_audio}
        self._newest: dict[str, int] = {}  # latest time of each track
        self._buffer: list[Packet] = []
        self._buffer_bytes = 0
        self._start_ns = start_ns  # of the open piece; None: its first packet tells
        self._cut: int | None = None  # where in the buffer the next piece begins
        self._seen_keyframe = False

    def push(self, packet: Packet) -> Iterator[Piece]:
        """Take the next packet, placed on the time line; gives the pieces that are complete now."""
        if not self._accept(packet):
            return
        self._buffer.append(packet)
        self._buffer_bytes += len(packet.data)
        self._newest[packet.track.kind] = max(pts(packet), self._newest.get(packet.track.kind, pts(packet)))
        if self._cut is None and self._may_cut(len(self._buffer) - 1):
            self._cut = len(self._buffer) - 1
        while self._cut is not None and self._ready(self._cut):
            yield self._close(self._cut)
            self._cut = next((at for at in range(1, len(self._buffer)) if self._may_cut(at)), None)

    def flush(self) -> Iterator[Piece]:
        """The session is over: give what is left; the last piece is final."""
        while self._cut is not None:
            yield self._close(self._cut)
            self._cut = next((at for at in range(1, len(self._buffer)) if self._may_cut(at)), None)
        if self._buffer:
            start = self._start()
            end = max(pts(packet) + packet.duration_ns for packet in self._buffer)
            yield Piece(start, max(end, start + 1), tuple(self._buffer), final=True)
            self._buffer = []

    def _accept(self, packet: Packet) -> bool:
        if packet.track.kind == "video":
            if not self._seen_keyframe and not packet.keyframe:
                self.dropped["before_keyframe"] += 1
                return False
            self._seen_keyframe = True
        elif self._start_ns is not None and pts(packet) + packet.duration_ns <= self._start_ns:
            self.dropped["late_audio"] += 1
            return False
        return True

    def _start(self) -> int:
        return self._start_ns if self._start_ns is not None else min(map(pts, self._buffer))

    def _may_cut(self, at: int) -> bool:
        """Whether the packet may begin a piece."""
        if at == 0:
            return False
        packet = self._buffer[at]
        kind = packet.track.kind
        before = self._buffer[:at]
        if any(earlier.track.kind == kind and earlier.track != packet.track for earlier in before[-1:]) or (
            (previous := next((p for p in reversed(before) if p.track.kind == kind), None)) is not None
            and previous.track != packet.track
        ):
            return True
        length = pts(packet) - self._start()
        if self._buffer_bytes > MAX_PIECE_BYTES or len(self._buffer) > MAX_PIECE_PACKETS:
            return True
        if kind == "audio":
            if not self._has["video"]:
                return length >= self._segment_ns
            if any(earlier.track.kind == "video" for earlier in before):
                return length >= self._max_segment_ns + WAIT_NS
            return length >= self._segment_ns + WAIT_NS
        if packet.keyframe:
            return length >= self._segment_ns - SLACK_NS
        return length >= self._max_segment_ns and all(
            pts(earlier) < pts(packet) for earlier in before if earlier.track.kind == "video"
        )

    def _ready(self, at: int) -> bool:
        """Whether everything that belongs before the cut has come."""
        packet = self._buffer[at]
        time = pts(packet)
        if max(self._newest.values()) >= time + WAIT_NS:
            return True
        if packet.track.kind == "audio":
            return True
        if packet.track.codec not in INTRA_ONLY and packet.dts_ns != time:
            later = (pts(p) for p in self._buffer[at + 1 :] if p.track.kind == "video")
            if not any(pts_ns > time for pts_ns in later):
                return False  # pictures shown before this one may still follow it
        if not self._has["audio"]:
            return True
        newest = self._newest.get("audio", self._start())
        return newest >= time or newest < time - WAIT_NS

    def _close(self, at: int) -> Piece:
        start = self._start()
        kind = self._buffer[at].track.kind
        following = [pts(p) for p in self._buffer[at:] if p.track.kind == kind]
        end = max(min(following), start + 1)
        before: list[Packet] = []
        after: list[Packet] = []
        for index, packet in enumerate(self._buffer):
            belongs = index < at if packet.track.kind == kind else pts(packet) < end
            (before if belongs else after).append(packet)
        self._buffer, self._start_ns = after, end
        self._buffer_bytes = sum(len(packet.data) for packet in after)
        return Piece(start, end, tuple(before), final=False)


def pts(packet: Packet) -> int:
    """The packet's presentation time, which the time line has made sure is there."""
    if packet.pts_ns is None:
        message = "packet was not placed on the time line"
        raise ValueError(message)
    return packet.pts_ns
