"""What spoils pictures and sound."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="the train extra is not installed")

from pipeline.training.scenes.acoustic_faults import ACOUSTIC_FAULTS, clipping, hum, silence, wind
from pipeline.training.scenes.visual_faults import VISUAL_FAULTS, blurred, compressed, dark

RATE_HZ = 16_000


@pytest.fixture
def pictures() -> NDArray[np.uint8]:
    """(2, 3, 64, 64, 3): grass on one side and an edge in the middle."""
    random = np.random.default_rng(0)
    drawn = np.full((2, 3, 64, 64, 3), 40, np.uint8)
    drawn[..., 32:, :] = 200
    drawn[..., :20, :] += random.integers(0, 60, (2, 3, 64, 20, 3), np.uint8)
    return drawn


def steepest(pictures: NDArray[np.uint8]) -> int:
    return int(np.abs(np.diff(pictures.astype(np.int64), axis=3)).max())


def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("name", VISUAL_FAULTS)
def test_spoilt_pictures_keep_their_shape_and_differ_and_come_again_with_the_seed(
        name: str, pictures: NDArray[np.uint8]) -> None:
    spoilt, again = (VISUAL_FAULTS[name](pictures, random()) for _ in range(2))
    assert spoilt.shape == pictures.shape
    assert spoilt.dtype == np.uint8
    assert np.abs(spoilt.astype(int) - pictures).mean() > 2
    assert np.array_equal(spoilt, again)


def test_in_the_dark_little_is_left(pictures: NDArray[np.uint8]) -> None:
    assert dark(pictures, random()).mean() < 0.12 * pictures.mean()


def test_a_blurred_picture_has_no_edges_and_keeps_its_light(pictures: NDArray[np.uint8]) -> None:
    spoilt = blurred(pictures, random())
    assert steepest(spoilt) < steepest(pictures) / 2
    assert abs(spoilt.mean() - pictures.mean()) < 3


def test_compression_loses_what_is_fine_and_keeps_what_is_coarse(pictures: NDArray[np.uint8]) -> None:
    spoilt = compressed(pictures, random()).astype(int)
    assert spoilt[..., :16, :].std() < pictures[..., :16, :].std() / 2
    assert abs(spoilt[..., 48:, :].mean() - 200) < 15
    assert abs(spoilt[..., :16, :].mean() - pictures[..., :16, :].mean()) < 15


@pytest.fixture
def wave() -> NDArray[np.float32]:
    return (0.1 * np.sin(2 * np.pi * 1000 * np.arange(2 * RATE_HZ) / RATE_HZ)).astype(np.float32)


def power(wave: NDArray[np.float32], low_hz: float, high_hz: float) -> float:
    spectrum = np.abs(np.fft.rfft(wave)) ** 2
    frequency_hz = np.fft.rfftfreq(len(wave), 1 / RATE_HZ)
    return float(spectrum[(frequency_hz >= low_hz) & (frequency_hz < high_hz)].sum())


@pytest.mark.parametrize("name", ACOUSTIC_FAULTS)
def test_spoilt_sound_stays_within_full_scale_and_comes_again_with_the_seed(
        name: str, wave: NDArray[np.float32]) -> None:
    spoilt, again = (ACOUSTIC_FAULTS[name](wave, RATE_HZ, random()) for _ in range(2))
    assert spoilt.dtype == np.float32
    assert spoilt.shape == wave.shape
    assert np.abs(spoilt).max() <= 1.0
    assert not np.array_equal(spoilt, wave)
    assert np.array_equal(spoilt, again)


def test_wind_is_low(wave: NDArray[np.float32]) -> None:
    spoilt = wind(wave, RATE_HZ, random()) - wave
    assert power(spoilt, 0, 800) > 10 * power(spoilt, 800, 8000)


def test_hum_is_the_mains_and_its_harmonics(wave: NDArray[np.float32]) -> None:
    spoilt = hum(wave, RATE_HZ, random()) - wave
    tones = sum(power(spoilt, mains * number - 2, mains * number + 2) for mains in (50, 60) for number in range(1, 13))
    assert tones > 0.95 * power(spoilt, 0, 8000)


def test_clipping_makes_a_tone_square(wave: NDArray[np.float32]) -> None:
    assert np.mean(np.abs(clipping(wave, RATE_HZ, random())) == 1.0) > 0.8


def test_silence_is_silent(wave: NDArray[np.float32]) -> None:
    assert not silence(wave, RATE_HZ, random()).any()
