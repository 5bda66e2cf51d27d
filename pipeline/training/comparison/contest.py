"""One fold of the comparison: every method trained on its training sources and scored on those held out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from operators.models.bundle import Label
from pipeline.training import hearing, seeing
from pipeline.training.aligning import align, pairs_of
from pipeline.training.calibrate import Calibration, calibrate
from pipeline.training.comparison.baselines import ALIGNED, METHODS
from pipeline.training.features import Features
from pipeline.training.folds import divided
from pipeline.training.frozen import Frozen
from pipeline.training.fusing import Head, train_fusion
from pipeline.training.kept import Weights
from pipeline.training.network import ACOUSTIC_FEATURES, FEELINGS, Fusion, evidence_of
from pipeline.training.scenes.compose import MASKED, Shape
from pipeline.training.scenes.script import Recipe
from pipeline.training.scenes.source import Scenes, stacked
from pipeline.training.scenes.spoilt import Views
from pipeline.training.scenes.stage import CONDITIONS, RATE_HZ, Stage
from pipeline.training.scenes.staged import StagedSource
from pipeline.training.split import Part
from pipeline.training.train import HOP, SCENE_STEPS, WINDOW_STEPS

Scores = NDArray[np.float32]
Kept = Callable[[str, Callable[[], Weights]], Weights]  # name, make: what `make` gives, or gave before a kill
SCORED_AT_ONCE = 64  # scenes


@dataclass(frozen=True)
class Effort:
    """How long each method is trained and on how many scenes it is scored; the defaults take ten minutes a fold."""

    seed: int = 0
    epochs: int = 6
    batches: int = 50  # per epoch
    align_updates: int = 400
    ordinary_scenes: int = 200  # sounds to learn from, composed as for every training
    composed_scenes: int = 300  # and by the recipe
    checked_scenes: int = 150  # to calibrate on
    measured_scenes: int = 240


@dataclass(frozen=True)
class Fold:
    """What every method said of one fold's held-out sources; L' alertable labels."""

    truth: Scores  # (N, T, L') of composed scenes: 0, 1 or MASKED
    scores: Mapping[str, Mapping[str, Scores]]  # condition -> method -> (N, T, L') probabilities
    real_truth: Scores  # (M, L') of real clips with their own sound
    real_scores: Mapping[str, Scores]  # method -> (M, L') the highest probability of a clip's steps

    def save(self, file: Path) -> None:
        """Write it, whole or not at all."""
        arrays = {f"scores/{condition}/{method}": scores for condition, methods in self.scores.items()
                  for method, scores in methods.items()}
        arrays |= {f"real/{method}": scores for method, scores in self.real_scores.items()}
        aside = file.with_suffix(".partial.npz")
        np.savez(aside, truth=self.truth, real_truth=self.real_truth, **arrays)  # type: ignore[arg-type]
        aside.replace(file)

    @classmethod
    def load(cls, file: Path) -> Fold:
        """Read what `save` has written."""
        with np.load(file) as arrays:
            return cls(arrays["truth"],
                       {condition: {method: arrays[f"scores/{condition}/{method}"] for method in METHODS}
                        for condition in CONDITIONS},
                       arrays["real_truth"], {method: arrays[f"real/{method}"] for method in METHODS})


class Contest:
    """The methods of one fold; all learn from the same scenes and are scored on the same scenes."""

    def __init__(self, clips: Mapping[Part, Sequence[Features]], labels: Sequence[Label], encoder: Frozen,
                 spoilt: Mapping[str, Views], black: NDArray[np.float16], effort: Effort) -> None:
        """`spoilt`: by path; `black` (3840,): trunk features of a black picture that stays black."""
        self._clips, self._effort = {**clips, "train": divided(clips["train"], effort.seed)}, effort
        self._labels, self._spoilt = labels, spoilt
        self._encoder, self._black = encoder, black
        self._names = tuple(label.name for label in labels)
        self._alertable = [index for index, label in enumerate(labels) if label.alertable]
        self._told_of = frozenset(label.name for label in labels if label.alertable)
        self._stage = Stage(Shape(WINDOW_STEPS, HOP, self._names), spoilt, black, encoder)

    def run(self, kept: Kept, done: Callable[[], None]) -> Fold:
        """Train and score all; `done()` after each method."""
        check = self._scenes("validation", self._effort.checked_scenes, ("degraded", "clean"))
        tests = self._scenes("held_out", self._effort.measured_scenes, tuple(CONDITIONS))
        clips = [clip for clip in self._clips["held_out"] if clip.seen and clip.heard]
        real = stacked([self._stage.real(clip) for clip in clips]) if clips else None
        scores: dict[str, dict[str, Scores]] = {name: {} for name in CONDITIONS}
        real_scores: dict[str, Scores] = {}
        for method in METHODS:
            head = self._untrained(method)
            head.load_state_dict(kept(method, partial(self._learn, method)))
            calibration = _calibrated(head.eval(), list(check.values()))
            for name, scenes in tests.items():
                scores[name][method] = self._told(head, calibration, scenes)
            real_scores[method] = self._highest(head, calibration, real)
            done()
        events = tests["clean"].events.numpy()
        return Fold(events[..., self._alertable], scores, self._asked(clips), real_scores)

    @cached_property
    def _source(self) -> StagedSource:
        effort = self._effort
        stage = Stage(Shape(SCENE_STEPS, HOP, self._names), self._spoilt, self._black, self._encoder)
        source = StagedSource(self._clips["train"], stage, effort.seed, alertable=self._told_of)
        source.fill(effort.ordinary_scenes, alone=False)
        for _ in range(effort.composed_scenes):
            source.compose()
        return source

    @cached_property
    def _projections(self) -> tuple[nn.ModuleList, nn.ModuleList]:
        """Of what is seen and of what is heard: the same for all methods."""
        seen = [label.name for label in self._labels if label.seen]
        return (nn.ModuleList(seeing.learn_projections(self._clips["train"], seen)),
                nn.ModuleList(hearing.learn_projections(self._source, self._labels, ACOUSTIC_FEATURES)))

    def _learn(self, method: str) -> Weights:
        self._source.rewind()
        head = self._untrained(method)
        head.visual, head.acoustic = self._projections
        if method == ALIGNED:
            align(head, pairs_of(self._clips["train"], self._encoder, HOP), updates=self._effort.align_updates,
                  seed=self._effort.seed)
        return train_fusion(head, self._source, steps=WINDOW_STEPS, epochs=self._effort.epochs,
                            batches=self._effort.batches, seed=self._effort.seed).state_dict()

    def _untrained(self, method: str) -> Head:
        torch.manual_seed(self._effort.seed)
        senses = [label.sense for label in self._labels]
        evidence = evidence_of(senses)
        fusion = METHODS[method](visual=evidence.visual, acoustic=evidence.acoustic + FEELINGS, senses=senses,
                                 steps=WINDOW_STEPS)
        return Head.untaught(cast(Fusion, fusion), evidence, ACOUSTIC_FEATURES)  # each has its ports

    def _scenes(self, part: Part, count: int, conditions: Sequence[str]) -> dict[str, Scenes]:
        """The same composed scenes under each of the conditions."""
        recipe = Recipe(self._clips[part], self._told_of, steps=WINDOW_STEPS, hop=HOP, sample_rate_hz=RATE_HZ,
                        random=np.random.default_rng([self._effort.seed, len(part)]))
        scripts = [recipe.script() for _ in range(count)]
        return self._stage.scenes(scripts, {name: CONDITIONS[name] for name in conditions})

    def _told(self, head: Head, calibration: Calibration, scenes: Scenes) -> Scores:
        logits = _logits(head, scenes) * calibration.scale + calibration.bias
        return torch.sigmoid(logits)[..., self._alertable].numpy()

    def _highest(self, head: Head, calibration: Calibration, real: Scenes | None) -> Scores:
        """(M, L') over the steps that have a picture; the rest of the scene comes after the clip."""
        if real is None:
            return np.zeros((0, len(self._alertable)), np.float32)
        scores = self._told(head, calibration, real)
        return np.asarray(np.where(real.visual_valid.numpy()[..., None], scores, 0.0).max(axis=1))

    def _asked(self, clips: Sequence[Features]) -> Scores:
        """(M, L') what is known of whole clips."""
        truth = np.full((len(clips), len(self._alertable)), MASKED, np.float32)
        for clip, row in zip(clips, truth, strict=True):
            for value, label in ((1.0, clip.row.event), (0.0, clip.row.absent)):
                row[[self._names[index] == label for index in self._alertable]] = value
        return truth


def _logits(head: Head, scenes: Scenes) -> Tensor:
    """(B, T, L). The scenes are as long as the window and the methods causal: each step as in serving."""
    with torch.inference_mode():
        parts = [head(part)[0] for part in _split(scenes)]
    return torch.cat(parts)


def _split(scenes: Scenes) -> Iterator[Scenes]:
    """Few at a time."""
    columns = [getattr(scenes, field.name).split(SCORED_AT_ONCE) for field in fields(scenes)]
    yield from (Scenes(*parts) for parts in zip(*columns, strict=True))


def _calibrated(head: Head, scenes: Sequence[Scenes]) -> Calibration:
    return calibrate(torch.cat([_logits(head, one) for one in scenes]), torch.cat([one.events for one in scenes]))
