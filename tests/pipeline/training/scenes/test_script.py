"""The composed scenes that methods are compared on."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the train extra is not installed")

from pipeline.training.dataset import Row
from pipeline.training.features import Features
from pipeline.training.network import VISUAL_FEATURES
from pipeline.training.scenes.script import LEVELS_DBFS, Recipe, Script

HOP, STEPS, RATE_HZ, SCENES = 8_000, 16, 16_000, 300


def clip(label: str, *, steps: int = 0, length_s: float = 0.0, intensity: str = "") -> Features:
    samples = (0.3 * np.random.default_rng(0).standard_normal(int(length_s * RATE_HZ))).astype(np.float16)
    return Features(Row(2, f"{label}-{intensity}", label, ("s", label), intensity), samples,
                    np.ones((2, steps, VISUAL_FEATURES), np.float16), np.zeros((2, VISUAL_FEATURES), np.float16))


CLIPS = [clip("fight", steps=5), clip("no_fight", steps=6), clip("siren", length_s=3), clip("gun_shot", length_s=1),
         clip("street_music", length_s=4), clip("noise", length_s=4), clip("silence", length_s=4),
         *(clip(label, length_s=2, intensity=intensity)
           for label in ("angry", "fearful", "calm", "happy") for intensity in ("normal", "strong"))]


def scripts(seed: int = 0) -> list[Script]:
    recipe = Recipe(CLIPS, {"fight", "siren", "gun_shot"}, steps=STEPS, hop=HOP, sample_rate_hz=RATE_HZ,
                    random=np.random.default_rng(seed))
    return [recipe.script() for _ in range(SCENES)]


def played(script: Script, role: str) -> list[str]:
    return [sound.clip.row.path for sound in script.played if sound.role == role]


def test_the_same_seed_writes_the_same_scenes_and_another_others() -> None:
    one, same, other = (repr([(script.outline, script.seen_faults, script.heard_faults, [
        (sound.clip.row.path, sound.at, sound.level_dbfs) for sound in script.played]) for script in scripts(seed)])
        for seed in (0, 0, 1))
    assert one == same
    assert one != other


def test_pictures_cover_the_scene_and_show_what_the_outline_says() -> None:
    for script in scripts():
        shown = np.full(STEPS, "", object)
        for shot in script.shots:
            shown[shot.start : shot.start + shot.steps] = shot.clip.row.label
        happening = slice(script.outline.start, script.outline.stop)
        assert set(shown[happening]) <= {"fight"}
        assert set(np.delete(shown, np.r_[happening])) <= {"no_fight"}


def test_there_is_shouting_over_most_fights_and_some_quiet_scenes_and_only_strong_voices_shout() -> None:
    fights = [script for script in scripts() if script.outline.event]
    quiet = [script for script in scripts() if not script.outline.event]
    assert 0.4 < len(fights) / SCENES < 0.6
    assert 0.75 < np.mean([bool(played(script, "shout")) for script in fights]) < 0.95
    assert 0.1 < np.mean([bool(played(script, "television")) for script in quiet]) < 0.3
    shouting = {path for script in scripts() for role in ("shout", "television") for path in played(script, role)}
    assert shouting == {"angry-strong", "fearful-strong"}


def test_calm_voices_and_the_street_are_heard_elsewhere_and_silence_never() -> None:
    heard = {role: {path for script in scripts() for path in played(script, role)} for role in LEVELS_DBFS}
    assert heard["speech"] == {"calm-normal", "calm-strong"}
    assert heard["street"] == {"street_music-", "noise-"}
    assert heard["call"] == {"siren-", "gun_shot-"}
    assert all(not (played(script, "speech") and played(script, "shout")) for script in scripts())


def test_what_is_only_heard_comes_whatever_is_seen() -> None:
    share = [np.mean([bool(played(script, "call")) for script in scripts() if bool(script.outline.event) is happening])
             for happening in (True, False)]
    assert abs(share[0] - share[1]) < 0.15


def test_levels_are_within_what_is_stated() -> None:
    for script in scripts():
        for sound in script.played:
            low, high = LEVELS_DBFS[sound.role]
            assert low <= sound.level_dbfs <= high


def test_either_sense_is_spoilt_in_most_scenes_for_spans_within_the_scene() -> None:
    for faults in ([script.seen_faults for script in scripts()], [script.heard_faults for script in scripts()]):
        assert 0.65 < np.mean([bool(one) for one in faults]) < 0.85
        assert all(0 <= fault.start < fault.stop <= STEPS for one in faults for fault in one)
    assert {fault.kind for script in scripts() for fault in script.seen_faults} == {
        "dark", "blurred", "compressed", "frozen"}
    assert {fault.kind for script in scripts() for fault in script.heard_faults} == {
        "wind", "hum", "clipping", "silence"}


def test_data_without_voices_or_pictures_still_makes_scenes() -> None:
    recipe = Recipe([clip("siren", length_s=1)], {"siren"}, steps=STEPS, hop=HOP, sample_rate_hz=RATE_HZ,
                    random=np.random.default_rng(0))
    written = [recipe.script() for _ in range(20)]
    assert not any(script.shots for script in written)
    assert any(script.played for script in written)
