"""Scenes to learn from: half of them as `SceneSource` draws them, half by the recipe that methods are compared on."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from pipeline.training.features import Features
from pipeline.training.frozen import Frozen
from pipeline.training.scenes.acoustic_faults import ACOUSTIC_FAULTS
from pipeline.training.scenes.compose import PictureTrack, Shape
from pipeline.training.scenes.script import Outline, Recipe
from pipeline.training.scenes.source import Heard, Scenes, SceneSource, stacked
from pipeline.training.scenes.stage import CONDITIONS, RATE_HZ, Stage
from pipeline.training.scenes.visual_faults import FROZEN, VISUAL_FAULTS

AS_COMPOSED = CONDITIONS["clean"]
SPOILT = 0.7  # share of the composed sounds, and of the pictures each time, in which faults may come


class StagedSource(SceneSource):
    """Endless scenes. Composed sounds are encoded once, and meet other pictures and other faults each time."""

    def __init__(self, clips: Sequence[Features], encoder: Frozen, shape: Shape, black: NDArray[np.float16], seed: int,
                 *, stage: Stage, alertable: Collection[str]) -> None:
        """`shape` is that of the ordinary scenes; composed ones have the stage's, which `draw` is then asked for."""
        super().__init__(clips, encoder, shape, black, seed)
        self._stage = stage
        self._recipe = Recipe(clips, alertable, steps=stage.shape.steps, hop=shape.hop, sample_rate_hz=RATE_HZ,
                              random=self._random)
        self._composed: list[tuple[Outline, Heard]] = []
        self._filled = self._random.bit_generator.state

    def compose(self) -> None:
        """One more composed sound."""
        outline = self._recipe.outline()
        faults = self._recipe.faults(tuple(ACOUSTIC_FAULTS)) if self._random.random() < SPOILT else ()
        self._composed.append((outline, self._stage.heard(self._recipe.played(outline), faults)))
        self._filled = self._random.bit_generator.state

    def rewind(self) -> None:
        """Draw the same scenes again as after the last sound was composed, for another method to learn from."""
        self._random.bit_generator.state = self._filled

    @override
    def draw(self, count: int, steps: int, *, dropout: bool) -> Scenes:
        ordinary = [self._scene(steps, dropout=dropout) for _ in range(count - count // 2)]
        composed = [self._meet(dropout=dropout) for _ in range(count // 2)]
        return stacked([*ordinary, *composed])

    def _meet(self, *, dropout: bool) -> tuple[PictureTrack, Heard]:
        outline, heard = self._composed[int(self._random.integers(len(self._composed)))]
        faults = self._recipe.faults((*VISUAL_FAULTS, FROZEN)) if self._random.random() < SPOILT else ()
        pictures = self._stage.seen(self._recipe.shots(outline), faults, AS_COMPOSED)
        return self._without(pictures, heard) if dropout else (pictures, heard)
