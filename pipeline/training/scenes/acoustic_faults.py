"""What spoils the sound of a camera for a while; each takes and gives a waveform float32 (n,) of -1..1."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float32]
WIND_DBFS, HUM_DBFS = (-22.0, -8.0), (-26.0, -12.0)
WIND_HZ = 300.0  # above this it falls off
GUSTS_HZ = 0.7
MAINS_HZ = (50.0, 60.0)
HARMONICS = 12
OVERDRIVE_DB = (25.0, 40.0)  # how far the loudest goes beyond full scale


def wind(wave: Wave, rate_hz: int, random: np.random.Generator) -> Wave:
    """Low, gusty noise over everything."""
    frequency_hz = np.fft.rfftfreq(len(wave), 1 / rate_hz)
    spectrum = np.fft.rfft(random.standard_normal(len(wave)))
    blown = np.fft.irfft(spectrum / (1 + (frequency_hz / WIND_HZ) ** 2), len(wave))
    phase = random.uniform(0, 2 * np.pi)
    gusts = 1 + 0.6 * np.sin(2 * np.pi * GUSTS_HZ * np.arange(len(wave)) / rate_hz + phase)
    return _with(wave, blown * gusts, random.uniform(*WIND_DBFS))


def hum(wave: Wave, rate_hz: int, random: np.random.Generator) -> Wave:
    """A cable that picks up the mains."""
    time_s = np.arange(len(wave)) / rate_hz
    mains_hz = MAINS_HZ[int(random.integers(len(MAINS_HZ)))]
    tones = sum(np.sin(2 * np.pi * mains_hz * number * time_s + random.uniform(0, 2 * np.pi)) / number
                for number in range(1, HARMONICS + 1))
    return _with(wave, np.asarray(tones), random.uniform(*HUM_DBFS))


def clipping(wave: Wave, rate_hz: int, random: np.random.Generator) -> Wave:
    """A microphone set far too loud."""
    loudest = max(float(np.abs(wave).max(initial=0.0)), 1e-3)
    gain = 10 ** (random.uniform(*OVERDRIVE_DB) / 20) / loudest
    return np.asarray(np.clip(wave * np.float32(gain), -1.0, 1.0), np.float32)


def silence(wave: Wave, rate_hz: int, random: np.random.Generator) -> Wave:
    """The microphone gives nothing."""
    return np.zeros_like(wave)


def _with(wave: Wave, noise: NDArray[np.float64], level_dbfs: float) -> Wave:
    level = 10 ** (level_dbfs / 20) / max(float(np.sqrt(np.mean(noise**2))), 1e-9)
    return np.clip(wave + noise.astype(np.float32) * np.float32(level), -1.0, 1.0)


ACOUSTIC_FAULTS: Mapping[str, Callable[[Wave, int, np.random.Generator], Wave]] = {
    "wind": wind, "hum": hum, "clipping": clipping, "silence": silence,
}
