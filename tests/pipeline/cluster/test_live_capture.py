"""A live camera while the log is out of reach: nothing is missed, nothing comes twice, what had to go is counted."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typing_extensions import override

from operators.capture.camera import CameraSettings
from operators.clock import SystemClock
from operators.errors import Fenced, LogUnavailable
from operators.records import Segment
from pipeline import codec
from pipeline.background import in_background
from pipeline.cluster.live_capture import STORE, LiveCapture
from pipeline.cluster.spool import Spool
from pipeline.settings import SPOOL_BYTES, LogSettings
from pipeline.topics.base import Transaction, partition_of
from pipeline.topics.embedded_log import EmbeddedLog
from pipeline.topology import SEGMENTS, topics
from pipeline.watcher import Watcher
from tests.contracts.logs import PATIENCE_S, everything
from tests.pipeline.workers.test_worker import segment
from tests.rtsp import RtspServer
from tests.waiting import until

CAMERA = "gate"


class Log(EmbeddedLog):
    """May be out of reach, as only a cluster can be."""

    away = False
    lost = False

    @override
    def transaction(self, writer: str) -> Transaction:
        if self.away:
            message = "out of reach"
            raise LogUnavailable(message)
        if self.lost:
            message = "somebody else has the name"
            raise Fenced(message)
        return super().transaction(writer)

    @override
    def release(self, writer: str) -> None:
        self.lost = False
        super().release(writer)


class Counting(Watcher):
    """Counts what was given up."""

    def __init__(self) -> None:
        self.unsent: Counter[str] = Counter()

    @override
    def on_unsent(self, camera: str, reason: str, segments: int) -> None:
        self.unsent[reason] += segments


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(tmp_path / "log")
    log.ensure(topics(LogSettings(partitions=2)))
    yield log
    log.close()


@pytest.fixture
def url(rtsp_server: RtspServer, media: Callable[..., Path]) -> str:
    clip = media("live.mp4", seconds=20, fps=10, gop=10)
    (rtsp_server.folder / "live.mp4").write_bytes(clip.read_bytes())
    return rtsp_server.url("live.mp4", loop=True)


class Running:
    """One capture of the camera."""

    def __init__(self, url: str, log: Log, folder: Path, bound_bytes: int = SPOOL_BYTES) -> None:
        self.watcher, self._stop = Counting(), threading.Event()
        self.spool = Spool(folder / "spool", CAMERA, bound_bytes)
        capture = LiveCapture(CameraSettings(source=f"{CAMERA}={url}"), self.spool, log,
                              SystemClock(), self.watcher, self._stop)
        _, self.result = in_background("capture", capture.run)

    def end(self) -> None:
        self._stop.set()
        self.result.result(PATIENCE_S)


def captured(log: Log) -> list[Segment]:
    found = [codec.decode(message) for message in everything(log, SEGMENTS)]
    return [record for record in found if isinstance(record, Segment)]


def whole(segments: list[Segment]) -> bool:
    """One session without a gap."""
    return (len({one.session for one in segments}) == 1
            and [one.sequence for one in segments] == list(range(len(segments))))


def test_it_goes_on_while_the_log_is_away_and_catches_up_in_order(log: Log, url: str, tmp_path: Path) -> None:
    running = Running(url, log, tmp_path)
    until(lambda: len(captured(log)) >= 1, PATIENCE_S)
    log.away = True
    until(lambda: len(running.spool.take(10, SPOOL_BYTES)) >= 3, PATIENCE_S)
    assert len(before := captured(log)) < 10
    log.away = False
    until(lambda: len(captured(log)) >= len(before) + 4, PATIENCE_S)
    running.end()
    assert whole(captured(log))
    assert captured(log)[-1].final
    assert not running.watcher.unsent


def test_a_name_that_was_lost_is_taken_again_without_a_gap(log: Log, url: str, tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.cluster.live_capture.RENAME_S", 0.5)
    running = Running(url, log, tmp_path)
    until(lambda: len(captured(log)) >= 1, PATIENCE_S)
    log.lost = True  # until it is released
    before = len(captured(log))
    until(lambda: len(captured(log)) >= before + 2, PATIENCE_S)
    running.end()
    assert whole(captured(log))


def test_what_does_not_fit_into_the_spool_is_counted(log: Log, url: str, tmp_path: Path) -> None:
    log.away = True
    running = Running(url, log, tmp_path, bound_bytes=1)
    until(lambda: running.watcher.unsent["spool_full"] >= 2, PATIENCE_S)
    running.end()
    assert captured(log) == []


def test_what_a_killed_process_left_comes_exactly_once(log: Log, tmp_path: Path) -> None:
    left = Spool(tmp_path / "spool", CAMERA, SPOOL_BYTES)  # by one that died between the commit and the drop
    for sequence in range(5):
        left.put(*codec.encode(segment(sequence, CAMERA)))
    done = left.take(3, SPOOL_BYTES)
    with log.transaction(f"capture/{CAMERA}") as transaction:
        for spooled in done:
            transaction.append(SEGMENTS, CAMERA, spooled.value, spooled.headers)
        transaction.put_state(STORE, partition_of(CAMERA, 2), f"{CAMERA}/{left.id}", b"%d" % done[-1].number)
    nobody, session = "rtsp://127.0.0.1:1/nobody", segment(0, CAMERA).session

    def came() -> list[int]:
        """What was left; all else says that the camera is missed, or is no more."""
        assert not any(one.media for one in captured(log) if one.session != session)
        return [one.sequence for one in captured(log) if one.session == session]

    running = Running(nobody, log, tmp_path)
    until(lambda: len(came()) >= 5, PATIENCE_S)
    running.end()
    assert came() == list(range(5))
    again = Running(nobody, log, tmp_path)
    again.end()
    assert came() == list(range(5))
