from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed")

from pipeline.training.dataset import NOBODY, UNKNOWN  # noqa: E402
from pipeline.training.fusing import _which, train_feelings  # noqa: E402
from pipeline.training.network import Feelings  # noqa: E402
from pipeline.training.scenes.compose import MASKED  # noqa: E402
from pipeline.training.scenes.source import Heard  # noqa: E402


def test_what_is_there_alone_is_told_from_what_is_not() -> None:
    told = torch.tensor([[[1.0, 0.0, MASKED]]])
    right, wrong = torch.tensor([[[2.0, 0.0, 9.0]]]), torch.tensor([[[0.0, 2.0, 9.0]]])
    assert _which(right, told) < 0.2  # whatever the masked one says
    assert _which(wrong, told) > 2.0


def test_two_at_once_and_nothing_at_all_are_not_asked_which() -> None:
    told = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    assert _which(torch.randn(1, 2, 2), told).item() == 0.0


def voices(*felt: int) -> Heard:
    """A step for each: one number of four says it, the others are far larger and say nothing."""
    random = np.random.default_rng(0)
    acoustic = random.standard_normal((len(felt), 4)) * [1.0, 30.0, 30.0, 30.0]
    acoustic[:, 0] += [3.0 * one for one in felt]
    return Heard(acoustic.astype(np.float16), np.ones(len(felt), np.bool_), np.zeros((len(felt), 1), np.float32),
                 np.array(felt))


def test_feelings_are_learnt_from_voices_alone_and_the_rare_ones_as_well() -> None:
    track = np.repeat([1, 2, NOBODY, 3, UNKNOWN], [320, 32, 400, 32, 50]).tolist()
    feelings = Feelings(4, steps=16)
    train_feelings(feelings, [voices(*track)], updates=300, seed=0)
    assert not feelings.training
    told = feelings.told(torch.tensor([[3.0, 0, 0, 0], [6.0, 0, 0, 0], [9.0, 0, 0, 0]]))
    assert told.argmax(1).tolist() == [0, 1, 2]


@pytest.mark.parametrize("heard", [[], [voices(NOBODY, UNKNOWN)]], ids=["nothing heard", "nobody heard"])
def test_without_a_voice_feelings_stay_as_they_were(heard: list[Heard]) -> None:
    feelings = Feelings(4, steps=16)
    before = {name: weights.clone() for name, weights in feelings.state_dict().items()}
    train_feelings(feelings, heard, updates=10, seed=0)
    assert all(torch.equal(weights, before[name]) for name, weights in feelings.state_dict().items())


def test_one_voice_alone_gives_numbers() -> None:
    feelings = Feelings(4, steps=16)
    train_feelings(feelings, [voices(2)], updates=10, seed=0)
    assert feelings.told(torch.zeros(4)).isfinite().all()
