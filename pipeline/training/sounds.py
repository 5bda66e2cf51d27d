"""Sounds to learn from, and how they are sped up and mixed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.training.features import Features

FASTER = (0.88, 1.12)  # how much a clip is sped up or slowed down, which moves its pitch too


@dataclass(frozen=True)
class Sound:
    """A clip's sound and what is heard in it."""

    samples: NDArray[np.float16]  # (n,) -1..1
    label: str  # as finely as somebody has said: `angry` teaches more than that it is negative
    sentiment: int  # 0 nobody heard, 1 negative, 2 neutral, 3 positive, or UNKNOWN


def sounds_of(clips: Iterable[Features]) -> list[Sound]:
    """Of the clips that are only heard: what sounds while something is seen, nobody has labelled."""
    return [Sound(clip.samples, clip.row.label, clip.row.sentiment) for clip in clips if clip.heard and not clip.seen]


def at_another_speed(clip: NDArray[np.float16], random: np.random.Generator) -> NDArray[np.float32]:
    """Slower or faster, and so lower or higher."""
    speed = random.uniform(*FASTER)
    at = np.arange(0, len(clip) - 1, speed)
    return np.asarray(np.interp(at, np.arange(len(clip)), clip.astype(np.float32)), np.float32)


def mix(louder: NDArray[np.float32], fainter: NDArray[np.float32], snr_db: float) -> NDArray[np.float32]:
    """Both at once, the second `snr_db` below the first; the first keeps its level."""
    level = _level(louder) * 10 ** (-snr_db / 20)
    return louder + fainter * np.float32(level / max(_level(fainter), 1e-4))


def _level(wave: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(wave)))) if len(wave) else 0.0
