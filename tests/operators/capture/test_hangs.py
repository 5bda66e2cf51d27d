"""Sources that accept and then send nothing: noticed in time, given up, tried again, and never in the way."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from operators.capture import connection as connection_module
from operators.capture.camera import MAX_STUCK, Camera, CameraSettings
from operators.capture.reader import Reader
from operators.clock import SystemClock
from operators.errors import SourceTimeout
from tests.operators.capture.silent import silent_server
from tests.operators.capture.watching import Watch, assert_whole, watching
from tests.rtsp import RtspServer

Media = Callable[..., Path]
TIMEOUT_S = 0.8
LATE_S = 4.0  # a busy machine may be late


def timeouts(watch: Watch) -> int:
    return watch.camera.status.errors.get("timeout", 0)


@pytest.mark.parametrize(
    ("scheme", "answered"),
    [
        ("rtsp", ()),
        ("rtsp", (b"OPTIONS",)),
        ("rtsp", (b"OPTIONS", b"DESCRIBE")),
        ("rtsp", (b"OPTIONS", b"DESCRIBE", b"SETUP")),
        ("rtsp", (b"OPTIONS", b"DESCRIBE", b"SETUP", b"PLAY")),
        ("http", ()),
        ("http", (b"GET",)),
    ],
)
def test_a_server_that_accepts_and_falls_silent(scheme: str, answered: tuple[bytes, ...]) -> None:
    with silent_server(*answered) as server:
        url = f"{scheme}://admin:hunter2@127.0.0.1:{server.port}/x"
        began = time.monotonic()
        with watching(url, open_timeout_s=TIMEOUT_S, read_timeout_s=TIMEOUT_S) as watch:
            watch.wait_for(lambda: timeouts(watch) >= 1)
            assert TIMEOUT_S <= time.monotonic() - began < TIMEOUT_S + LATE_S
            watch.wait_for(lambda: timeouts(watch) >= 2)  # it is tried again
        assert server.connections >= 2
        assert set(watch.camera.status.errors) == {"timeout"}
        assert "sent nothing for 0.8 s" in (watch.camera.status.last_error or "")
        assert "hunter2" not in (watch.camera.status.last_error or "")


def test_a_camera_that_freezes_mid_stream(rtsp_server: RtspServer, media: Media) -> None:
    shutil.copy(media("a.mp4", seconds=10, fps=20, audio_codec="aac"), rtsp_server.folder)
    url = rtsp_server.url("a.mp4", loop=True)
    with watching(url, segment_s=0.5, open_timeout_s=TIMEOUT_S, read_timeout_s=TIMEOUT_S) as watch:
        watch.wait(2)
        rtsp_server.freeze()
        froze = time.monotonic()
        watch.wait_for(lambda: timeouts(watch) >= 1)
        assert time.monotonic() - froze < TIMEOUT_S + LATE_S
        rtsp_server.thaw()
        watch.wait_for_session(2)
    for segments in watch.sessions().values():
        assert_whole(segments)


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, list[threading.Thread]]:
    """Readers that hang until the event is set, and the threads that they hang in."""
    released, begun = threading.Event(), list[threading.Thread]()

    def hang(*_: object) -> Reader:
        begun.append(threading.current_thread())
        released.wait(60)
        raise SourceTimeout

    monkeypatch.setattr(connection_module, "Reader", hang)
    return released, begun


def test_a_thread_that_never_comes_back(hanging: tuple[threading.Event, list[threading.Thread]]) -> None:
    """What FFmpeg's timeouts do not reach: shutdown does not wait for it, and no more than so many are left."""
    released, begun = hanging
    with watching("rtsp://127.0.0.1:1/x", open_timeout_s=0.2, backoff_max_s=0.05) as watch:
        watch.wait_for(lambda: watch.camera.status.errors.get("stuck", 0) >= 3)
        assert len(begun) == MAX_STUCK
        assert "hang" in (watch.camera.status.last_error or "")
        stopped = time.monotonic()
        watch.finish()
        assert time.monotonic() - stopped < LATE_S
        assert all(thread.is_alive() and thread.daemon for thread in begun)
    released.set()
    for thread in begun:
        thread.join()


HUNG = """
import sys, threading
from operators.capture.camera import Camera, CameraSettings
from operators.clock import SystemClock
stop = threading.Event()
settings = CameraSettings(source=sys.argv[1], open_timeout_s=60.0, read_timeout_s=60.0)
camera = Camera(settings, clock=SystemClock(), stop=stop)
threading.Timer(0.5, stop.set).start()
assert list(camera.segments()) == []
"""


def test_a_process_ends_although_a_reader_hangs_in_native_code() -> None:
    with silent_server(b"OPTIONS") as server:
        command = [sys.executable, "-c", HUNG, f"rtsp://127.0.0.1:{server.port}/x"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert server.connections == 1
    assert (done.returncode, done.stderr) == (0, "")


def test_hanging_threads_that_come_back_make_room(
        hanging: tuple[threading.Event, list[threading.Thread]]) -> None:
    released, begun = hanging
    with watching("rtsp://127.0.0.1:1/x", open_timeout_s=0.2, backoff_max_s=0.05) as watch:
        watch.wait_for(lambda: watch.camera.status.errors.get("stuck", 0) >= 1)
        released.set()
        watch.wait_for(lambda: len(begun) > MAX_STUCK)


def test_a_slow_taker_is_no_silence_and_little_waits_for_it(media: Media, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is read no further than the bound while nobody takes its segments."""
    read: list[int] = []
    original = Reader.packets

    def count(reader: Reader) -> Iterator[object]:
        for packet in original(reader):
            read.append(1)
            yield packet

    monkeypatch.setattr(Reader, "packets", count)
    monkeypatch.setattr(connection_module, "MAX_WAITING_PACKETS", 16)
    path = media("long.mp4", seconds=30, audio_codec="aac")
    settings = CameraSettings(source=f"test={path}", read_timeout_s=0.2)
    camera = Camera(settings, clock=SystemClock(), stop=threading.Event())
    segments = camera.segments()
    first = next(segments)
    threading.Event().wait(0.6)  # three timeouts long nothing is taken
    assert len(read) < 150
    rest = list(segments)
    assert_whole([first, *rest])
    assert len(rest) == 29
    assert camera.status.errors == {}


def test_an_error_that_nobody_foresaw_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Reader:
        message = "admin:hunter2"
        raise ZeroDivisionError(message)

    monkeypatch.setattr(connection_module, "Reader", fail)
    with watching("rtsp://127.0.0.1:1/x") as watch:
        watch.wait_for(lambda: watch.camera.status.errors.get("open", 0) >= 2)
    assert "ZeroDivisionError" in (watch.camera.status.last_error or "")
