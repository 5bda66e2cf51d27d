"""`lookout demo`: its siren is seen, heard and delivered, over a real RTSP server."""

from __future__ import annotations

import pytest

from tests.end_to_end.lookout import run


@pytest.mark.slow
def test_the_demo_delivers_a_verified_siren_alert() -> None:
    done = run("demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rtsp://127.0.0.1" in done.stdout
    (row,) = [line for line in done.stdout.splitlines() if "verified" in line and "siren" in line]
    assert "street" in row
