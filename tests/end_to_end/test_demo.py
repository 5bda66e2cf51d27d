"""`lookout demo`: its siren is seen, heard and delivered, over a real RTSP server."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.end_to_end.lookout import run


@pytest.mark.slow
def test_the_demo_delivers_a_verified_siren_alert_and_shows_why(monkeypatch: pytest.MonkeyPatch,
                                                                 tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = run("demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rtsp://127.0.0.1" in done.stdout
    (row,) = [line for line in done.stdout.splitlines() if "verified" in line and "siren" in line]
    assert "street" in row
    (why,) = [Path(line.partition(": ")[2]) for line in done.stdout.splitlines() if line.endswith("why.png")]
    with Image.open(why) as picture:
        assert picture.format == "PNG"
    assert why.is_relative_to(tmp_path)
