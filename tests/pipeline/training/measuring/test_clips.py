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


def test_a_clip_is_told_by_its_mean_probability_and_opens_an_event_by_its_highest(bundle: Bundle) -> None:
    briefly = scored(bundle, "no_bright", bright=0.1)
    briefly.events[1, bundle.label_names.index("bright")] = 0.75
    clips = [scored(bundle, "bright", bright=0.5), scored(bundle, "bright", bright=1.0), briefly,
             scored(bundle, "no_bright", bright=0.0), scored(bundle, "bright", bright=0.3)]
    assert measure_clips(bundle, clips)["bright"] == {
        "accuracy": pytest.approx(4 / 5), "ap": pytest.approx(1.0), "n": 5,
        "opens": {"threshold": 0.7, "found": pytest.approx(1 / 3), "false": pytest.approx(1 / 2)}}
