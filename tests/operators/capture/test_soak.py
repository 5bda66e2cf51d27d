"""Fifty reconnects leave nothing behind: no memory, no thread, no file descriptor."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rtsp import RtspServer

Media = Callable[..., Path]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts in /proc")
GROWTH_BYTES = 3 * 2**20  # over fifty connections; one is measured to add less than 10 kB
TIMEOUT_S = 240.0


def assert_steady(source: str, what: str, before: int, after: int) -> None:
    """A process of its own counts: this one's memory also moves with what other tests have left in it."""
    command = [sys.executable, "-m", "tests.operators.capture.reconnecting", source, what, str(before), str(after)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    first, last = json.loads(done.stdout)
    assert last["memory_bytes"] - first["memory_bytes"] < GROWTH_BYTES, (first, last)
    assert last["threads"] <= first["threads"] + 1, (first, last)
    assert last["descriptors"] <= first["descriptors"] + 2, (first, last)  # the socket of the next connection


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S + 30)
def test_fifty_reconnects_to_a_camera(rtsp_server: RtspServer, media: Media) -> None:
    shutil.copy(media("short.mp4", seconds=0.6, audio_codec="aac"), rtsp_server.folder)
    assert_steady(rtsp_server.url("short.mp4"), "ended", 10, 60)


def test_many_refused_connections() -> None:
    assert_steady("rtsp://127.0.0.1:1/x", "refused", 20, 120)
