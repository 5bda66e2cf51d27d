"""From a script to what the fusion is given. The encoder here is a stand-in that shows its input: a window's end."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="the train extra is not installed")

from pipeline.training.dataset import Row
from pipeline.training.features import Features
from pipeline.training.frozen import Frozen
from pipeline.training.network import VISUAL_FEATURES
from pipeline.training.scenes.compose import MASKED, Shape
from pipeline.training.scenes.script import Fault, Outline, Played, Script, Shot
from pipeline.training.scenes.source import Scenes
from pipeline.training.scenes.stage import CONDITIONS, Stage
from pipeline.training.scenes.visual_faults import FROZEN

HOP, STEPS = 8_000, 8
KEPT = VISUAL_FEATURES // 3
BLACK = np.full(VISUAL_FEATURES, 9, np.float16)


def last_hop(windows: NDArray[np.float32]) -> NDArray[np.float16]:
    """(R, N) -> (R, 2): loudness of the newest half second's halves."""
    halves = windows[:, -HOP:].reshape(len(windows), 2, -1)
    return np.asarray(np.sqrt((halves**2).mean(axis=2)), np.float16)


def clip(label: str, steps: int, length: int) -> Features:
    samples = np.full(length, 0.5, np.float16)
    visual = np.stack([np.full((steps, VISUAL_FEATURES), value, np.float16) for value in (1, 2)])
    return Features(Row(2, label, label, ("s", label)), samples, visual, np.full((2, VISUAL_FEATURES), 3, np.float16))


FIGHT, QUIET, SIREN = clip("fight", 4, 0), clip("no_fight", 4, 0), clip("siren", 0, 3 * HOP)
VIEWS = {name: {fault: np.full((4, VISUAL_FEATURES), value, np.float16)
                for value, fault in ((5, "dark"), (6, "low_rate"))} for name in ("fight", "no_fight")}
SCRIPT = Script(
    Outline("fight", 4, 8), (Shot(QUIET, 0, 4), Shot(FIGHT, 4, 4)), (Played(SIREN, 2 * HOP, -20.0, "call"),),
    (Fault("dark", 2, 6, 0),), (Fault("silence", 3, 4, 0),))


def played(stage: Stage, *names: str) -> list[Scenes]:
    scenes = stage.scenes([SCRIPT], {name: CONDITIONS[name] for name in names})
    return [scenes[name] for name in names]


@pytest.fixture
def stage() -> Stage:
    return Stage(Shape(STEPS, HOP, ("fight", "siren")), VIEWS, BLACK, cast(Frozen, last_hop))


def test_a_composed_scene_shows_and_plays_what_the_script_says(stage: Stage) -> None:
    scenes, = played(stage, "clean")
    assert scenes.visual[0, :, 0].tolist() == [1, 1, 1, 1, 3, 1, 1, 1]  # 3: the step in which the clips change
    assert scenes.visual_valid.all()
    assert scenes.acoustic[0, :, 0].numpy() == pytest.approx([0, 0, 0.1, 0.1, 0.1, 0, 0, 0], abs=1e-3)  # -20 dBFS
    assert scenes.events[0, :, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert scenes.events[0, :, 1].tolist() == [0, 0, 1, 1, 1, 0, 0, 0]


def test_faults_spoil_their_spans_and_no_label(stage: Stage) -> None:
    clean, spoilt = played(stage, "clean", "degraded")
    assert spoilt.visual[0, :, 0].tolist() == [1, 1, 5, 5, 5, 5, 1, 1]
    assert spoilt.acoustic[0, :, 0].numpy() == pytest.approx([0, 0, 0.1, 0, 0.1, 0, 0, 0], abs=1e-3)
    assert spoilt.events.equal(clean.events)


def test_a_frozen_picture_stays_and_nothing_moves_in_it(stage: Stage) -> None:
    seen = stage.seen(SCRIPT.shots, [Fault(FROZEN, 5, 8, 0)], CONDITIONS["clean"])
    assert (seen.visual[5:, :KEPT] == 1).all()
    assert (seen.visual[5:, KEPT:] == 9).all()
    assert seen.valid.all()


def test_without_sound_nothing_is_valid_and_black_is_a_picture(stage: Stage) -> None:
    deaf, black = played(stage, "no_sound", "black")
    assert not deaf.acoustic_valid.any()
    assert deaf.visual_valid.all()
    assert (black.visual == 9).all()
    assert black.visual_valid.all()
    assert black.acoustic_valid.all()


def test_late_sound_comes_late_and_its_labels_do_not(stage: Stage) -> None:
    half, fifth = played(stage, "skew_500_ms", "skew_200_ms")
    assert half.acoustic[0, :, 0].numpy() == pytest.approx([0, 0, 0, 0.1, 0.1, 0.1, 0, 0], abs=1e-3)
    assert fifth.acoustic[0, 2].numpy() == pytest.approx([0.1 * 0.2**0.5, 0.1], abs=1e-3)
    assert half.events[0, :, 1].tolist() == [0, 0, 1, 1, 1, 0, 0, 0]


def test_a_telephone_and_few_pictures_change_the_whole_scene(stage: Stage) -> None:
    clean, telephone, few = played(stage, "clean", "g711", "low_rate")
    assert not telephone.acoustic.equal(clean.acoustic)
    assert telephone.visual.equal(clean.visual)
    assert (few.visual == 6).all()
    assert few.acoustic.equal(clean.acoustic)


def test_of_a_real_clip_only_its_label_is_known(stage: Stage) -> None:
    pictures, heard = stage.real(clip("no_fight", 4, 2 * HOP))
    assert pictures.valid.tolist() == [True] * 4 + [False] * 4
    assert heard.acoustic[:, 0] == pytest.approx([0.5, 0.5, *[0] * 6], abs=1e-3)
    assert heard.events[0].tolist() == [0.0, MASKED]


def test_what_sounds_the_same_is_encoded_once() -> None:
    encoded = []

    def counting(windows: NDArray[np.float32]) -> NDArray[np.float16]:
        encoded.append(len(windows))
        return last_hop(windows)

    Stage(Shape(STEPS, HOP, ("fight", "siren")), VIEWS, BLACK, cast(Frozen, counting)).scenes([SCRIPT], CONDITIONS)
    assert len(encoded) == 5  # clean, with faults, late twice, by telephone
