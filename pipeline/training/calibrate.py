"""Make the scores probabilities, and choose where an event opens and closes; on scenes not learnt from."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from operators.clock import seconds_to_ns
from operators.fuse.hysteresis import Step, Tracker, follow
from operators.models.bundle import Label
from pipeline.training.fusing import Head
from pipeline.training.measuring.matching import Matched, Span, match
from pipeline.training.scenes.compose import MASKED
from pipeline.training.scenes.source import Scenes

log = logging.getLogger(__name__)

ALL_OPENINGS = np.linspace(0.3, 0.95, 14)
OPENINGS = np.linspace(0.5, 0.8, 7)  # calibrated scores seldom pass 0.9: a higher threshold silences its label
CLOSES_AT = 0.5  # of the opening threshold
PRIOR = 0.02  # how strongly an uncalibrated score is kept where there is little to calibrate on


@dataclass(frozen=True)
class Calibration:
    """logit = scale * logit + bias, per label."""

    scale: Tensor  # (L,)
    bias: Tensor  # (L,)


def score_scenes(head: Head, scenes: Scenes, steps: int) -> Tensor:
    """Event logits (B, T', L) of scenes longer than the window: each step from the `steps` up to it, as in serving."""
    count = scenes.acoustic.shape[1]
    out = []
    with torch.inference_mode():
        visual = head.seen(scenes.visual, scenes.visual_fold)  # (B, T', Dv)
        acoustic = head.heard(scenes.acoustic, scenes.acoustic_fold)  # (B, T', Da)
        for end in range(1, count + 1):
            part = slice(max(0, end - steps), end)
            padding = steps - (part.stop - part.start)
            sensed = (nn.functional.pad(array[:, part], (0, 0, padding, 0)) for array in (visual, acoustic))
            valid = (nn.functional.pad(array[:, part], (padding, 0))
                     for array in (scenes.visual_valid, scenes.acoustic_valid))
            out.append(head.fusion(*sensed, *valid)[0][:, -1])  # (B, L)
    return torch.stack(out, dim=1)  # (B, T', L)


def calibrate(logits: Tensor, events: Tensor) -> Calibration:
    """Fit scale and bias of each label to (B, T, L) logits and what was there (0, 1 or MASKED)."""
    labels = logits.shape[2]
    scale, bias = torch.ones(labels), torch.zeros(labels)
    for index in range(labels):
        known = events[..., index] != MASKED
        x, y = logits[..., index][known].double(), events[..., index][known].double()
        if not 0 < float(y.sum()) < len(y):
            continue
        weights = torch.tensor([0.0, 0.0], dtype=torch.float64, requires_grad=True)  # log scale, bias
        optimiser = torch.optim.LBFGS([weights], max_iter=50)

        def loss(x: Tensor = x, y: Tensor = y, weights: Tensor = weights,
                 optimiser: torch.optim.LBFGS = optimiser) -> Tensor:
            optimiser.zero_grad()
            value = nn.functional.binary_cross_entropy_with_logits(x * weights[0].exp() + weights[1], y)
            value = value + PRIOR * weights.square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimiser.step(loss)  # type: ignore[no-untyped-call]
        scale[index], bias[index] = weights[0].exp().item(), weights[1].item()
    return Calibration(scale.float(), bias.float())


def thresholds(labels: Sequence[Label], scores: NDArray[np.float64], events: NDArray[np.float32],
               step_s: float, *, false_per_hour: float | None = None) -> tuple[Label, ...]:
    """The labels with the opening threshold that finds the most events of these scenes at the least false ones.

    A false event weighs as much as a missed one, as in F1. Often several thresholds do as well as chance can tell: it
    is the highest of those, since most cameras show less than these scenes.

    Args:
        labels: with thresholds to be replaced.
        scores: (B, T, L) probabilities.
        events: (B, T, L) what was there: 0, 1 or MASKED; a scene with a masked step is left out for that label,
            but for steps that an event begins or ends in, which lie within what matching tolerates.
        step_s: time between steps.
        false_per_hour: the lowest threshold with no more false events an hour of these scenes, which are busier
            than most cameras; None weighs false events against missed ones.
    """
    chosen = []
    for index, label in enumerate(labels):
        there = _but_for_edges(events[..., index])  # (B, T)
        usable = np.flatnonzero((there != MASKED).all(axis=1))
        if not len(usable) or (false_per_hour is None and not (there[usable] == 1.0).any()):
            chosen.append(label)  # nothing to find, so nothing is said of what finds it
            continue
        openings = OPENINGS if false_per_hour is None else ALL_OPENINGS
        scenes = [_counted(_at(label, float(opening)), scores[usable, :, index], there[usable], step_s)
                  for opening in openings]
        if false_per_hour is None:
            opening = _highest_of_best(openings, scenes)
        else:
            false = [sum(one.false for one in counts) for counts in scenes]
            allowed = false_per_hour * len(usable) * events.shape[1] * step_s / 3600
            best = next((i for i, count in enumerate(false) if count <= allowed), len(false) - 1)
            opening = float(openings[best])
            if false[best] > allowed:
                log.warning("%s: more than %g false events an hour even above a score of %.2f", label.name,
                            false_per_hour, opening)
        chosen.append(_at(label, opening))
    return tuple(chosen)


def _but_for_edges(events: NDArray[np.float32]) -> NDArray[np.float32]:
    """(B, T): not there, in place of masked, where it is there in the step before or after."""
    beside = np.zeros(events.shape, np.bool_)
    beside[:, 1:] |= events[:, :-1] == 1.0
    beside[:, :-1] |= events[:, 1:] == 1.0
    return np.where((events == MASKED) & beside, np.float32(0.0), events)


def _highest_of_best(openings: NDArray[np.float64], scenes: Sequence[Sequence[Matched]]) -> float:
    """Of the openings whose gain is within two standard errors of the best one's, compared scene by scene."""
    gains = np.array([[one.found - one.false for one in counts] for counts in scenes])  # (openings, B)
    lost = gains[gains.sum(1).argmax()] - gains
    as_good = lost.sum(1) <= 2 * lost.std(1) * np.sqrt(lost.shape[1])
    return float(openings[as_good].max())


def _at(label: Label, opening: float) -> Label:
    return msgspec.structs.replace(label, open=round(opening, 3), close=round(opening * CLOSES_AT, 3))


def _counted(label: Label, scores: NDArray[np.float64], events: NDArray[np.float32], step_s: float) -> list[Matched]:
    """The label's events in each of the scenes (B, T), found, missed and false."""
    return [match(list(spans(label, scene, step_s)), list(_runs(there == 1.0, step_s)))
            for scene, there in zip(scores, events, strict=True)]


def spans(label: Label, scores: NDArray[np.float64], step_s: float) -> Iterator[Span]:
    """The events that serving would report for one label's scores (T,)."""
    tracker = Tracker()
    for i, score in enumerate(scores):
        step = Step(seconds_to_ns(i * step_s), seconds_to_ns((i + 1) * step_s), float(score), 0.5, (1.0, 0.0, 0.0, 0.0))
        if follow(tracker, label, step) == "close":
            yield _span(tracker)
            tracker.reset()
    if tracker.opened:
        yield _span(tracker)


def _span(tracker: Tracker) -> Span:
    return Span((tracker.start_ns or 0) / 1e9, tracker.lasted_ns / 1e9)


def _runs(there: NDArray[np.bool_], step_s: float) -> Iterator[Span]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], there.astype(np.int8), [0]])))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        yield Span(start * step_s, end * step_s)
