"""Teach what of the pictures leaves the process: how much they look like each label, and in what pictures differ.

Few hundred clips against the trunk's 3,840 numbers: what was taught with the fusion, step by step, learnt the clips by
heart (0.77 under the curve for fights in other recordings, of one fold of sources, where a linear probe got 0.88).
So it is a ridge regression, solved at once. And what a probe says of the clips that it was taught with is better than
it will ever be again: a fusion taught with that trusts its eyes too much. So the fusion is taught with what probes say
of the recordings that each of them was taught without, and served by one that was taught with all.

Source: Wolpert, Stacked generalization (Neural Networks 5, 1992).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.training.features import Features
from pipeline.training.folds import FOLDS
from pipeline.training.network import GENERAL, VISUAL_FEATURES, Projection

RIDGE = 0.3  # of a clip's mean square, for each of its views
FLOOR = 0.3  # of the median spread of all numbers: what hardly ever differs is not blown up
NEITHER = 0.5  # how strongly a cut has to say nothing: 0.895 under the curve with and without, 0.891 with 1
LEAST = 1e-6  # what is smaller is no spread

Matrix = NDArray[np.float64]


def learn_projections(clips: Sequence[Features], labels: Sequence[str]) -> list[Projection]:
    """The projection that serves, and for each fold of the sources one that was taught without it.

    All have the same numbers: one for each of `labels`, the higher the more it looks like that, then `GENERAL` ones.
    """
    seen = [clip for clip in clips if clip.seen]
    projections = [Projection(VISUAL_FEATURES, len(labels) + GENERAL) for _ in range(1 + FOLDS)]
    if not seen:
        return projections
    views = len(seen[0].visual)
    x = np.stack([clip.visual.astype(np.float64).mean(axis=1) for clip in seen])  # (clips, V, 3840)
    wanted = np.array([[1.0 if clip.row.event == label else -1.0 for label in labels] for clip in seen])
    wanted = wanted.reshape(len(seen), len(labels))  # (clips, labels)
    fold = np.array([clip.fold for clip in seen])
    mean, std = x.mean(axis=(0, 1)), x.std(axis=(0, 1))
    std = std + FLOOR * max(float(np.median(std)), LEAST)
    x = (x - mean) / std
    cuts = (np.stack([clip.cut.astype(np.float64) for clip in seen]) - mean) / std  # (clips, 2, 3840)
    general = _directions(x[:, 0])  # (3840, GENERAL)
    probes = []
    for left_out in range(1 + FOLDS):
        taught = fold != left_out
        probes.append(_ridge(x[taught].reshape(-1, VISUAL_FEATURES), np.repeat(wanted[taught], views, axis=0),
                             cuts[taught].reshape(-1, VISUAL_FEATURES), views))
    told = np.stack([x[i, 0] @ probes[fold[i]][0] + probes[fold[i]][1] for i in range(len(seen))])  # (clips, labels)
    scale = 1.0 / np.maximum(told.std(axis=0), LEAST)  # (labels,)
    for projection, (weight, bias) in zip(projections, probes, strict=True):
        projection.mean.copy_(torch.from_numpy(mean))
        projection.std.copy_(torch.from_numpy(std))
        with torch.no_grad():
            projection.linear.weight.copy_(torch.from_numpy(np.concatenate([weight * scale, general], axis=1).T))
            projection.linear.bias.copy_(torch.from_numpy(np.concatenate([bias * scale, np.zeros(GENERAL)])))
    return projections


def _ridge(x: Matrix, wanted: Matrix, neither: Matrix, views: int) -> tuple[Matrix, Matrix]:
    """Weights (D, labels) and biases (labels,) for (N, D) and (N, labels); none where there is nothing to learn from.

    Without what is wanted on average: as much speaks for a label as against it, however often it came. And of
    `neither` (M, D) it says neither: where the whole picture changes at once, the differences show nothing that moves.
    """
    if not len(x):
        return np.zeros((x.shape[1], wanted.shape[1])), np.zeros(wanted.shape[1])
    centre = x.mean(axis=0)
    x = np.concatenate([x - centre, NEITHER * (neither - centre)])
    wanted = np.concatenate([wanted - wanted.mean(axis=0), np.zeros((len(neither), wanted.shape[1]))])
    if len(x) < x.shape[1]:
        weight = x.T @ np.linalg.solve(_with_ridge(x @ x.T, len(x), views), wanted)
    else:
        weight = np.linalg.solve(_with_ridge(x.T @ x, len(x), views), x.T @ wanted)
    return weight, -centre @ weight


def _with_ridge(products: Matrix, count: int, views: int) -> Matrix:
    ridge = RIDGE * views * max(float(np.trace(products)) / count, LEAST)
    return products + ridge * np.eye(len(products))


def _directions(x: Matrix) -> Matrix:
    """(N, D) -> (D, GENERAL): the directions in which they differ most, each of spread 1; 0 where there are no more."""
    _, spread, directions = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    spread = spread / np.sqrt(len(x))
    count = min(GENERAL, int((spread > LEAST).sum()))
    found = np.zeros((x.shape[1], GENERAL))
    found[:, :count] = (directions[:count] / spread[:count, None]).T
    return found
