"""Fifty reconnects leave nothing behind: no memory, no thread, no file descriptor."""

from __future__ import annotations

import gc
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.operators.capture.watching import Watch, assert_whole, watching
from tests.rtsp import RtspServer

Media = Callable[..., Path]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts in /proc")
GROWTH_BYTES = 3 * 2**20  # over fifty connections; one is measured to add less than 10 kB


class Held(NamedTuple):
    """What the process holds."""

    memory_bytes: int
    threads: int
    descriptors: int


def held() -> Held:
    gc.collect()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    memory_bytes = int(status["RssAnon"].split()[0]) * 1024
    return Held(memory_bytes, threading.active_count(), len(list(Path("/proc/self/fd").iterdir())))


def settled(watch: Watch, sessions: int) -> Held:
    """What is held when so many sessions have begun; the camera may be between two."""
    watch.wait_for_session(sessions, timeout_s=150)
    return held()


def assert_steady(before: Held, after: Held) -> None:
    assert after.memory_bytes - before.memory_bytes < GROWTH_BYTES, (before, after)
    assert after.threads <= before.threads + 1
    assert after.descriptors <= before.descriptors + 2  # the socket of the next connection


@pytest.mark.slow
def test_fifty_reconnects_to_a_camera(rtsp_server: RtspServer, media: Media) -> None:
    shutil.copy(media("short.mp4", seconds=0.6, audio_codec="aac"), rtsp_server.folder)
    with watching(rtsp_server.url("short.mp4"), backoff_min_s=0.01, backoff_max_s=0.01) as watch:
        before = settled(watch, 10)
        after = settled(watch, 60)
    assert watch.camera.status.reconnects >= 59
    for segments in watch.sessions().values():
        assert_whole(segments)
    assert_steady(before, after)


def test_many_refused_connections() -> None:
    with watching("rtsp://127.0.0.1:1/x", backoff_min_s=0.01, backoff_max_s=0.01) as watch:
        watch.wait_for(lambda: watch.camera.status.errors.get("open", 0) >= 20)
        before = held()
        watch.wait_for(lambda: watch.camera.status.errors.get("open", 0) >= 120)
        after = held()
    assert_steady(before, after)
