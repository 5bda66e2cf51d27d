from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="the train extra is not installed")

from pipeline.training.dataset import NOBODY, UNKNOWN, Row
from pipeline.training.features import Features
from pipeline.training.frozen import Frozen
from pipeline.training.network import VISUAL_FEATURES
from pipeline.training.scenes.compose import MASKED, PictureComposer, Shape, SoundComposer, own_sound
from pipeline.training.scenes.source import SceneSource, _both

HOP = 8_000
SHAPE = Shape(steps=12, hop=HOP, labels=("fight", "siren", "gun_shot"))
BLACK = np.zeros(VISUAL_FEATURES, np.float16)


def sound(label: str, steps: float) -> Features:
    samples = (0.3 * np.random.default_rng(0).standard_normal(int(steps * HOP))).astype(np.float16)
    return Features(Row(2, f"{label}.wav", label, ("s", label)), samples,
                    np.zeros((2, 0, VISUAL_FEATURES), np.float16), np.zeros((2, VISUAL_FEATURES), np.float16))


def picture(label: str, steps: int) -> Features:
    return Features(Row(2, f"{label}.mp4", label, ("s", label)), np.zeros(0, np.float16),
                    np.ones((2, steps, VISUAL_FEATURES), np.float16), np.full((2, VISUAL_FEATURES), 2, np.float16))


def sounds(*clips: Features) -> SoundComposer:
    return SoundComposer(clips, SHAPE, np.random.default_rng(0))


def test_a_step_is_labelled_while_the_sound_lasts() -> None:
    clip = sound("siren", 4)
    track = sounds(clip).alone(clip)
    assert track.events[:, 1].tolist() == [1.0] * 4 + [0.0] * 8
    assert not track.events[:, [0, 2]].any()
    assert not track.samples[4 * HOP:].any()
    assert (track.sentiment == NOBODY).all()


def test_every_clip_is_heard_alone_twice_and_the_second_time_by_another_microphone() -> None:
    spectra: list[NDArray[np.float32]] = []

    def encoder(windows: NDArray[np.float32]) -> NDArray[np.float16]:
        spectra.append(np.abs(np.fft.rfft(windows[0])).astype(np.float32))
        return np.zeros((len(windows), 1), np.float16)

    clip = sound("siren", 4)
    source = SceneSource([clip], cast(Frozen, encoder), SHAPE, BLACK, seed=2)
    spectra.clear()
    source.fill(0, alone=True)
    (row, first), (again, second) = source.alone
    assert row is again is clip.row
    assert (first.events == second.events).all()
    assert first.events[:, 1].any()
    plain, coloured = (spectrum.reshape(-1, 400)[:, 1:].mean(1) for spectrum in (one[:16000] for one in spectra))
    ratio = coloured / plain  # in bands of 200 Hz
    assert ratio.max() / ratio.min() > 1.5


def test_a_step_hardly_begun_is_not_asked() -> None:
    clip = sound("siren", 4.25)
    assert sounds(clip).alone(clip).events[3:6, 1].tolist() == [1.0, MASKED, 0.0]


def test_a_voice_gives_its_steps_a_sentiment_and_no_event() -> None:
    clip = sound("angry", 4)
    track = sounds(clip).alone(clip)
    assert track.sentiment.tolist() == [1] * 4 + [NOBODY] * 8
    assert not track.events.any()


def test_a_baby_is_somebody_but_of_no_labelled_sentiment() -> None:
    clip = sound("crying_baby", 2)
    assert sounds(clip).alone(clip).sentiment[:2].tolist() == [UNKNOWN] * 2


def test_drawn_tracks_are_finite_within_full_scale_and_differ() -> None:
    composer = sounds(sound("siren", 3), sound("noise", 5), sound("happy", 6), sound("gun_shot", 1))
    tracks = [composer.draw() for _ in range(30)]
    assert all(np.isfinite(track.samples).all() and np.abs(track.samples).max() <= 1.5 for track in tracks)
    assert {track.samples.shape for track in tracks} == {(SHAPE.samples,)}
    assert len({track.samples.tobytes() for track in tracks}) > 20
    assert any(track.events[:, 2].any() for track in tracks)


def test_a_clips_own_sound_says_nothing_of_labels_it_was_not_asked_about() -> None:
    track = own_sound(picture("no_fight", 3), SHAPE)
    assert track.events[0].tolist() == [0.0, MASKED, MASKED]
    assert (track.sentiment == UNKNOWN).all()


def test_pictures_are_labelled_while_they_are_shown() -> None:
    clips = [picture("fight", 3), picture("no_fight", 4)]
    composer = PictureComposer(clips, SHAPE, BLACK, np.random.default_rng(0))
    alone = composer.alone(clips[0])
    assert alone.events[:, 0].tolist() == [1.0] * 3 + [0.0] * 9
    assert alone.valid.tolist() == [True] * 3 + [False] * 9
    drawn = [composer.draw() for _ in range(40)]
    assert any(track.valid.all() for track in drawn)
    assert any(not track.valid.any() for track in drawn)
    assert any((track.visual == 2).all(axis=1).any() for track in drawn)  # a cut from one clip to the next


def test_a_scene_holds_what_either_sense_shows_and_asks_nothing_it_does_not_know() -> None:
    seen, heard = np.array([[1.0, 0.0, 0.0, MASKED]]), np.array([[MASKED, 0.0, 1.0, 0.0]])
    assert _both(seen, heard).tolist() == [[1.0, 0.0, 1.0, MASKED]]


def test_each_step_says_to_which_fold_of_the_sources_what_is_seen_belongs() -> None:
    clips = [replace(picture("fight", 3), fold=2), replace(picture("no_fight", 4), fold=5)]
    composer = PictureComposer(clips, SHAPE, BLACK, np.random.default_rng(0))
    assert composer.alone(clips[0]).fold.tolist() == [2] * 3 + [0] * 9
    for track in [composer.draw() for _ in range(50)]:
        shown = track.visual[:, 0] != 0  # black is 0 here; a clip's steps are 1, or 2 where it begins
        assert set(track.fold[shown].tolist()) <= {2, 5}
        fights = track.events[:, 0] == 1.0
        assert set(track.fold[fights].tolist()) <= {2}
        assert not track.fold[~shown].any()
