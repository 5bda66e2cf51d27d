"""Sound as a picture: the log-mel spectrum, which is what a model is given of it, drawn finer for the eye."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WINDOW, HOP, MELS = 1024, 256, 128  # samples, samples, bands; the starter bundle's encoder has 400, 160, 64
LOWEST_HZ = 50.0
FLOOR_DB = -90.0  # of a full-scale sine


def log_mel(sound: NDArray[np.float32], rate_hz: int) -> NDArray[np.float64]:
    """(MELS, frames) decibel, low tones first, `HOP` samples a frame; no frames where the sound is too short.

    Args:
        sound: float32 (N,) -1..1.
        rate_hz: its sample rate.
    """
    if len(sound) < WINDOW:
        return np.zeros((MELS, 0))
    window = np.hanning(WINDOW + 1)[:-1]
    pieces = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(pieces * window) * (2 / window.sum())) ** 2  # (frames, bins)
    mel = power @ _bands(rate_hz).T
    return np.asarray(10.0 * np.log10(np.maximum(mel, 10 ** (FLOOR_DB / 10))).T)


def band_of(frequency_hz: float, rate_hz: int) -> float:
    """Which row of `log_mel` a tone stands in, with fractions."""
    lowest, highest = _mel(LOWEST_HZ), _mel(rate_hz / 2)
    return (float(_mel(frequency_hz)) - lowest) / (highest - lowest) * (MELS + 1) - 1


def _bands(rate_hz: int) -> NDArray[np.float64]:
    """(MELS, bins): overlapping triangles, evenly spaced in mel."""
    corners_mel = np.linspace(_mel(LOWEST_HZ), _mel(rate_hz / 2), MELS + 2)
    corners = 700.0 * (10 ** (corners_mel / 2595.0) - 1)
    bins = np.fft.rfftfreq(WINDOW, 1 / rate_hz)
    low, middle, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    return np.asarray(np.clip(np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)), 0, None))


def _mel(frequency_hz: float) -> float:
    return 2595.0 * float(np.log10(1 + frequency_hz / 700.0))
