"""What happens to sound between a microphone and Lookout, imitated for training.

All functions take and give float32 (B, N) waveforms of -1..1, and draw from the given generator only.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TELEPHONE_HZ = 3400.0  # the band G.711 keeps at 8 kHz
MU = 255.0
LOWEST_HZ = 50.0  # of what is coloured by itself; all that is lower goes with it
KNOTS = 6  # frequencies, evenly apart in octaves, that are louder or fainter each by itself
COLOUR_DB = 9.0


def degrade(samples: Tensor, sample_rate_hz: int, random: torch.Generator) -> Tensor:
    """Room, noise, distance and the camera's codec, each on a random part of the batch."""
    x = samples.clone()
    for share, change in ((0.2, _room), (0.4, _noise), (1.0, _gain), (0.15, _muffle), (0.2, telephone)):
        chosen = torch.rand(len(x), generator=random) < share
        if chosen.any():
            x[chosen] = change(x[chosen], sample_rate_hz, random)
    return x.clamp(-1.0, 1.0)


def coloured(samples: Tensor, sample_rate_hz: int, random: torch.Generator) -> Tensor:
    """Some frequencies louder and others fainter, as every microphone, wall and distance has it."""
    spectrum = torch.fft.rfft(samples)  # (B, bins)
    hz = torch.linspace(0.0, sample_rate_hz / 2, spectrum.shape[1])
    place = torch.log(hz.clamp(min=LOWEST_HZ) / LOWEST_HZ) / math.log(sample_rate_hz / 2 / LOWEST_HZ)  # 0..1
    near = (1.0 - (place * (KNOTS - 1) - torch.arange(KNOTS).unsqueeze(1)).abs()).clamp(min=0.0)  # (KNOTS, bins)
    gain = COLOUR_DB * (2 * torch.rand(len(samples), KNOTS, generator=random) - 1)
    heard: Tensor = torch.fft.irfft(spectrum * _decibel(gain @ near), n=samples.shape[1])
    return heard.clamp(-1.0, 1.0)


def telephone(samples: Tensor, sample_rate_hz: int, random: torch.Generator | None = None) -> Tensor:
    """G.711 mu-law at 8 kHz and back; nothing about it is random."""
    x = samples.clamp(-1, 1)
    narrow = _band_limit(x, torch.full((len(x), 1), TELEPHONE_HZ), sample_rate_hz).clamp(-1, 1)
    squeezed = narrow.sign() * torch.log1p(MU * narrow.abs()) / math.log1p(MU)
    rounded = torch.round(squeezed * 127.5) / 127.5
    return rounded.sign() * (torch.expm1(rounded.abs() * math.log1p(MU)) / MU)


def _gain(x: Tensor, sample_rate_hz: int, random: torch.Generator) -> Tensor:
    return x * _decibel(_uniform(x, -12.0, 6.0, random))


def _muffle(x: Tensor, sample_rate_hz: int, random: torch.Generator) -> Tensor:
    return _band_limit(x, _uniform(x, 2500.0, 7000.0, random), sample_rate_hz)


def _band_limit(x: Tensor, cutoff_hz: Tensor, sample_rate_hz: int) -> Tensor:
    spectrum = torch.fft.rfft(x)
    frequency = torch.linspace(0.0, sample_rate_hz / 2, spectrum.shape[1]).unsqueeze(0)
    kept: Tensor = torch.fft.irfft(spectrum * torch.sigmoid((cutoff_hz - frequency) / 50.0), n=x.shape[1])
    return kept


def _room(x: Tensor, sample_rate_hz: int, random: torch.Generator) -> Tensor:
    """Convolve with decaying noise, which is what the late part of a room's response looks like."""
    count = sample_rate_hz // 2
    decay_s = _uniform(x, 0.05, 0.4, random)
    time_s = torch.arange(count).unsqueeze(0) / sample_rate_hz
    response = torch.randn(len(x), count, generator=random) * torch.exp(-6.9 * time_s / decay_s)
    response = response / response.square().sum(1, keepdim=True).sqrt() * _uniform(x, 0.1, 0.6, random)
    response[:, 0] = 1.0
    size = x.shape[1] + count
    wet: Tensor = torch.fft.irfft(torch.fft.rfft(x, size) * torch.fft.rfft(response, size), n=size)
    return wet[:, : x.shape[1]]


def _noise(x: Tensor, sample_rate_hz: int, random: torch.Generator) -> Tensor:
    """Noise between white and brown, 5 to 40 dB below the sound, or as faint as a quiet microphone."""
    spectrum = torch.fft.rfft(torch.randn(x.shape, generator=random))
    steps = torch.arange(1, spectrum.shape[1] + 1).unsqueeze(0)
    noise: Tensor = torch.fft.irfft(spectrum * steps ** -_uniform(x, 0.0, 1.0, random), n=x.shape[1])
    noise = noise / noise.square().mean(1, keepdim=True).sqrt()
    level = x.square().mean(1, keepdim=True).sqrt() * _decibel(-_uniform(x, 5.0, 40.0, random))
    return x + noise * level.clamp(min=1e-4)


def _uniform(like: Tensor, low: float, high: float, random: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(len(like), 1, generator=random)


def _decibel(level: Tensor) -> Tensor:
    return torch.pow(10.0, level / 20.0)
