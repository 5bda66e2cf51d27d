from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="the train extra is not installed")

from operators.models.bundle import Label, Sense  # noqa: E402
from pipeline.training.dataset import Row  # noqa: E402
from pipeline.training.folds import FOLDS  # noqa: E402
from pipeline.training.hearing import _wanted, learn_projections  # noqa: E402
from pipeline.training.network import GENERAL, Projection  # noqa: E402
from pipeline.training.scenes.compose import MASKED  # noqa: E402
from pipeline.training.scenes.source import Heard, SceneSource  # noqa: E402

WIDTH, STEPS = 96, 6
RANDOM = np.random.default_rng(0)
SOUNDS = {label: RANDOM.standard_normal(WIDTH) for label in ("fight", "siren", "shot", "calm")}


def label(name: str, sense: Sense) -> Label:
    return Label(name=name, sense=sense, alertable=True, open=0.5, close=0.25, min_length_s=1.0, merge_gap_s=1.0)


LABELS = [label("fight", "both"), label("smoke", "visual"), label("shot", "acoustic"), label("siren", "acoustic")]
FIGHT, SHOT, SIREN, VOICE = range(4)  # numbers of the embedding


def heard(what: str, source: str, fold: int = 0, *, known: Sequence[int] = (2, 3)) -> Heard:
    """Sounds like its label, and much more like its source, all through the scene."""
    own = np.random.default_rng(sum(map(ord, source))).standard_normal(WIDTH)
    acoustic = 0.5 * SOUNDS[what] + own + 0.1 * RANDOM.standard_normal((STEPS, WIDTH))
    events = np.full((STEPS, len(LABELS)), MASKED, np.float32)
    events[:, list(known)] = [[float(LABELS[index].name == what) for index in known]] * STEPS
    return Heard(acoustic.astype(np.float16), np.ones(STEPS, np.bool_), events,
                 np.full(STEPS, 2 if what == "calm" else 0), fold)


def sources(count: int = 40, first: int = 0) -> SceneSource:
    """Clips alone, and fights and their absence as they were recorded."""
    alone = [(Row(2, "", what, ("s", f"{what}{i}")), heard(what, f"{what}{i}", 1 + i % FOLDS))
             for i in range(first, first + count) for what in ("siren", "shot", "calm")]
    recorded = [heard(what, f"{what}-{i}", 1 + i % FOLDS, known=(0,)) for i in range(first, first + count)
                for what in ("fight", "calm")]
    return cast(SceneSource, SimpleNamespace(alone=alone, mixed=[], recorded=recorded))


def told(projection: Projection, one: Heard) -> NDArray[np.float64]:
    with torch.inference_mode():
        return np.asarray(projection(torch.from_numpy(one.acoustic.astype(np.float32))).mean(0))


def test_each_label_and_a_voice_have_a_number_that_tells_them_in_recordings_never_met() -> None:
    served = learn_projections(sources(), LABELS, WIDTH)[0]
    assert served.width == 4 + GENERAL
    right = []
    for row, one in sources(20, first=100).alone:
        found = told(served, one)[SHOT : VOICE + 1]
        right.append(("shot", "siren", "calm")[int(found.argmax())] == row.label)
    assert np.mean(right) > 0.9


def test_a_label_that_is_also_seen_is_learnt_from_what_was_recorded_with_it() -> None:
    served = learn_projections(sources(), LABELS, WIDTH)[0]
    fights, others = ([told(served, one)[FIGHT] for one in sources(20, first=100).recorded if one.events[0, 0] == there]
                      for there in (1.0, 0.0))
    assert np.mean(fights) > np.mean(others) + 1.0


def test_a_fold_is_told_by_what_was_taught_without_it() -> None:
    """So what is said of it is as good as of recordings never met, and no better."""
    everything = sources(8)
    projections = learn_projections(everything, LABELS, WIDTH)
    without = SimpleNamespace(alone=[one for one in everything.alone if one[1].fold != 2], mixed=[], recorded=[])
    left_out = learn_projections(cast(SceneSource, without), LABELS, WIDTH)[0]
    own, others = ([told(projections[fold(one)], one)[SIREN] * (1 if row.label == "siren" else -1)
                    for row, one in everything.alone] for fold in (lambda one: 0, lambda one: one.fold))
    assert np.mean([one > 0 for one in own]) == 1.0  # learnt by heart
    assert np.mean([one > 0 for one in others]) < 0.95
    probes = [(one.linear.weight / one.std)[SIREN] for one in (projections[2], left_out, projections[1])]
    assert torch.nn.functional.cosine_similarity(probes[0], probes[1], dim=0) > 0.98
    assert torch.nn.functional.cosine_similarity(probes[0], probes[2], dim=0) < 0.95


def test_a_source_of_many_clips_does_not_outweigh_the_others() -> None:
    """All of many clips of one siren hum; the sirens of others do not."""
    hum = RANDOM.standard_normal(WIDTH)

    def loudness_of_hum(times: int) -> float:
        given = sources(20)
        row, one = given.alone[0]
        assert row.label == "siren"
        humming = replace(one, acoustic=(one.acoustic + 3 * hum).astype(np.float16))
        given.alone += [(row, humming)] * times
        probe = learn_projections(given, LABELS, WIDTH)[0]
        return float((probe.linear.weight / probe.std)[SIREN] @ torch.from_numpy(hum).float())

    assert loudness_of_hum(100) < 4 * loudness_of_hum(4)


def over(one: Heard, other: str) -> Heard:
    """With another sound over it."""
    events = one.events.copy()
    events[:, LABELS.index(next(label for label in LABELS if label.name == other))] = 1.0
    return replace(one, acoustic=(one.acoustic + 0.5 * SOUNDS[other]).astype(np.float16), events=events)


def test_what_is_only_ever_heard_over_something_else_is_learnt_too() -> None:
    given = sources()
    alone = [(row, one) for row, one in given.alone if row.label != "shot"]
    mixed = [over(one, "shot") for row, one in alone if row.label == "calm"]
    served = learn_projections(cast(SceneSource, SimpleNamespace(alone=alone, mixed=mixed, recorded=[])), LABELS,
                               WIDTH)[0]
    unmet = [heard("calm", f"unmet{i}") for i in range(20)]
    with_shot, without = ([told(served, one)[SHOT] for one in some]
                          for some in ([over(one, "shot") for one in unmet], unmet))
    assert np.mean(with_shot) > np.mean(without) + 1.0


def test_what_is_wanted_is_for_how_much_of_the_window_it_is_heard() -> None:
    one = heard("siren", "a")
    one.events[:] = 0.0
    one.events[1:3, 3], one.events[5, 3] = 1.0, MASKED
    one.sentiment[2:] = -1
    wanted = _wanted(one, [3], voice=True)
    assert wanted[:5, 0].tolist() == [0.0, 0.25, 0.5, 0.5, 0.5]  # a window of two seconds ends with each step
    assert np.isnan(wanted[5, 0])
    assert wanted[:, 1].tolist() == [0.0, 0.0, 0.25, 0.5, 0.75, 1.0]


def test_numbers_are_of_one_spread_as_the_fusion_is_taught_with_them() -> None:
    given = sources()
    projections = learn_projections(given, LABELS, WIDTH)
    found = np.array([told(projections[one.fold], one) for _, one in given.alone])
    assert found.mean(axis=0)[1:] == pytest.approx(np.zeros(3 + GENERAL), abs=0.1)
    assert found.std(axis=0)[1:] == pytest.approx(np.ones(3 + GENERAL), abs=0.15)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_little_to_learn_from_gives_numbers_all_the_same(count: int) -> None:
    for projection in learn_projections(sources(count), LABELS, WIDTH):
        assert np.isfinite(told(projection, heard("siren", "other"))).all()
