from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the train extra is not installed")

import torch  # noqa: E402

from pipeline.training.dataset import NOBODY, UNKNOWN  # noqa: E402
from pipeline.training.feelings import TAKES, felt_in, learn_feelings, teach  # noqa: E402
from pipeline.training.network import Manner  # noqa: E402
from pipeline.training.sounds import Sound  # noqa: E402

NEGATIVE, NEUTRAL, POSITIVE = 0, 1, 2
RATE_HZ, SAMPLES = 16_000, 16_000
HOP = SAMPLES // 4


def voice(label: str, sentiment: int, samples: int = 2 * SAMPLES) -> Sound:
    wave = np.random.default_rng(len(label)).uniform(-0.5, 0.5, samples)
    return Sound(wave.astype(np.float16), label, sentiment)


def learn(manner: Manner, sounds: list[Sound]) -> list[torch.Tensor]:
    """Taught by the level of each quarter; returns what was heard."""
    heard = []

    def hear(windows: torch.Tensor) -> torch.Tensor:
        heard.append(windows)
        return windows.reshape(len(windows), 4, -1).square().mean(2)

    learn_feelings(manner, hear, sounds, samples=SAMPLES, sample_rate_hz=RATE_HZ, seed=0)
    return heard


def test_the_rare_ones_are_learnt_as_well_and_large_numbers_that_say_nothing_do_not_matter() -> None:
    torch.manual_seed(0)
    spoken = torch.tensor([0, 1, 2]).repeat_interleave(torch.tensor([320, 32, 32]))
    x = torch.randn(len(spoken), 4) * torch.tensor([1.0, 30.0, 30.0, 30.0])
    x[:, 0] += 3.0 * spoken
    manner = Manner(4)
    teach(manner, x, spoken, seed=0)
    assert not manner.training
    told = manner(torch.tensor([[0.0, 0, 0, 0], [3.0, 0, 0, 0], [6.0, 0, 0, 0]]))
    assert told.argmax(1).tolist() == [NEGATIVE, NEUTRAL, POSITIVE]


def test_what_says_nothing_is_told_to_be_no_feeling_for_being_frequent() -> None:
    torch.manual_seed(0)
    spoken = torch.tensor([0, 1, 2]).repeat_interleave(torch.tensor([800, 100, 100]))
    manner = Manner(2)
    teach(manner, torch.randn(len(spoken), 2), spoken, seed=0)
    assert manner(torch.zeros(2)).exp().tolist() == pytest.approx([1 / 3] * 3, abs=0.1)


def test_manners_that_are_unlike_each_other_are_the_same_feeling() -> None:
    """Which no linear map to three feelings could learn: neutral lies between the two that are negative."""
    torch.manual_seed(0)
    manner, spoken = Manner(2, [NEGATIVE, NEGATIVE, NEUTRAL, POSITIVE]), torch.arange(4).repeat(100)
    places = torch.tensor([[-3.0, 0.0], [3.0, 0.0], [0.0, 0.0], [0.0, 3.0]])
    teach(manner, places[spoken] + 0.5 * torch.randn(400, 2), spoken, seed=0)
    told = manner(places)
    assert told.argmax(1).tolist() == [NEGATIVE, NEGATIVE, NEUTRAL, POSITIVE]
    assert torch.allclose(told.exp().sum(1), torch.ones(4))


def test_what_is_felt_is_known_of_every_manner_somebody_has_named() -> None:
    sounds = [voice("sad", 1), voice("angry", 1), voice("happy", 3), voice("sad", 1), voice("dog_bark", NOBODY),
              voice("baby_laugh", UNKNOWN), voice("calm", 2)]
    assert felt_in(sounds) == [NEGATIVE, NEGATIVE, NEUTRAL, POSITIVE]
    assert felt_in(sounds[4:6]) == [NEGATIVE, NEUTRAL, POSITIVE]  # nobody speaks


def test_a_voice_is_heard_as_in_serving_up_to_every_step_in_which_it_is_there() -> None:
    said = voice("calm", 2, samples=5 * HOP)
    said.samples[2 * HOP : 3 * HOP] = 0  # a pause
    wave = torch.from_numpy(said.samples.astype(np.float32))
    heard = learn(Manner(4, [NEUTRAL]), [said, voice("dog_bark", NOBODY)])
    assert len(heard) == TAKES
    first = heard[0]
    assert [int((window == 0).sum()) // HOP for window in first] == [3, 2, 1, 1]
    assert torch.equal(first[0, 3 * HOP :], wave[:HOP])
    assert torch.equal(first[-1], wave[HOP:])


@pytest.mark.parametrize("sounds", [[], [voice("dog_bark", NOBODY), voice("baby_laugh", UNKNOWN)]],
                         ids=["nothing heard", "nobody heard"])
def test_without_a_voice_it_stays_as_it_was_and_tells_none_from_another(sounds: list[Sound]) -> None:
    manner = Manner(4).eval()
    assert learn(manner, sounds) == []
    assert torch.allclose(manner(torch.randn(5, 4)), torch.tensor(1 / 3).log())


def test_one_voice_alone_gives_numbers() -> None:
    manner = Manner(4, [NEUTRAL])
    learn(manner, [voice("calm", 2)])
    assert manner(torch.zeros(4)).isfinite().all()
