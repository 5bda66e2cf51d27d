"""The first stage: one camera's segments into the log, each in one transaction with how far it got."""

from __future__ import annotations

import logging
import threading

import msgspec

from operators.capture.camera import Camera, CameraSettings, Position
from operators.capture.source import parse
from operators.clock import Clock
from operators.errors import LogUnavailable
from operators.records import Segment
from pipeline import codec
from pipeline.logs import about
from pipeline.settings import LogSettings
from pipeline.topics.base import Log, partition_of
from pipeline.topology import CAPTURE, SEGMENTS, STAGES
from pipeline.tracing.base import UNTRACED, Headers, Tracing
from pipeline.watcher import Watcher
from pipeline.worker import RETRY_S

log = logging.getLogger(__name__)

WAIT_S = 0.05  # how often a file that ran ahead looks whether it may go on


class CaptureWorker:
    """Runs one camera. A file waits for the stages behind it; a live camera never does."""

    def __init__(self, settings: CameraSettings, limits: LogSettings, log_: Log, clock: Clock, watcher: Watcher,
                 stop: threading.Event, tracing: Tracing = UNTRACED) -> None:
        """Take over the camera, and go on where the log says that its file was left.

        Whoever else captures it gets Fenced from now on.
        """
        self._log, self._watcher, self._stop, self._tracing = log_, watcher, stop, tracing
        self._max_ahead = limits.max_segments_ahead
        self._consumer_group = next(stage.lane.stage for stage in STAGES if stage.lane.consumes == SEGMENTS)
        name = parse(settings.source).name
        self._partition = partition_of(name, log_.partitions(SEGMENTS))
        self._writer = f"{CAPTURE}/{name}"
        self._unsure = False
        log_.transaction(self._writer)  # takes the name, so that nobody moves the position any more
        kept = log_.state(CAPTURE, self._partition).get(name)
        self.camera = Camera(settings, clock=clock, stop=stop,
                             resume=msgspec.msgpack.decode(kept, type=Position) if kept else None)

    def run(self) -> None:
        """Work until the file ends or the stop event is set.

        Raises:
            SourceError: a file cannot be opened.
            Fenced: another process captures the camera, or the log was out of reach for too long.
        """
        with about(stage=CAPTURE, camera=self.camera.name):
            for segment in self.camera.segments():
                if not segment.live and not self._may_go_on():
                    return
                if not self._appended(segment):
                    return
                self._watcher.on_output(CAPTURE, segment)

    def _appended(self, segment: Segment) -> bool:
        """Try until the log has it; False when stopped before."""
        with self._tracing.capture(segment) as traced:
            while not self._append(segment, traced):
                if self._stop.wait(RETRY_S):
                    return False
        return True

    def _append(self, segment: Segment, traced: Headers) -> bool:
        value, headers = codec.encode(segment)
        position = msgspec.msgpack.encode(Position(segment.session, segment.sequence + 1))
        try:
            with self._log.transaction(self._writer) as transaction:
                if self._unsure and self._log.state(CAPTURE, self._partition).get(segment.camera) == position:
                    self._unsure = False
                    return True
                transaction.append(SEGMENTS, segment.camera, value, {**headers, **traced})
                transaction.put_state(CAPTURE, self._partition, segment.camera, position)
        except LogUnavailable as error:
            log.warning("camera %s: segment %d waits: %s", segment.camera, segment.sequence, error)
            self._unsure = True  # it may have been kept
            return False
        self._unsure = False
        return True

    def _may_go_on(self) -> bool:
        """Wait until the next stage has caught up; False when stopped."""
        while not self._stop.is_set():
            try:
                if self._log.lag(self._consumer_group, SEGMENTS).get(self._partition, 0) < self._max_ahead:
                    return True
            except LogUnavailable as error:
                log.warning("camera %s: waits: %s", self.camera.name, error)
            self._stop.wait(WAIT_S)
        return False
