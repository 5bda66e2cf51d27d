"""What `lookout evaluate --compare` measured, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pipeline.training.comparison.baselines import METHODS, OURS
from pipeline.training.comparison.contest import Fold
from pipeline.training.comparison.verdict import HEADLINE, calibration
from pipeline.training.measuring.measures import average_precision, precision_recall
from pipeline.training.scenes.compose import MASKED
from pipeline.training.scenes.stage import CONDITIONS

DOTS_PER_INCH = 120
OTHERS = "0.6"  # grey


def draw(folds: Sequence[Fold], labels: Sequence[str], out: Path) -> list[Path]:
    """Write the diagrams into `out`; gives their paths."""
    out.mkdir(parents=True, exist_ok=True)
    figures = {"reliability.png": _reliability(folds), "precision-recall.png": _precision_recall(folds, labels)}
    for name, figure in figures.items():
        figure.savefig(out / name, dpi=DOTS_PER_INCH)
    return [out / name for name in figures]


def _reliability(folds: Sequence[Fold]) -> Figure:
    """How often it was there, over what the score said; and how many scores there are."""
    figure = Figure(figsize=(6, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot([0, 1], [0, 1], color=OTHERS, linestyle="--", linewidth=1)
    for condition in (HEADLINE, "clean"):
        found = calibration(folds, condition, OURS)
        title = f"{CONDITIONS[condition].says}: expected calibration error {found.error:.3f}"
        above.plot(found.score, found.frequency, marker="o", label=title)
        below.plot(found.score, found.count, marker="o")
    above.set(title="Cross-attention on composed scenes, sources held out", ylabel="frequency", ylim=(0, 1))
    above.legend(loc="upper left", fontsize="small")
    below.set(xlabel="score", ylabel="steps", xlim=(0, 1), yscale="log")
    return figure


def _precision_recall(folds: Sequence[Fold], labels: Sequence[str]) -> Figure:
    """One plot a label, one line a method, all folds' steps together."""
    figure = Figure(figsize=(4 * len(labels), 4.4), layout="constrained")
    figure.suptitle(f"Composed scenes, sources held out, {CONDITIONS[HEADLINE].says}")
    for index, (label, plot) in enumerate(zip(labels, np.atleast_1d(figure.subplots(1, len(labels))), strict=True)):
        truth = np.concatenate([fold.truth[..., index] for fold in folds])
        known = truth != MASKED
        for method in METHODS:
            scores = np.concatenate([fold.scores[HEADLINE][method][..., index] for fold in folds])[known]
            there = truth[known] == 1.0
            value = average_precision(scores, there)
            precision, recall = precision_recall(scores, there)
            plot.plot(recall, precision, linewidth=2 if method == OURS else 1,
                      label=method.replace("_", " ") + ("" if value is None else f" {100 * value:.1f}"))
        plot.set(title=label, xlabel="recall", xlim=(0, 1), ylim=(0, 1.02))
        plot.legend(fontsize="small", loc="lower left", title="average precision")
    figure.axes[0].set_ylabel("precision")
    return figure
