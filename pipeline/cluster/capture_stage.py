"""Capture on a cluster: every process captures the cameras that the group gives to it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import msgspec

from operators.capture.camera import Camera, CameraSettings, CameraStatus
from operators.capture.source import parse
from operators.clock import NS_PER_S, Clock
from operators.errors import LogUnavailable, LookoutError, SettingsError
from pipeline.background import in_background
from pipeline.cluster.cameras import settings_of
from pipeline.cluster.live_capture import LiveCapture
from pipeline.cluster.spool import Spool
from pipeline.settings import LogSettings, filled_in
from pipeline.topics.base import Log, Message
from pipeline.topology import CAMERAS, CAPTURE
from pipeline.tracing.base import UNTRACED, Tracing
from pipeline.watcher import Watcher
from pipeline.workers.capture import CaptureWorker
from pipeline.workers.worker import POLL_S, RETRY_S

log = logging.getLogger(__name__)

RESTART_NS = 5 * NS_PER_S  # between a camera's failure and the next try
LEAVE_S = 10.0  # how long the end waits for cameras to close


@dataclass
class _Captured:
    """A camera that this process captures."""

    settings: CameraSettings
    partition: int
    stop: threading.Event
    result: Future[None]
    opened: list[Camera]  # by its thread, as soon as the log has told where it was left
    restart_ns: int | None = None  # when it is tried again, once it has failed


class CaptureStage:
    """Learns from the topic of cameras which there are; no offset is ever committed, so all are told at every move."""

    def __init__(self, log_: Log, limits: LogSettings, spools: Path, clock: Clock,
                 watcher: Watcher, tracing: Tracing = UNTRACED) -> None:
        """Nothing is read before `run`.

        Args:
            log_: stays open when the stage ends.
            limits: how much a file may run ahead, and a live camera may keep on disk.
            spools: a folder for what live cameras keep while the log is out of reach.
            clock: where time comes from.
            watcher: who is told.
            tracing: follows what is captured.
        """
        self._log, self._limits, self._spools = log_, limits, spools
        self._clock, self._watcher, self._tracing = clock, watcher, tracing
        self._cameras: dict[str, _Captured] = {}
        self._leaving: set[int] = set()  # partitions that were taken away, and perhaps given back at once
        self._beat_ns = clock.monotonic_ns()

    def beat_ns(self) -> int:
        """Monotonic time of the loop's last turn."""
        return self._beat_ns

    def statuses(self) -> Mapping[str, CameraStatus]:
        """Every camera captured here, as it is now. Any thread may ask."""
        return {name: camera.opened[0].status if camera.opened else CameraStatus()
                for name, camera in list(self._cameras.items())}

    def run(self, stop: threading.Event) -> None:
        """Capture until `stop` is set."""
        consumer = None
        try:
            while not stop.is_set():
                self._beat_ns = self._clock.monotonic_ns()
                try:
                    consumer = consumer or self._log.consumer(CAPTURE, CAMERAS, on_revoked=self._leaving.update)
                    messages = consumer.poll(256, POLL_S)
                    self._let_go(self._leaving - consumer.assignment)
                    self._leaving.clear()
                    for message in messages:
                        self._learn(message)
                    self._restart_failed()
                except LogUnavailable as error:
                    log.warning("capture: %s; trying again", error)
                    stop.wait(RETRY_S)
        finally:
            self._let_go({camera.partition for camera in self._cameras.values()})
            if consumer:
                consumer.close()

    def _learn(self, message: Message) -> None:
        """A camera was added, changed or removed."""
        name = message.key
        try:
            settings = settings_of(message)
            if settings:
                settings = msgspec.structs.replace(settings, source=filled_in(settings.source, "source", os.environ))
        except SettingsError as error:
            log.error("camera %s: %s", name, error)
            return
        before = self._cameras.get(name)
        if before and before.settings == settings:
            return
        if before:
            self._end([name])
        if settings:
            self._cameras[name] = self._start(name, settings, message.partition)
            log.info("camera %s: captured here", name)

    def _start(self, name: str, settings: CameraSettings, partition: int) -> _Captured:
        stop, opened = threading.Event(), list[Camera]()

        def capture() -> None:
            worker: CaptureWorker | LiveCapture
            if parse(settings.source).live:
                spool = Spool(self._spools, name, self._limits.spool_bytes)
                worker = LiveCapture(settings, spool, self._log, self._clock, self._watcher, stop, self._tracing)
            else:
                worker = CaptureWorker(settings, self._limits, self._log, self._clock, self._watcher, stop,
                                       self._tracing)
            opened.append(worker.camera)
            worker.run()

        return _Captured(settings, partition, stop, in_background(f"camera {name}", capture)[1], opened)

    def _restart_failed(self) -> None:
        for name, camera in list(self._cameras.items()):
            if not camera.result.done() or (error := camera.result.exception()) is None:
                continue
            now_ns = self._clock.monotonic_ns()
            if camera.restart_ns is None:
                log.error("camera %s: %s; trying again in %d s", name, error, RESTART_NS // NS_PER_S,
                          exc_info=None if isinstance(error, LookoutError) else error)
                camera.restart_ns = now_ns + RESTART_NS
            elif now_ns >= camera.restart_ns:
                self._cameras[name] = self._start(name, camera.settings, camera.partition)

    def _let_go(self, partitions: set[int]) -> None:
        """Another process captures the cameras of these partitions from now on."""
        self._end([name for name, camera in self._cameras.items() if camera.partition in partitions])

    def _end(self, names: list[str]) -> None:
        ending = [self._cameras.pop(name) for name in names]
        for camera in ending:
            camera.stop.set()
        for name, camera in zip(names, ending, strict=True):
            try:
                camera.result.exception(timeout=LEAVE_S)
            except TimeoutError:
                log.warning("camera %s: does not stop; left to itself", name)
            else:
                log.info("camera %s: no longer captured here", name)
