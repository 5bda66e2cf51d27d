"""One camera or file: opens it, keeps it open, and gives its segments."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from operators.capture.reader import Reader, ReaderSettings, creation_time_ns
from operators.capture.remux import Remuxer
from operators.capture.segmenter import Piece, Segmenter
from operators.capture.source import parse
from operators.capture.timeline import Timeline
from operators.clock import Clock, seconds_to_ns
from operators.errors import SourceError
from operators.records import AudioTrack, Segment, VideoTrack

log = logging.getLogger(__name__)


class CameraSettings(ReaderSettings, frozen=True, kw_only=True):
    """One camera: where it is and how its stream is cut."""

    source: Annotated[str, Meta(description="file, rtsp(s)://, http(s)://, v4l2:/dev/videoN, or NAME=SOURCE")]
    segment_s: Annotated[float, Meta(ge=0.1, le=10.0, description="wanted length of a segment")] = 1.0
    max_segment_s: Annotated[float, Meta(ge=0.1, le=30.0, description="cut between keyframes at")] = 4.0
    max_leap_s: Annotated[float, Meta(ge=1.0, le=3600.0, description="a larger gap of timestamps is a jump")] = 10.0


class Position(msgspec.Struct, frozen=True):
    """How far a file has been read: the next sequence of a session."""

    session: str
    sequence: int


class Camera:
    """Gives the segments of one source, for ever if it is live."""

    def __init__(self, settings: CameraSettings, *, clock: Clock, stop: threading.Event,
                 resume: Position | None = None) -> None:  # fmt: skip
        self._settings = settings
        self._source = parse(settings.source)
        self._clock = clock
        self._stop = stop
        self._resume = resume

    @property
    def name(self) -> str:
        """The camera's name in every record."""
        return self._source.name

    def segments(self) -> Iterator[Segment]:
        """The source's segments in order; blocks until the next is there.

        Raises:
            SourceError: a file cannot be opened.
        """
        reader = Reader(self._source, self._settings, self._clock)
        try:
            yield from self._file_segments(reader)
        finally:
            reader.close()

    def _file_segments(self, reader: Reader) -> Iterator[Segment]:
        stat = Path(self._source.url).stat()
        session = hashlib.sha256(f"{Path(self._source.url).name}\x1f{stat.st_size}\x1f{stat.st_mtime_ns}".encode())
        session_id = session.hexdigest()[:16]
        base = creation_time_ns(reader.creation_time, self._clock.now_ns()) or stat.st_mtime_ns
        skip = self._resume.sequence if self._resume and self._resume.session == session_id else 0
        zero: int | None = reader.zero_ns
        remuxer = Remuxer()
        for sequence, piece in enumerate(self._pieces(reader)):
            if zero is None:
                zero = piece.start_ns
            if sequence >= skip:
                yield self._segment(piece, remuxer, session_id, sequence, base, piece.start_ns - zero)
        remuxer.close()

    def _pieces(self, reader: Reader) -> Iterator[Piece]:
        settings = self._settings
        timeline = Timeline(seconds_to_ns(settings.max_leap_s), reader.zero_ns)
        kinds = {track.kind for track in reader.tracks}
        segmenter = Segmenter(seconds_to_ns(settings.segment_s), seconds_to_ns(settings.max_segment_s),
                              has_video="video" in kinds, has_audio="audio" in kinds,
                              start_ns=reader.zero_ns)  # fmt: skip
        try:
            for packet in reader.packets():
                yield from segmenter.push(timeline.place(packet))
        except SourceError as error:
            log.warning("camera %s: %s", self.name, error)
        yield from segmenter.flush()

    def _segment(self, piece: Piece, remuxer: Remuxer, session: str, sequence: int, base: int,
                 media_start_ns: int) -> Segment:  # fmt: skip
        video, audio = piece.video, piece.audio
        return Segment(
            camera=self.name,
            session=session,
            sequence=sequence,
            start_ns=base + media_start_ns,
            duration_ns=piece.end_ns - piece.start_ns,
            media_start_ns=media_start_ns,
            received_ns=self._clock.now_ns(),
            final=piece.final,
            video=video.description if video and isinstance(video.description, VideoTrack) else None,
            audio=audio.description if audio and isinstance(audio.description, AudioTrack) else None,
            continues=piece.continues,
            media=remuxer.matroska(piece),
        )
