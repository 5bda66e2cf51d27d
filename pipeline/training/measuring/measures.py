"""Figures made of scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def average_precision(scores: Sequence[float] | NDArray[np.floating],
                      there: Sequence[bool] | NDArray[np.bool_]) -> float | None:
    """Mean precision over the recalls of a ranking; equal scores count as one rank. None if nothing is there."""
    hit = np.asarray(there, np.bool_)
    if not hit.any():
        return None
    precision, recall = precision_recall(np.asarray(scores, np.float64), hit)
    return float(np.sum(np.diff(np.append(0.0, recall)) * precision))


def recalls(chosen: Sequence[int], true: Sequence[int]) -> dict[int, float]:
    """For each class that occurs the part of its clips that were given it."""
    picked, wanted = np.asarray(chosen), np.asarray(true)
    return {int(one): float(np.mean(picked[wanted == one] == one)) for one in np.unique(wanted)}


def mean(values: Sequence[float] | NDArray[np.float64]) -> float | None:
    """Arithmetic mean; None of nothing."""
    return float(np.mean(values)) if len(values) else None


# 97.5 % points of Student's t for 1, 2, ... degrees of freedom; more would narrow an interval by little
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


@dataclass(frozen=True)
class Interval:
    """A mean over folds and where it lies with 95 % certainty, as if folds were independent draws."""

    mean: float
    low: float | None  # None: one fold tells nothing of the spread
    high: float | None
    folds: tuple[float, ...]


def interval(folds: Sequence[float]) -> Interval | None:
    """Mean and 95 % interval by Student's t; None of nothing."""
    if not folds:
        return None
    centre, count = float(np.mean(folds)), len(folds)
    if count == 1:
        return Interval(centre, None, None, tuple(folds))
    half = STUDENT[min(count - 1, len(STUDENT)) - 1] * float(np.std(folds, ddof=1)) / count**0.5
    return Interval(centre, centre - half, centre + half, tuple(folds))


@dataclass(frozen=True)
class Reliability:
    """Whether a score of 0.8 is right 80 times in 100; a bin nothing fell into is left out."""

    score: tuple[float, ...]  # mean of each bin
    frequency: tuple[float, ...]  # how often it was there
    count: tuple[int, ...]

    @property
    def error(self) -> float:
        """The expected calibration error: the mean distance of frequency from score."""
        gap = np.abs(np.subtract(self.score, self.frequency))
        return float(np.average(gap, weights=self.count)) if self.count else 0.0


def reliability(scores: NDArray[np.floating], there: NDArray[np.bool_], bins: int = 10) -> Reliability:
    """Scores of 0..1 in bins of equal width, against what was there."""
    place = np.minimum((scores * bins).astype(np.int64), bins - 1)
    filled = [place == index for index in np.unique(place)]
    return Reliability(tuple(float(scores[one].mean()) for one in filled),
                       tuple(float(there[one].mean()) for one in filled), tuple(int(one.sum()) for one in filled))


def precision_recall(scores: NDArray[np.floating], there: NDArray[np.bool_],
                     ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall at every threshold, from the highest score down; equal scores come together."""
    order = np.argsort(-scores, kind="stable")
    ranked, hit = scores[order], there[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    found = np.cumsum(hit)[last]
    return found / (last + 1), found / max(1, int(hit.sum()))
