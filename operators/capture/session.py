"""One session: the packets between a connect and its end, as segments on one clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from operators.capture.camera_settings import CameraSettings
from operators.capture.packet import Kind, Packet, PlacedPacket
from operators.capture.reader import Header
from operators.capture.remux import Remuxer
from operators.capture.segmenter import Piece, Segmenter
from operators.capture.session_clock import SessionClock
from operators.capture.timeline import Timeline
from operators.clock import Clock, seconds_to_ns
from operators.errors import SourceError
from operators.records import AudioTrack, Segment, VideoTrack


class Session:
    """Places, cuts and remuxes the packets of one session.

    Args:
        camera: its name.
        name: the session's.
        settings: where to cut.
        header: what the source said when it was opened.
        session_clock: the session's wall clock.
        clock: says when segments of recordings were cut.
        skip: segments before this sequence are counted and not made.
        errors: counts jumps of the source's clock, and segments that cannot be written.
        dropped: counts packets that are left out, by reason.
    """

    def __init__(self, camera: str, name: str, settings: CameraSettings, header: Header, session_clock: SessionClock,
                 clock: Clock, *, skip: int, errors: Counter[str], dropped: Counter[str]) -> None:
        self.sequence = 0  # of the next segment
        self._camera, self._name, self._skip, self._errors = camera, name, skip, errors
        self._clock, self._session_clock = clock, session_clock
        self._timeline = Timeline(seconds_to_ns(settings.max_leap_s), header.zero_ns, errors)
        self._segmenter = Segmenter(
            seconds_to_ns(settings.segment_s),
            seconds_to_ns(max(settings.segment_s, settings.max_segment_s)),
            header.kinds,
            header.zero_ns,
            dropped,
        )
        self._remuxer = Remuxer(dropped)

    def push(self, packet: Packet) -> Iterator[Segment]:
        """Take the next packet; gives the segments that are complete now.

        Raises:
            SourceError: packets that no segment can hold.
        """
        yield from self._cut(self._timeline.place(packet))

    def flush(self, *, stopped: bool = False) -> Iterator[Segment]:
        """Give what is left; the last segment is final, and says whether this is because we were `stopped`.

        Raises:
            SourceError: packets that no segment can hold.
        """
        yield from self._cut(self._timeline.flush())
        for piece in self._segmenter.flush():
            yield from self._make(piece, stopped=stopped)

    def close(self) -> None:
        """Free what is held."""
        self._remuxer.close()

    def _cut(self, placed_packets: Iterable[PlacedPacket]) -> Iterator[Segment]:
        for placed in placed_packets:
            self._session_clock.observe(placed)
            for piece in self._segmenter.push(placed):
                yield from self._make(piece)

    def _make(self, piece: Piece, *, stopped: bool = False) -> Iterator[Segment]:
        sequence, self.sequence = self.sequence, self.sequence + 1
        media_start_ns = self._session_clock.media_at(piece.start_ns)
        start_ns = self._session_clock.at(piece.start_ns)
        self._session_clock.advance(piece.end_ns - piece.start_ns)  # a correction stretches the segment
        end_ns = self._session_clock.at(piece.end_ns)
        if sequence < self._skip:
            return
        descriptions = [track.description for track in piece.tracks.values()]
        received_ns = max(placed.packet.received_ns for placed in piece.packets)
        yield Segment(
            camera=self._camera,
            session=self._name,
            sequence=sequence,
            start_ns=start_ns,
            duration_ns=end_ns - start_ns,
            media_start_ns=media_start_ns,
            received_ns=received_ns or self._clock.now_ns(),
            final=piece.final,
            video=next((track for track in descriptions if isinstance(track, VideoTrack)), None),
            audio=next((track for track in descriptions if isinstance(track, AudioTrack)), None),
            continues=piece.continues,
            continued=piece.continued,
            stopped=stopped and piece.final,
            ahead_ns=self._session_clock.ahead_ns,
            sound_late_ns=_sound_late_ns(piece),
            media=self._write(piece),
        )

    def _write(self, piece: Piece) -> bytes:
        try:
            return self._remuxer.matroska(piece)
        except SourceError:
            self._errors["unwritable"] += 1
            raise


def _sound_late_ns(piece: Piece) -> int | None:
    """By the quickest packet of each: two clocks that drift apart, or a camera that holds its sound back."""
    quickest: dict[Kind, int] = {}
    for placed in piece.packets:
        if placed.packet.received_ns:
            late_ns = placed.packet.received_ns - placed.pts_ns
            quickest[placed.kind] = min(late_ns, quickest.get(placed.kind, late_ns))
    return quickest["audio"] - quickest["video"] if len(quickest) > 1 else None
