"""The first stage: one camera's segments into the log, in transactions that say how far it got.

One thread reads, another one appends: whatever was read while a transaction was under way is the next
one. So a log that keeps up gets every segment at once, and one that does not gets several together.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from queue import Full, Queue

import msgspec

from operators.capture.camera import Camera, CameraSettings, Position
from operators.capture.source import parse
from operators.clock import Clock
from operators.errors import LogUnavailable
from operators.records import Segment
from pipeline import codec
from pipeline.background import in_background
from pipeline.logs import about
from pipeline.settings import LogSettings
from pipeline.topics.base import Log, partition_of
from pipeline.topology import CAPTURE, SEGMENTS, STAGES
from pipeline.tracing.base import UNTRACED, Headers, Tracing
from pipeline.watcher import Watcher
from pipeline.workers.worker import RETRY_S

log = logging.getLogger(__name__)

WAIT_S = 0.2  # how often a file that ran ahead looks whether it may go on
BATCH_SEGMENTS, BATCH_BYTES = 16, 4 * 2**20  # in one transaction, which has to end within its timeout
READ_AHEAD = 16  # segments in memory that wait for the log

_POSITION = msgspec.msgpack.Decoder(Position)  # made by one thread, as those of records are


class CaptureWorker:
    """Runs one camera. A file waits for the stages behind it; a live camera never does."""

    def __init__(self, settings: CameraSettings, limits: LogSettings, log_: Log, clock: Clock, watcher: Watcher,
                 stop: threading.Event, tracing: Tracing = UNTRACED) -> None:
        """Take over the camera, and go on where the log says that its file was left.

        Whoever else captures it gets Fenced from now on.
        """
        self._log, self._watcher, self._stop, self._tracing = log_, watcher, stop, tracing
        self._max_ahead = limits.max_segments_ahead
        self._allowed = 0  # segments that may be appended before the next look at how far ahead they are
        self._consumer_group = next(stage.lane.stage for stage in STAGES if stage.lane.consumes == SEGMENTS)
        source = parse(settings.source)
        name, self._live = source.name, source.live
        self._read: Queue[Segment | None] = Queue(READ_AHEAD)  # None: the camera has ended
        self._ended = False
        self._partition = partition_of(name, log_.partitions(SEGMENTS))
        self._writer = f"{CAPTURE}/{name}"
        self._unsure = False
        log_.transaction(self._writer)  # takes the name, so that nobody moves the position any more
        kept = log_.state(CAPTURE, self._partition).get(name)
        self.camera = Camera(settings, clock=clock, stop=stop,
                             resume=_POSITION.decode(kept) if kept else None)

    def run(self) -> None:
        """Work until the file ends or the stop event is set.

        Raises:
            SourceError: a file cannot be opened.
            Fenced: another process captures the camera, or the log was out of reach for too long.
        """
        _, appending = in_background(f"append {self.camera.name}", self._append_all)
        try:
            with about(stage=CAPTURE, camera=self.camera.name):
                for segment in self.camera.segments():
                    if not self._hand_over(segment, appending):
                        break
        finally:
            self._hand_over(None, appending)
            try:
                appending.result()
            finally:
                self._log.release(self._writer)

    def _hand_over(self, segment: Segment | None, appending: Future[None]) -> bool:
        """Wait until there is room for it; False: nobody takes it any more."""
        while not appending.done():
            try:
                self._read.put(segment, timeout=WAIT_S)
            except Full:
                continue
            return True
        return False

    def _append_all(self) -> None:
        """Append what was read, until all of it is in the log or the stop event is set."""
        with about(stage=CAPTURE, camera=self.camera.name):
            while not self._ended and (room := BATCH_SEGMENTS if self._live else self._room()):
                batch = self._take(min(room, BATCH_SEGMENTS))
                if batch and not self._appended(batch):
                    return
                self._allowed -= len(batch)
                for segment in batch:
                    self._watcher.on_output(CAPTURE, segment)

    def _appended(self, batch: Sequence[Segment]) -> bool:
        """Try until the log has them; False when stopped before."""
        with ExitStack() as spans:
            traced = [spans.enter_context(self._tracing.capture(segment)) for segment in batch]
            while not self._append(batch, traced):
                if self._stop.wait(RETRY_S):
                    return False
        return True

    def _take(self, count: int) -> list[Segment]:
        """What was read meanwhile, at most so many; waits for the first."""
        batch, size_bytes, segment = list[Segment](), 0, self._read.get()
        while segment is not None:
            batch.append(segment)
            size_bytes += len(segment.media)
            if len(batch) >= count or size_bytes >= BATCH_BYTES or self._read.empty():
                return batch
            segment = self._read.get()
        self._ended = True
        return batch

    def _append(self, batch: Sequence[Segment], traced: Sequence[Headers]) -> bool:
        camera, newest = self.camera.name, batch[-1]
        position = msgspec.msgpack.encode(Position(newest.session, newest.sequence + 1))
        try:
            with self._log.transaction(self._writer) as transaction:
                if self._unsure and self._log.state(CAPTURE, self._partition).get(camera) == position:
                    self._unsure = False
                    return True
                for segment, more in zip(batch, traced, strict=True):
                    value, headers = codec.encode(segment)
                    transaction.append(SEGMENTS, camera, value, {**headers, **more})
                transaction.put_state(CAPTURE, self._partition, camera, position)
        except LogUnavailable as error:
            log.warning("camera %s: segment %d waits: %s", camera, batch[0].sequence, error)
            self._unsure = True  # it may have been kept
            return False
        self._unsure = False
        return True

    def _room(self) -> int:
        """How many segments of a file the next stage may be given; waits until it has caught up, 0 when stopped."""
        while self._allowed <= 0 and not self._stop.is_set():
            try:
                lag = self._log.lag(self._consumer_group, SEGMENTS).get(self._partition, 0)
            except LogUnavailable as error:
                log.warning("camera %s: waits: %s", self.camera.name, error)
            else:
                self._allowed = self._max_ahead - lag
            if self._allowed <= 0:
                self._stop.wait(WAIT_S)
        return 0 if self._stop.is_set() else self._allowed
