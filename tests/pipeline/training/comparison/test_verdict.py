"""From scores to figures and diagrams."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

pytest.importorskip("torch", reason="the train extra is not installed")
pytest.importorskip("matplotlib", reason="the train extra is not installed")

from operators.models.bundle import Label
from pipeline.training.comparison.baselines import ALIGNED, METHODS, OURS
from pipeline.training.comparison.contest import Fold, Scores
from pipeline.training.comparison.diagrams import draw
from pipeline.training.comparison.verdict import calibration, judge
from pipeline.training.scenes.compose import MASKED
from pipeline.training.scenes.stage import CONDITIONS

FIGHT = Label(name="fight", sense="both", alertable=True, open=0.5, close=0.25, min_length_s=1, merge_gap_s=1)
LABELS = [FIGHT, msgspec.structs.replace(FIGHT, name="siren", sense="acoustic")]
NOISE = {"visual": 1.6, "acoustic": 4.0, "concatenation": 1.2, "weighted_sum": 1.5, "gru": 0.8, OURS: 0.2,
         ALIGNED: 0.3}


def fold(seed: int, *, sirens: bool = True) -> Fold:
    """Every method's scores are the truth under more or less noise."""
    random = np.random.default_rng(seed)
    truth = (random.random((60, 16, 2)) < 0.3).astype(np.float32)
    truth[..., 1] *= sirens
    truth[0] = MASKED

    def told(truth: Scores, method: str, extra: float = 0.0) -> Scores:
        logits = 4 * truth - 2 + (NOISE[method] + extra) * random.standard_normal(truth.shape)
        return (1 / (1 + np.exp(-logits))).astype(np.float32)

    real = np.where(np.arange(20)[:, None] % 2 == [[0, 0]], np.float32(1), np.float32(0))
    real[:, 1] = MASKED
    return Fold(truth, {name: {method: told(truth, method, 1.0 * (name == "degraded")) for method in METHODS}
                        for name in CONDITIONS}, real, {method: told(real, method) for method in METHODS})


@pytest.fixture(scope="module")
def folds() -> list[Fold]:
    return [fold(seed) for seed in range(4)]


def test_the_best_late_fusion_is_found_and_the_gain_over_it_is_paired(folds: list[Fold]) -> None:
    report = judge(folds, LABELS)["composed_scenes"]
    gain, points = report["gain"]["over_best_late_fusion"], report["mean_ap"]["degraded"]
    assert gain["over"] == "gru"
    assert gain["low"] > 0
    assert gain["folds"] == pytest.approx(
        np.subtract(points[OURS]["folds"], points["gru"]["folds"]).tolist())
    assert report["gain"]["over_better_sense"]["over"] == "visual"


def test_points_are_the_mean_over_labels_and_then_over_folds(folds: list[Fold]) -> None:
    report = judge(folds, LABELS)["composed_scenes"]
    both = [report["ap"]["clean"]["gru"][label]["mean"] for label in ("fight", "siren")]
    assert report["mean_ap"]["clean"]["gru"]["mean"] == pytest.approx(np.mean(both))


def test_a_label_that_a_fold_never_asks_says_nothing_there(folds: list[Fold]) -> None:
    report = judge([*folds, fold(9, sirens=False)], LABELS)["composed_scenes"]
    assert len(report["ap"]["clean"][OURS]["siren"]["folds"]) == 4
    assert len(report["ap"]["clean"][OURS]["fight"]["folds"]) == 5
    assert len(report["mean_ap"]["clean"][OURS]["folds"]) == 5


def test_without_sound_only_what_is_seen_is_asked(folds: list[Fold]) -> None:
    report = judge(folds, LABELS)["composed_scenes"]
    ap = report["ap"]["no_sound"]
    assert report["gain"]["no_sound_over_visual"]["mean"] == pytest.approx(
        ap[OURS]["fight"]["mean"] - ap["visual"]["fight"]["mean"])


def test_real_clips_are_asked_for_what_is_seen_in_them(folds: list[Fold]) -> None:
    real = judge(folds, LABELS)["real_clips_with_sound"]
    assert set(real) == {"fight"}
    assert (real["fight"]["n"], real["fight"]["there"]) == (80, 40)
    assert real["fight"]["gain"]["over"] == "visual"
    assert real["fight"]["ap"][OURS]["mean"] > real["fight"]["ap"]["acoustic"]["mean"]


def test_steps_that_are_not_known_do_not_count(folds: list[Fold]) -> None:
    assert sum(calibration(folds, "clean", OURS).count) == 4 * 59 * 16 * 2
    scores = folds[0].scores["clean"]["gru"].copy()
    scores[0] = 1.0  # would be false alarms
    changed = replace(folds[0], scores={**folds[0].scores, "clean": {**folds[0].scores["clean"], "gru": scores}})
    assert judge([changed, *folds[1:]], LABELS) == judge(folds, LABELS)


def test_scores_survive_being_kept(folds: list[Fold], tmp_path: Path) -> None:
    folds[0].save(tmp_path / "fold.npz")
    assert judge([Fold.load(tmp_path / "fold.npz")], LABELS) == judge(folds[:1], LABELS)


def test_diagrams_are_drawn(folds: list[Fold], tmp_path: Path) -> None:
    for file in draw(folds, ["fight", "siren"], tmp_path / "drawn"):
        assert file.read_bytes().startswith(b"\x89PNG")
