"""False alarms on footage in which nothing happens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from operators.models.bundle import load
from pipeline.training.evaluate import evaluate
from pipeline.training.measuring.report import tables
from tests.media import make_video
from tests.tiny_bundle import make_bundle

Draw = Callable[[float, NDArray[np.uint8]], None]


def white(time_s: float, picture: NDArray[np.uint8]) -> None:
    picture[:] = 255


def black(time_s: float, picture: NDArray[np.uint8]) -> None:
    picture[:] = 0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "cameras").mkdir()
    return tmp_path


def labelled(data: Path, *rows: str) -> None:
    (data / "labels.csv").write_text("\n".join(["path,label,source", *rows]) + "\n")


def quiet(data: Path, tmp_path: Path) -> dict[str, object]:
    report, _ = evaluate(load(make_bundle(tmp_path / "bundle")), data, backend="onnxruntime")
    assert any("quiet footage" in str(line) for line in tables(report))
    found: dict[str, object] = report["quiet"]
    return found


@pytest.mark.parametrize(("draw", "events"), [(white, 1), (black, 0)])
def test_an_event_of_an_alertable_label_on_a_quiet_camera_is_a_false_alarm(
        data: Path, tmp_path: Path, draw: Draw, events: int) -> None:
    make_video(data / "cameras" / "yard.mp4", seconds=4, draw=draw)
    labelled(data)
    found = quiet(data, tmp_path)
    assert found == {"files": 1, "media_s": 4.0, "events": events, "false_per_hour": events * 900.0,
                     "by_label": {"bright": 1} if events else {}}


def test_clips_in_which_nothing_happens_are_quiet_and_others_are_not(data: Path, tmp_path: Path) -> None:
    make_video(data / "no.mp4", seconds=3, draw=white)
    make_video(data / "noise.wav", seconds=3, codec=None, audio_codec="pcm_s16le", tone=440.0)
    make_video(data / "yes.mp4", seconds=3, draw=white)
    labelled(data, "no.mp4,no_bright,a", "noise.wav,noise,b", "yes.mp4,bright,c")
    found = quiet(data, tmp_path)
    assert found["files"] == 2
    assert found["by_label"] == {"bright": 1, "loud": 1}


def test_where_nothing_is_quiet_nothing_is_said(data: Path, tmp_path: Path) -> None:
    labelled(data)
    assert quiet(data, tmp_path) == {"files": 0, "media_s": 0, "events": 0, "false_per_hour": None, "by_label": {}}
