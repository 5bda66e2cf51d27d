"""Capture processes share the cameras; here as threads on the embedded log."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from operators.clock import SystemClock
from operators.records import Segment
from pipeline import codec
from pipeline.background import in_background
from pipeline.cluster.cameras import add, remove
from pipeline.cluster.capture_stage import CaptureStage
from pipeline.settings import LogSettings
from pipeline.topics.embedded_log import EmbeddedLog
from pipeline.topology import SEGMENTS, topics
from pipeline.watcher import Watcher
from tests.contracts.logs import PATIENCE_S, everything
from tests.waiting import until

LIMITS = LogSettings(partitions=4, max_segments_ahead=10_000)


class Process:
    """One capture process."""

    def __init__(self, folder: Path) -> None:
        self.stop = threading.Event()
        self.log = EmbeddedLog(folder, session_timeout_s=2.0)
        stage = CaptureStage(self.log, LIMITS, folder.with_name("spool"), SystemClock(), Watcher())
        self.thread, self.result = in_background("capture", stage.run, self.stop)

    def end(self) -> None:
        self.stop.set()
        self.result.result(PATIENCE_S)
        self.log.close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    log = EmbeddedLog(tmp_path / "log", session_timeout_s=2.0)
    log.ensure(topics(LIMITS))
    yield log
    log.close()


@pytest.fixture
def start(tmp_path: Path, log: EmbeddedLog) -> Iterator[Callable[[], Process]]:
    started: list[Process] = []

    def one() -> Process:
        started.append(Process(tmp_path / "log"))
        return started[-1]

    yield one
    for process in started:
        process.end()


def sequences(log: EmbeddedLog) -> dict[str, list[int]]:
    """The numbers of every camera's segments, in order."""
    found: dict[str, list[int]] = {}
    for message in everything(log, SEGMENTS):
        record = codec.decode(message)
        assert isinstance(record, Segment)
        found.setdefault(record.camera, []).append(record.sequence)
    return found


def test_every_camera_is_captured_once_by_whoever_has_it(log: EmbeddedLog, start: Callable[[], Process],
                                                         media: Callable[..., Path]) -> None:
    clip = media("clip.mp4", seconds=3, fps=10, gop=10)
    names = [f"cam{number}" for number in range(6)]
    start(), start()
    add(log, [f"{name}={clip}" for name in names])
    until(lambda: Counter(map(len, sequences(log).values())) == {3: 6}, PATIENCE_S)
    late = start()  # partitions move, and nothing is captured again
    add(log, [f"late={clip}"])
    until(lambda: len(sequences(log)) == 7 and len(sequences(log)["late"]) == 3, PATIENCE_S)
    late.end()
    assert sequences(log) == dict.fromkeys([*names, "late"], [0, 1, 2])


def test_one_that_ends_is_replaced_where_it_was(log: EmbeddedLog, start: Callable[[], Process],
                                                media: Callable[..., Path]) -> None:
    clip = media("long.mp4", seconds=40, fps=10, gop=10)
    first = start()
    add(log, [f"long={clip}"])
    until(lambda: len(sequences(log).get("long", [])) >= 3, PATIENCE_S)
    first.end()
    start()
    until(lambda: len(sequences(log)["long"]) == 40, PATIENCE_S)
    assert sequences(log)["long"] == list(range(40))


def test_a_removed_camera_is_captured_no_more(log: EmbeddedLog, start: Callable[[], Process],
                                              media: Callable[..., Path]) -> None:
    clip = media("clip.mp4", seconds=3, fps=10, gop=10)
    process = start()
    add(log, [f"first={clip}"])
    until(lambda: len(sequences(log).get("first", [])) == 3, PATIENCE_S)
    remove(log, ["first"])
    add(log, [f"second={clip}"])
    until(lambda: len(sequences(log).get("second", [])) == 3, PATIENCE_S)
    process.end()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("camera ")]


def test_a_variable_is_filled_in_where_the_camera_is_captured(
        log: EmbeddedLog, start: Callable[[], Process], media: Callable[..., Path], tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "with ${PLACE}"
    folder.mkdir()
    (folder / "clip.mp4").write_bytes(b"")
    add(log, [f"there={folder / 'clip.mp4'}"])
    process = start()
    until(lambda: "PLACE" in caplog.text, PATIENCE_S)  # it is not set here
    process.end()
    monkeypatch.setenv("PLACE", "video")
    (tmp_path / "with video").mkdir()
    (tmp_path / "with video" / "clip.mp4").write_bytes(media("clip.mp4", seconds=3, fps=10, gop=10).read_bytes())
    start()
    until(lambda: len(sequences(log).get("there", [])) == 3, PATIENCE_S)
