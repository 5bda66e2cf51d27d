"""From every method's scores on every fold to figures: means, intervals, paired differences.

Average precision is in points, 0 to 100, per step in composed scenes and per clip in real ones. A fold
in which a label never occurs says nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.models.bundle import Label
from pipeline.training.comparison.baselines import ALIGNED, LATE, METHODS, OURS
from pipeline.training.comparison.contest import Fold, Scores
from pipeline.training.measuring.measures import Reliability, average_precision, interval, reliability
from pipeline.training.scenes.compose import MASKED
from pipeline.training.scenes.stage import CONDITIONS

HEADLINE = "degraded"
SENSES = ("visual", "acoustic")
Points = NDArray[np.float64]  # (folds, L') nan: not there


def judge(folds: Sequence[Fold], labels: Sequence[Label]) -> dict[str, Any]:
    """The figures of all methods; `labels` are the alertable ones, in the scores' order."""
    points = {name: {method: _points([(fold.truth, fold.scores[name][method]) for fold in folds])
                     for method in METHODS} for name in CONDITIONS}
    names = [label.name for label in labels]
    seen = [index for index, label in enumerate(labels) if label.seen]
    every = list(range(len(labels)))
    headline = points[HEADLINE]
    late = max(LATE, key=lambda method: _mean(headline[method]))
    sense = max(SENSES, key=lambda method: _mean(headline[method]))
    better = [max(SENSES, key=lambda method: _mean(headline[method][:, [index]])) for index in every]
    return {
        "composed_scenes": {
            "mean_ap": {name: {method: _spread(one) for method, one in by.items()} for name, by in points.items()},
            "ap": {name: {method: {label: _spread(one[:, [index]]) for index, label in enumerate(names)}
                          for method, one in by.items()} for name, by in points.items()},
            "gain": {
                "over_best_late_fusion": {"over": late, **_gain(points, HEADLINE, late, every)},
                "over_better_sense": {"over": sense, **_gain(points, HEADLINE, sense, every)},
                "over_itself_aligned_before": {"over": ALIGNED, **_gain(points, HEADLINE, ALIGNED, every)},
                "no_sound_over_visual": {"over": "visual", **_gain(points, "no_sound", "visual", seen)},
                "black_over_acoustic": {"over": "acoustic", **_gain(points, "black", "acoustic", every)},
            },
            "gain_over_better_sense_by_label": {
                label: {"over": better[index], **_gain(points, HEADLINE, better[index], [index])}
                for index, label in enumerate(names)},
            "calibration_error": {name: {method: calibration(folds, name, method).error for method in METHODS}
                                  for name in (HEADLINE, "clean")},
        },
        "real_clips_with_sound": {names[index]: _real(folds, index) for index in seen},
    }


def calibration(folds: Sequence[Fold], condition: str, method: str) -> Reliability:
    """Of all folds' steps and labels together."""
    known = [(fold.truth != MASKED) for fold in folds]
    scores = [fold.scores[condition][method][one] for fold, one in zip(folds, known, strict=True)]
    there = [fold.truth[one] == 1.0 for fold, one in zip(folds, known, strict=True)]
    return reliability(np.concatenate(scores), np.concatenate(there))


def _points(folds: Sequence[tuple[Scores, Scores]]) -> Points:
    """From (..., L') truth and scores of each fold."""
    points = np.full((len(folds), folds[0][0].shape[-1]), np.nan)
    for row, (truth, scores) in zip(points, folds, strict=True):
        for index in range(len(row)):
            known = truth[..., index] != MASKED
            value = average_precision(scores[..., index][known], truth[..., index][known] == 1.0)
            row[index] = np.nan if value is None else 100 * value
    return points


def _by_fold(points: Points) -> list[float]:
    """The mean over labels of each fold that has any."""
    return [float(np.nanmean(row)) for row in points if not np.isnan(row).all()]


def _mean(points: Points) -> float:
    folds = _by_fold(points)
    return float(np.mean(folds)) if folds else -np.inf


def _spread(points: Points) -> dict[str, Any] | None:
    found = interval(_by_fold(points))
    return None if found is None else asdict(found)


def _gain(points: Mapping[str, Mapping[str, Points]], condition: str, other: str, labels: list[int]) -> dict[str, Any]:
    """Ours less another method, fold by fold."""
    both = points[condition]
    return _spread(both[OURS][:, labels] - both[other][:, labels]) or {}


def _real(folds: Sequence[Fold], index: int) -> dict[str, Any]:
    """One label on clips with the sound they were recorded with."""
    asked = np.concatenate([fold.real_truth[:, index] for fold in folds])
    by_method = {method: _points([(fold.real_truth[:, [index]], fold.real_scores[method][:, [index]])
                                  for fold in folds]) for method in METHODS}
    best = max(SENSES, key=lambda method: _mean(by_method[method]))
    return {"n": int((asked != MASKED).sum()), "there": int((asked == 1.0).sum()),
            "ap": {method: _spread(points) for method, points in by_method.items()},
            "gain": {"over": best, **(_spread(by_method[OURS] - by_method[best]) or {})}}
