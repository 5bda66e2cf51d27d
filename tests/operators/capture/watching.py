"""Runs cameras for the tests of this folder and looks into the segments they give."""

from __future__ import annotations

import io
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from operators.capture.camera import Camera, CameraSettings, Position
from operators.clock import Clock, SystemClock
from operators.errors import SourceError
from operators.records import Segment
from tests.waiting import until

PATIENCE_S = 30.0  # how long a test waits for what must come


def capture(source: str | Path, *, resume: Position | None = None, clock: Clock | None = None,
            **settings: Any) -> list[Segment]:
    """All segments of a file."""
    camera = Camera(CameraSettings(source=f"test={source}", **settings), clock=clock or SystemClock(),
                    stop=threading.Event(), resume=resume)
    return list(camera.segments())


class Watch:
    """A camera in a thread of its own, and the segments it has given so far."""

    def __init__(self, source: str, **settings: Any) -> None:
        quick = {"backoff_min_s": 0.05, "backoff_max_s": 1.0, "open_timeout_s": 5.0, "read_timeout_s": 5.0}
        self.stop = threading.Event()
        merged = CameraSettings(source=source, **{**quick, **settings})
        self.camera = Camera(merged, clock=SystemClock(), stop=self.stop)
        self.segments: list[Segment] = []
        self.error: SourceError | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            for segment in self.camera.segments():
                with self._changed:
                    self.segments.append(segment)
                    self._changed.notify_all()
        except SourceError as error:
            self.error = error

    def wait(self, count: int, timeout_s: float = PATIENCE_S) -> list[Segment]:
        """Wait until there are so many segments."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.segments) >= count, timeout_s), self.camera.status
        return self.segments

    def wait_for_session(self, count: int, timeout_s: float = PATIENCE_S) -> None:
        """Wait until segments of so many sessions have come."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.sessions()) >= count, timeout_s), self.camera.status

    def wait_for(self, what: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
        """Wait until something about the camera has become true."""
        until(what, timeout_s, lambda: self.camera.status)

    def sessions(self) -> dict[str, list[Segment]]:
        """The segments of each session in which anything came, in order."""
        found: dict[str, list[Segment]] = {}
        for segment in self.segments:
            if not segment.sequence and not segment.duration_ns:
                continue  # it says that the camera is missed, or is no more
            found.setdefault(segment.session, []).append(segment)
        return found

    def finish(self) -> None:
        """Stop the camera and wait for its end."""
        self.stop.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


@contextmanager
def watching(source: str, **settings: Any) -> Iterator[Watch]:
    """A camera that is stopped at the end of the block."""
    watch = Watch(source, **settings)
    try:
        yield watch
    finally:
        watch.finish()


def assert_whole(segments: Sequence[Segment]) -> None:
    """The segments of one session count up without gaps and tile its time line."""
    assert [segment.sequence for segment in segments] == list(range(len(segments)))
    assert len({segment.session for segment in segments}) <= 1
    for before, after in zip(segments, segments[1:], strict=False):
        assert before.end_ns == after.start_ns
    assert all(segment.duration_ns > 0 for segment in segments)
    assert not any(segment.final for segment in segments[:-1])


def packets(segment: Segment, kind: str) -> list[av.Packet[Any]]:
    """The packets of a segment's picture or sound track."""
    with av.open(io.BytesIO(segment.media), "r") as container:
        return [packet for packet in container.demux() if packet.size and packet.stream.type == kind]


def decode(segment: Segment) -> tuple[list[VideoFrame], list[AudioFrame]]:
    """Everything in a segment, decoded by itself."""
    pictures: list[VideoFrame] = []
    sounds: list[AudioFrame] = []
    with av.open(io.BytesIO(segment.media), "r") as container:
        for frame in container.decode(*container.streams):
            if isinstance(frame, VideoFrame):
                pictures.append(frame)
            elif isinstance(frame, AudioFrame):
                sounds.append(frame)
    return pictures, sounds


def ffprobe(segment: Segment) -> str:
    """What the ffprobe program says to a segment; an error of its is an error of the test."""
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_entries",
               "stream=codec_name,nb_read_frames", "-of", "compact=p=0", "-"]
    done = subprocess.run(command, input=segment.media, capture_output=True, check=True)
    assert done.stderr == b"", done.stderr
    return done.stdout.decode()
