"""Figures made of scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def average_precision(scores: Sequence[float], there: Sequence[bool]) -> float | None:
    """Mean precision over the recalls of a ranking; equal scores count as one rank. None if nothing is there."""
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    ranked, hit = np.asarray(scores, np.float64)[order], np.asarray(there, np.bool_)[order]
    if not hit.any():
        return None
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # of each group of equal scores
    found = np.cumsum(hit)[last]
    precision, recall = found / (last + 1), found / hit.sum()
    return float(np.sum(np.diff(np.append(0.0, recall)) * precision))


def recalls(chosen: Sequence[int], true: Sequence[int]) -> dict[int, float]:
    """For each class that occurs the part of its clips that were given it."""
    picked, wanted = np.asarray(chosen), np.asarray(true)
    return {int(one): float(np.mean(picked[wanted == one] == one)) for one in np.unique(wanted)}


def mean(values: Sequence[float] | NDArray[np.float64]) -> float | None:
    """Arithmetic mean; None of nothing."""
    return float(np.mean(values)) if len(values) else None
