"""The whole topology in one process on the embedded log: a thread for every camera and every stage."""

from __future__ import annotations

import fcntl
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TextIO

from operators.clock import NS_PER_S
from operators.errors import LookoutError, SettingsError
from pipeline.background import Running, in_background
from pipeline.event_lines import EventLines
from pipeline.topics.base import Log
from pipeline.topology import ALERTS, EVENTS, EVIDENCE, Parts, stages
from pipeline.watcher import Watcher
from pipeline.workers.capture import CaptureWorker
from pipeline.workers.worker import Worker

log = logging.getLogger(__name__)

TICK_S = 0.1  # how often the run looks whether it is over
DRAIN_S = 10.0  # how long the end of a run waits for alerts to be delivered
QUIESCE_S = 5.0  # and then for the deliveries under way, also when stopped


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    failed: tuple[str, ...]  # what went wrong, a line each; nothing: all is well
    undelivered: int  # alerts still waiting to be delivered by the next run


class Local:
    """Runs cameras and stages until every file has ended and been worked through, or until stopped."""

    def __init__(self, parts: Parts, log_: Log, watcher: Watcher, stop: threading.Event,
                 lines: Sequence[EventLines] = ()) -> None:
        """Build every stage; nothing runs before `run`.

        Args:
            parts: what the operators are built of, and the settings that say which cameras there are.
            log_: with all topics there.
            watcher: told what every stage does.
            stop: set from anywhere, it ends the run: cameras first, each stage after the batch under way.
            lines: where events are written besides.

        Raises:
            BackendError: the model cannot be served.
        """
        self._log, self._parts, self._lines, self._stop = log_, parts, lines, stop
        self._stages = stages(parts.settings)
        self._stop_stages = threading.Event()
        self._workers = {
            stage.lane.stage: Worker(stage.lane, stage.build(parts), log_, parts.clock, watcher, parts.tracing)
            for stage in self._stages}
        self.captures = [CaptureWorker(camera, parts.settings.log, log_, parts.clock, watcher, stop, parts.tracing)
                         for camera in parts.settings.cameras]
        self._failed: list[str] = []

    @property
    def beats(self) -> Mapping[str, Callable[[], int]]:
        """For every stage, what tells the monotonic time of its loop's last turn."""
        return {name: worker.beat_ns for name, worker in self._workers.items()}

    def run(self, on_tick: Callable[[], None]) -> Outcome:
        """Work; `on_tick` is called a few times a second from this thread."""
        cameras = [in_background(f"camera {item.camera.name}", item.run) for item in self.captures]
        stages = [in_background(name, worker.run, self._stop_stages) for name, worker in self._workers.items()]
        stages += [in_background("lines", lines.run, self._stop_stages) for lines in self._lines]
        pause = threading.Event()
        try:
            while not self._over(cameras, stages):
                on_tick()
                pause.wait(TICK_S)
            self._drain(on_tick, pause)
        finally:
            self._stop.set()
            self._stop_stages.set()
            for thread, result in (*cameras, *stages):
                thread.join()
                self._note(thread.name, result)
            on_tick()
        return Outcome(tuple(self._failed), self._parts.outbox.pending)

    def _over(self, cameras: Sequence[Running], stages: Sequence[Running]) -> bool:
        """Stopped, a stage broken, or every file read and every record worked through."""
        if any(result.done() for _, result in stages):
            return True
        if not all(result.done() for _, result in cameras):
            return False
        return self._stop.is_set() or not self._left()

    def _left(self) -> bool:
        """Whether a stage has still to read or to finish; in the order of the flow, so that none hides on its way."""
        groups = [(stage.lane.stage, stage.lane.consumes) for stage in self._stages]
        groups += [(lines.group, EVENTS) for lines in self._lines]
        return any(any(self._log.lag(group, topic).values()) for group, topic in groups) or self._evidence_left()

    def _evidence_left(self) -> bool:
        """Whether evidence is still to be made: the log knows, also of what a run before has left."""
        return EVIDENCE in self._workers and any(
            self._log.state(EVIDENCE, partition) for partition in range(self._log.partitions(ALERTS)))

    def _drain(self, on_tick: Callable[[], None], pause: threading.Event) -> None:
        """Give the alerts under way a moment; those that need longer are kept for the next run."""
        deadline_ns = self._parts.clock.monotonic_ns() + round(DRAIN_S * NS_PER_S)
        while (not self._stop.is_set() and self._parts.outbox.pending
               and self._parts.clock.monotonic_ns() < deadline_ns):
            on_tick()
            pause.wait(TICK_S)
        self._parts.outbox.quiesce(QUIESCE_S)

    def _note(self, name: str, result: Future[None]) -> None:
        if error := result.exception():
            log.error("%s ended: %s", name, error, exc_info=None if isinstance(error, LookoutError) else error)
            self._failed.append(f"{name}: {error}")


class OneAtATime:
    """Holds a data folder for one process; the lock goes with the process, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        """Take the folder, making it where it is missing.

        Raises:
            SettingsError: it cannot be written, or another process has it.
        """
        folder = self._folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / "lock").open("w")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"--data {folder}: another lookout is running there"
            raise SettingsError(message) from None
        except OSError as error:
            message = f"--data {folder}: {error.strerror}"
            raise SettingsError(message) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()
