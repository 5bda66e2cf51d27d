"""A live camera on a cluster: it never waits for the log, its segments do, on disk."""

from __future__ import annotations

import logging
import sqlite3
import threading
from concurrent.futures import Future, wait

from operators.capture.camera import Camera, CameraSettings
from operators.clock import Clock
from operators.errors import Fenced, LogUnavailable, RecordTooLarge
from operators.records import Segment
from pipeline import codec
from pipeline.background import in_background
from pipeline.cluster.spool import Spool, Spooled
from pipeline.logs import about
from pipeline.topics.base import Log, partition_of
from pipeline.topology import CAPTURE, SEGMENTS
from pipeline.tracing.base import UNTRACED, Headers, Tracing
from pipeline.watcher import Watcher
from pipeline.workers.capture import BATCH_BYTES, BATCH_SEGMENTS
from pipeline.workers.worker import RETRY_S

log = logging.getLogger(__name__)

STORE = "spool"  # of how far each camera's spool is in the log
RENAME_S = 5.0  # how long one that lost the camera's name waits, in which it learns whether the camera is still its own

_LEAVE_S = 8.0  # how long the end waits for the last segments to be sent


class LiveCapture:
    """Two threads: one puts what the camera gives into the spool, the other one brings it from there into the log.

    Each transaction says how far the spool is in the log, so that a process which dies at any instant is
    followed by one that sends everything that is missing, and nothing twice.
    """

    def __init__(self, settings: CameraSettings, spool: Spool, log_: Log, clock: Clock, watcher: Watcher,
                 stop: threading.Event, tracing: Tracing = UNTRACED) -> None:
        """Nothing is asked of the log before `run`."""
        self.camera = Camera(settings, clock=clock, stop=stop)
        self._spool, self._log, self._watcher, self._tracing = spool, log_, watcher, tracing
        self._writer = f"{CAPTURE}/{self.camera.name}"
        self._key = f"{self.camera.name}/{spool.id}"
        self._unsure = True  # how far the spool is in the log
        self._more, self._ended = threading.Event(), threading.Event()

    def run(self) -> None:
        """Capture until the stop event is set; what the log does not take by then stays in the spool.

        Raises:
            UnsupportedSource: there is nothing to capture.
        """
        _, sending = in_background(f"send {self.camera.name}", self._send)
        try:
            with about(stage=CAPTURE, camera=self.camera.name):
                for segment in self.camera.segments():
                    with self._tracing.capture(segment) as traced:
                        self._keep(segment, traced)
                    if sending.done():
                        break
        finally:
            self._ended.set()
            self._more.set()
            self._finish(sending)

    def _finish(self, sending: Future[None]) -> None:
        if wait([sending], _LEAVE_S).done:
            self._spool.close()
            self._log.release(self._writer)
            sending.result()
        else:
            log.warning("camera %s: the log does not answer; %d bytes stay in the spool", self.camera.name,
                        self._spool.size_bytes)

    def _keep(self, segment: Segment, traced: Headers) -> None:
        value, headers = codec.encode(segment)
        try:
            shed = self._spool.put(value, {**headers, **traced})
        except sqlite3.Error as error:
            log.error("camera %s: segment %d is lost: %s", segment.camera, segment.sequence, error)
            self._watcher.on_unsent(segment.camera, "spool_error", 1)
            return
        if shed:
            self._watcher.on_unsent(segment.camera, "spool_full", shed)
        self._watcher.on_spool(segment.camera, self._spool.size_bytes)
        self._watcher.on_output(CAPTURE, segment)
        self._more.set()

    def _send(self) -> None:
        """Bring the spool into the log whenever there is something in it, until the camera has ended."""
        while True:
            self._more.clear()
            ended = self._ended.is_set()
            try:
                self._settle()
                while batch := self._spool.take(BATCH_SEGMENTS, BATCH_BYTES):
                    self._append(batch)
            except (LogUnavailable, Fenced) as error:
                log.warning("camera %s: %d bytes wait: %s", self.camera.name, self._spool.size_bytes, error)
                self._unsure = True
                fenced = isinstance(error, Fenced)
                if self._ended.wait(RENAME_S if fenced else RETRY_S):
                    return
                if fenced:  # and the camera is still ours by now: the cluster gave the name up, nobody took it
                    self._log.release(self._writer)
            else:
                if ended:
                    return
                self._more.wait()

    def _settle(self) -> None:
        """Take the camera's name, so that nobody else moves on, and see how far the spool is in the log."""
        if not self._unsure:
            return
        self._log.transaction(self._writer)
        if kept := self._log.state(STORE, self._partition()).get(self._key):
            self._spool.drop(int(kept))
        self._unsure = False

    def _append(self, batch: list[Spooled]) -> None:
        refused = 0
        with self._log.transaction(self._writer) as transaction:
            for spooled in batch:
                try:
                    transaction.append(SEGMENTS, self.camera.name, spooled.value, spooled.headers)
                except RecordTooLarge as error:
                    log.error("camera %s: %s", self.camera.name, error)
                    refused += 1
            transaction.put_state(STORE, self._partition(), self._key, b"%d" % batch[-1].number)
        self._spool.drop(batch[-1].number)
        if refused:
            self._watcher.on_unsent(self.camera.name, "too_large", refused)
        self._watcher.on_spool(self.camera.name, self._spool.size_bytes)

    def _partition(self) -> int:
        return partition_of(self.camera.name, self._log.partitions(SEGMENTS))
