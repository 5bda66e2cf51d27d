from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the train extra is not installed")

import torch  # noqa: E402

from pipeline.training.augment import COLOUR_DB, coloured  # noqa: E402

RATE_HZ = 16_000


def level_db(wave: torch.Tensor) -> float:
    return float(10 * torch.log10(wave.square().mean()))


def test_colour_changes_the_level_of_a_tone_within_its_bounds_and_differs_between_tones() -> None:
    random, time_s = torch.Generator().manual_seed(0), torch.arange(RATE_HZ) / RATE_HZ
    changes = np.zeros((20, 2))
    for turn in range(20):
        state = random.get_state()
        for column, hz in enumerate((100.0, 3000.0)):
            random.set_state(state)  # the same colour for both
            tone = 0.2 * torch.sin(2 * torch.pi * hz * time_s).unsqueeze(0)
            changes[turn, column] = level_db(coloured(tone, RATE_HZ, random)) - level_db(tone)
    assert np.abs(changes).max() <= COLOUR_DB + 0.1
    assert (changes.std(axis=0) > COLOUR_DB / 4).all()
    assert np.abs(changes[:, 0] - changes[:, 1]).mean() > COLOUR_DB / 4


def test_colour_stays_within_full_scale_and_leaves_silence_alone() -> None:
    random = torch.Generator().manual_seed(0)
    loud = torch.sign(torch.randn(4, RATE_HZ, generator=random))
    assert coloured(loud, RATE_HZ, random).abs().max() <= 1.0
    assert not coloured(torch.zeros(1, RATE_HZ), RATE_HZ, random).any()
