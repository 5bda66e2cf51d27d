"""Figures over single clips, from scores that the tests choose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from operators.models.bundle import Bundle, load
from pipeline.training.dataset import Row
from pipeline.training.measuring.clips import Scored, measure_clips
from tests.tiny_bundle import make_bundle

STEPS = 4


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return load(make_bundle(tmp_path / "bundle"))


def scored(bundle: Bundle, label: str, **scores: float) -> Scored:
    """A clip of which every step got these scores, and 0 of every other label."""
    events = np.array([[scores.get(name, 0.0) for name in bundle.label_names]] * STEPS)
    return Scored(Row(2, "clip.mp4", label, ("", label)), 2.0, events, np.full((STEPS, 4), 0.25))


def calibration(bundle: Bundle, clips: Sequence[Scored]) -> Any:
    return measure_clips(bundle, clips)["calibration"]


def test_scores_that_come_true_as_often_as_they_say_are_calibrated(bundle: Bundle) -> None:
    clips = [scored(bundle, label, bright=0.75) for label in ("bright", "bright", "bright", "no_bright")]
    found = calibration(bundle, clips)
    assert found == {"error": pytest.approx(0.0), "by_label": {"bright": pytest.approx(0.0)}, "n": 4 * STEPS}


def test_scores_that_say_too_much_are_not(bundle: Bundle) -> None:
    clips = [scored(bundle, label, bright=0.9, loud=0.2) for label in ("bright", "no_bright", "loud")]
    found = calibration(bundle, clips)
    assert found["by_label"] == {"bright": pytest.approx(0.4), "loud": pytest.approx(0.8)}
    assert found["error"] == pytest.approx((2 * 0.4 + 0.8) / 3)


def test_clips_that_say_nothing_of_a_label_count_for_none(bundle: Bundle) -> None:
    assert calibration(bundle, [scored(bundle, "happy", bright=0.9)]) == {"error": None, "by_label": {}, "n": 0}
