"""Figures over single clips: what the bundle said of each, against its label."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.models.bundle import SENTIMENTS, Bundle
from pipeline.training.dataset import Row
from pipeline.training.measuring.measures import average_precision, mean, recalls, reliability

LIKELY = 0.5


@dataclass(frozen=True)
class Scored:
    """One clip and what the bundle said of it."""

    row: Row
    duration_s: float
    events: NDArray[np.float64]  # (S, L) probabilities
    sentiment: NDArray[np.float64]  # (S, 4)


def measure_clips(bundle: Bundle, clips: Sequence[Scored]) -> dict[str, Any]:
    """Figures over single clips."""
    seen = [label.name for label in bundle.manifest.labels if label.seen]
    heard = [label.name for label in bundle.manifest.labels if not label.seen]
    figures = {name: figure for name in seen if (figure := _presence(bundle, name, clips))["n"]}
    return {**figures, "sound": _sound(bundle, heard, clips), "sentiment": _sentiment(clips),
            "calibration": _calibration(bundle, heard, clips)}


def _presence(bundle: Bundle, name: str, clips: Sequence[Scored]) -> dict[str, Any]:
    """Told from its absence: whether the mean score of a clip's steps, a probability, is one half.

    And for how many of either the highest score of a step reaches the threshold at which an event opens.
    """
    index = bundle.label_names.index(name)
    asked = [clip for clip in clips if name in (clip.row.event, clip.row.absent)]
    scores = [float(clip.events[:, index].mean()) for clip in asked]
    there = [clip.row.event == name for clip in asked]
    right = [(score >= LIKELY) == true for score, true in zip(scores, there, strict=True)]
    threshold = bundle.manifest.labels[index].open
    opens = [clip.events[:, index].max() >= threshold for clip in asked]
    found, false = ([opened for opened, true in zip(opens, there, strict=True) if true == wanted]
                    for wanted in (True, False))
    return {"accuracy": mean(right), "ap": average_precision(scores, there), "n": len(asked),
            "opens": {"threshold": threshold, "found": mean(found), "false": mean(false)}}


def _sound(bundle: Bundle, names: Sequence[str], clips: Sequence[Scored]) -> dict[str, Any]:
    """Which of the labels that are only heard has the highest mean score over a clip's steps."""
    indices = [bundle.label_names.index(name) for name in names]
    asked = [clip for clip in clips if clip.row.event in names]
    scores = np.array([clip.events[:, indices].mean(axis=0) for clip in asked]).reshape(len(asked), len(names))
    true = np.array([names.index(clip.row.event or "") for clip in asked], np.int64)
    sets: dict[str, list[int]] = defaultdict(list)
    for i, clip in enumerate(asked):
        sets[clip.row.source[0]].append(i)
    by_set = {}
    for group, members in sets.items():
        offered = sorted(set(true[members].tolist()))  # told apart from the labels of its own set
        picked = np.array(offered)[scores[members][:, offered].argmax(axis=1)]
        by_set[group] = {"accuracy": mean(picked == true[members]), "classes": len(offered), "n": len(members)}
    ap = {name: average_precision(scores[:, i].tolist(), (true == i).tolist()) for i, name in enumerate(names)}
    return {"accuracy": mean(scores.argmax(axis=1) == true) if asked else None, "ap": ap, "n": len(asked),
            "by_set": by_set}


def _sentiment(clips: Sequence[Scored]) -> dict[str, Any]:
    """Which of the three has the most probability over all steps; steps that hear nobody hardly count."""
    asked = [clip for clip in clips if clip.row.sentiment > 0]
    chosen = [int(clip.sentiment[:, 1:].sum(axis=0).argmax()) + 1 for clip in asked]
    true = [clip.row.sentiment for clip in asked]
    by_class = recalls(chosen, true)
    return {"uar": mean(list(by_class.values())),
            "accuracy": mean([a == b for a, b in zip(chosen, true, strict=True)]), "n": len(asked),
            "recall": {SENTIMENTS[one - 1]: value for one, value in by_class.items()}}


def _calibration(bundle: Bundle, heard: Sequence[str], clips: Sequence[Scored]) -> dict[str, Any]:
    """How far scores are from being probabilities: over all steps of clips of which a label says yes or no.

    A sound is taken to be there all through its clip, and no other one to be there at all.
    """
    told: dict[str, tuple[NDArray[np.float64], NDArray[np.bool_]]] = {}  # scores of steps, and whether it is there
    for index, name in enumerate(bundle.label_names):
        asked = [clip for clip in clips if name in (clip.row.event, clip.row.absent)
                 or (name in heard and clip.row.event in heard)]
        if asked:
            told[name] = (np.concatenate([clip.events[:, index] for clip in asked]),
                          np.repeat([clip.row.event == name for clip in asked], [len(clip.events) for clip in asked]))
    if not told:
        return {"error": None, "by_label": {}, "n": 0}
    scores, there = map(np.concatenate, zip(*told.values(), strict=True))
    return {"error": reliability(scores, there).error,
            "by_label": {name: reliability(*steps).error for name, steps in told.items()}, "n": len(scores)}
