"""Capture into the embedded log: what waits goes together, nothing twice, and files do not run ahead."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from typing_extensions import override

from operators.capture.camera import CameraSettings
from operators.clock import SystemClock
from operators.errors import LogUnavailable
from operators.records import Segment
from pipeline import codec
from pipeline.background import in_background
from pipeline.settings import LogSettings
from pipeline.topics.base import Transaction
from pipeline.topics.embedded_log import EmbeddedLog
from pipeline.topology import SEGMENTS, topics
from pipeline.watcher import TravellingRecord, Watcher
from pipeline.workers.capture import CaptureWorker
from tests.contracts.logs import PATIENCE_S, commit_all, everything
from tests.waiting import until

SECONDS = 12  # of media, and as many segments


class WatchedLog(EmbeddedLog):
    """Says how many transactions were left, and holds up or disturbs each as the test wants."""

    left = 0
    looks = 0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.on_leaving: Callable[[], None] = lambda: None
        self.on_left: Callable[[], None] = lambda: None

    @override
    def transaction(self, writer: str) -> Transaction:
        @contextmanager
        def watched(transaction: Transaction) -> Iterator[Transaction]:
            with transaction:
                yield transaction
                self.on_leaving()
            self.left += 1
            self.on_left()

        return watched(super().transaction(writer))  # type: ignore[return-value]

    @override
    def lag(self, group: str, topic: str) -> dict[int, int]:
        self.looks += 1
        return dict(super().lag(group, topic))


class Seen(Watcher):
    def __init__(self) -> None:
        self.segments: list[int] = []

    @override
    def on_output(self, stage: str, record: TravellingRecord) -> None:
        assert isinstance(record, Segment)
        self.segments.append(record.sequence)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[WatchedLog]:
    with closing(WatchedLog(tmp_path / "log")) as log:
        log.ensure(topics(LogSettings(partitions=1)))
        yield log


@pytest.fixture
def capture(log: WatchedLog, media: Callable[..., Path]) -> Iterator[Callable[..., Capture]]:
    """Starts capturing a file of `SECONDS` segments."""
    started: list[Capture] = []

    def start(max_segments_ahead: int = 1000) -> Capture:
        started.append(Capture(log, media("long.mp4", seconds=SECONDS, fps=10, gop=10), max_segments_ahead))
        return started[-1]

    yield start
    for one in started:
        one.stop.set()
        one.result.exception(PATIENCE_S)


class Capture:
    def __init__(self, log: WatchedLog, file: Path, max_segments_ahead: int) -> None:
        self.stop, self.seen = threading.Event(), Seen()
        self.worker = CaptureWorker(CameraSettings(source=f"cam={file}"),
                                    LogSettings(partitions=1, max_segments_ahead=max_segments_ahead), log,
                                    SystemClock(), self.seen, self.stop)
        self.result: Future[None]
        _, self.result = in_background("capture", self.worker.run)


def sequences(log: EmbeddedLog) -> list[int]:
    records = [codec.decode(message) for message in everything(log, SEGMENTS)]
    return [record.sequence for record in records if isinstance(record, Segment)]


def test_what_was_read_while_the_log_was_busy_goes_together(log: WatchedLog, capture: Callable[..., Capture]) -> None:
    free = threading.Event()
    log.on_leaving = lambda: assert_waited(free)
    running = capture()
    until(lambda: running.worker.camera.status.state == "ended", PATIENCE_S)  # all is read, nothing is in the log
    assert sequences(log) == []
    free.set()
    running.result.result(PATIENCE_S)
    assert sequences(log) == running.seen.segments == list(range(SECONDS))
    assert log.left <= 2, "those that waited are one transaction"


def test_one_that_was_kept_without_our_knowing_is_not_kept_twice(log: WatchedLog,
                                                                 capture: Callable[..., Capture]) -> None:
    def refuse_once() -> None:
        log.on_left = lambda: None
        raise LogUnavailable

    log.on_left = refuse_once
    running = capture()
    running.result.result(PATIENCE_S)
    assert sequences(log) == running.seen.segments == list(range(SECONDS))


def test_a_file_waits_for_the_next_stage(log: WatchedLog, capture: Callable[..., Capture]) -> None:
    running = capture(max_segments_ahead=5)
    with closing(log.consumer("perceive", SEGMENTS)) as consumer:
        for ahead in (5, 10):
            looked = log.looks
            until(lambda: log.looks > looked + 2, PATIENCE_S)  # noqa: B023
            assert sequences(log) == list(range(ahead))
            taken = 0
            while taken < 5:
                messages = consumer.poll(5 - taken, 1.0)
                commit_all(log, consumer, messages)
                taken += len(messages)
        running.result.result(PATIENCE_S)
    assert sequences(log) == list(range(SECONDS))


def assert_waited(event: threading.Event) -> None:
    assert event.wait(PATIENCE_S)
