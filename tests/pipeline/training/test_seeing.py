from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed")

from pipeline.training.dataset import Row  # noqa: E402
from pipeline.training.features import Features  # noqa: E402
from pipeline.training.folds import divided  # noqa: E402
from pipeline.training.network import GENERAL, VISUAL_FEATURES, Projection  # noqa: E402
from pipeline.training.seeing import learn_projections  # noqa: E402

RANDOM = np.random.default_rng(0)
LOOKS = {label: RANDOM.standard_normal(VISUAL_FEATURES) for label in ("fight", "smoke", "no_fight")}


def recording(label: str, source: str, *, steps: int = 3, views: int = 2) -> Features:
    """Looks like its label, and much more like its source."""
    own = np.random.default_rng(sum(map(ord, source))).standard_normal(VISUAL_FEATURES)
    looks = 0.3 * LOOKS[label] + own
    visual = looks + 0.1 * RANDOM.standard_normal((views, steps, VISUAL_FEATURES))
    return Features(Row(2, f"{source}.mp4", label, ("s", source)), np.zeros(0, np.float16), visual.astype(np.float16),
                    visual[:, 0].astype(np.float16))


def recordings(count: int = 30, first: int = 0) -> list[Features]:
    return [recording(label, f"{label}-{i}") for i in range(first, first + count) for label in LOOKS]


def told(projection: Projection, clip: Features) -> list[float]:
    with torch.inference_mode():
        return list(projection(torch.from_numpy(clip.visual[0].astype(np.float32))).mean(0).tolist())


def test_each_label_has_a_number_that_tells_it_from_the_others_in_recordings_never_met() -> None:
    served = learn_projections(divided(recordings(), 0), ["fight", "smoke"])[0]
    for clip in recordings(10, first=30):
        fight, smoke, *general = told(served, clip)
        assert (fight > 0) == (clip.row.label == "fight")
        assert (smoke > 0) == (clip.row.label == "smoke")
        assert len(general) == GENERAL


def test_a_fold_is_told_by_what_was_taught_without_it() -> None:
    """So what is said of it is as good as of recordings never met, and no better."""
    clips = divided(recordings(8), 0)
    projections = learn_projections(clips, ["fight"])
    changed = [clip for clip in clips if clip.fold != 2]
    without = learn_projections(changed, ["fight"])
    own, others = ([told(projections[fold(clip)], clip)[0] * (1 if clip.row.label == "fight" else -1) for clip in clips]
                   for fold in (lambda clip: 0, lambda clip: clip.fold))
    assert np.mean(own) > np.mean(others) + 0.5  # learnt by heart
    left_out, never = projections[2].linear.weight[0], without[0].linear.weight[0]
    assert torch.nn.functional.cosine_similarity(left_out, never, dim=0) > 0.99
    assert torch.nn.functional.cosine_similarity(left_out, projections[1].linear.weight[0], dim=0) < 0.95


def test_where_the_picture_changes_at_once_nothing_is_told() -> None:
    """A cut looks like a fight here; it is only known from clips of all labels."""
    jump = 3 * LOOKS["fight"] + np.random.default_rng(9).standard_normal(VISUAL_FEATURES)
    clips = [replace(clip, cut=np.stack([jump, jump]).astype(np.float16)) for clip in recordings()]
    cut = replace(clips[0], visual=np.stack([[jump]]).astype(np.float16))
    knows, does_not = (learn_projections(divided(some, 0), ["fight"])[0] for some in (clips, recordings()))
    assert told(does_not, cut)[0] > 1.0
    assert abs(told(knows, cut)[0]) < 0.3


def test_the_general_numbers_are_the_same_in_all_and_of_one_spread() -> None:
    clips = divided(recordings(), 0)
    projections = learn_projections(clips, ["fight"])
    seen = np.array([told(projections[0], clip)[1:] for clip in clips])
    assert seen.std(axis=0) == pytest.approx(np.ones(GENERAL), rel=0.05)
    assert seen.mean(axis=0) == pytest.approx(np.zeros(GENERAL), abs=0.05)
    for other in projections[1:]:
        assert torch.equal(other.linear.weight[1:], projections[0].linear.weight[1:])


@pytest.mark.parametrize("clips", [[], [recording("fight", "a")], [recording("fight", "a"), recording("fight", "b")]])
def test_little_to_learn_from_gives_numbers_all_the_same(clips: list[Features]) -> None:
    for projection in learn_projections(divided(clips, 0), ["fight"]):
        assert projection.width == 1 + GENERAL
        assert np.isfinite(told(projection, recording("no_fight", "other"))).all()
