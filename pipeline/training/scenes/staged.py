"""Scenes to learn from: half of them as `SceneSource` draws them, half by the recipe that methods are compared on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from typing_extensions import override

from pipeline.training.features import Features
from pipeline.training.scenes.acoustic_faults import ACOUSTIC_FAULTS
from pipeline.training.scenes.compose import PictureTrack
from pipeline.training.scenes.script import Outline, Recipe
from pipeline.training.scenes.source import Heard, Scenes, SceneSource, stacked
from pipeline.training.scenes.stage import CONDITIONS, RATE_HZ, Stage
from pipeline.training.scenes.visual_faults import FROZEN, VISUAL_FAULTS

AS_COMPOSED = CONDITIONS["clean"]
SPOILT = 0.7  # share of the composed sounds, and of the pictures each time, in which faults may come


class StagedSource(SceneSource):
    """Endless scenes. Composed sounds are encoded once, and meet other pictures and other faults each time."""

    def __init__(self, clips: Sequence[Features], stage: Stage, seed: int, *, alertable: Collection[str]) -> None:
        super().__init__(clips, stage.encoder, stage.shape, stage.black, seed)
        self._stage = stage
        self._recipes = {fold: Recipe([clip for clip in clips if clip.seen or clip.fold == fold], alertable,
                                      steps=stage.shape.steps, hop=stage.shape.hop, sample_rate_hz=RATE_HZ,
                                      random=self._random) for fold in self._sounds}
        self._composed: list[tuple[Outline, Heard]] = []
        self._filled = self._random.bit_generator.state

    def compose(self) -> None:
        """One more composed sound, where there is anything to be heard."""
        if not self._sounds:
            return
        fold = self._in_turn(len(self._composed))
        recipe = self._recipes[fold]
        outline = recipe.outline()
        faults = recipe.faults(tuple(ACOUSTIC_FAULTS)) if self._random.random() < SPOILT else ()
        heard = replace(self._stage.heard(recipe.played(outline), faults), fold=fold)
        self._composed.append((outline, heard))
        self.mixed.append(heard)
        self._filled = self._random.bit_generator.state

    def rewind(self) -> None:
        """Draw the same scenes again as after the last sound was composed, for another method to learn from."""
        self._random.bit_generator.state = self._filled

    @override
    def draw(self, count: int, steps: int, *, dropout: bool) -> Scenes:
        met = count // 2 if self._composed else 0
        ordinary = [self._scene(steps, dropout=dropout) for _ in range(count - met)]
        return stacked([*ordinary, *(self._meet(steps, dropout=dropout) for _ in range(met))])

    def _meet(self, steps: int, *, dropout: bool) -> tuple[PictureTrack, Heard]:
        outline, heard = self._composed[int(self._random.integers(len(self._composed)))]
        recipe = self._recipes[heard.fold]
        faults = recipe.faults((*VISUAL_FAULTS, FROZEN)) if self._random.random() < SPOILT else ()
        pictures = self._stage.seen(recipe.shots(outline), faults, AS_COMPOSED)
        return self._part(pictures, heard, steps, dropout=dropout)
