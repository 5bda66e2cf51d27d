"""Train the acoustic encoder from scratch on clips of sound, two seconds at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.training import augment
from pipeline.training.network import SENTIMENT_CLASSES, AcousticEncoder

UNKNOWN = -1  # a sentiment nobody has labelled
BATCH = 64
FASTER = (0.85, 1.18)  # how much a clip is sped up or slowed down, which moves its pitch too
SPEECH = 2.0  # how much more often speech is drawn: it is told apart by less
LOUD_ENOUGH = 0.3  # of the clip's own level, for a window to carry the clip's label
HEARD_SNR_DB, DROWNED_SNR_DB = 6.0, 20.0  # the fainter of two mixed sounds is heard, and is not


@dataclass(frozen=True)
class Sound:
    """A clip's sound and what is heard in it."""

    samples: NDArray[np.float16]  # (n,) -1..1
    events: NDArray[np.float32]  # (L,) 1 where heard
    sentiment: int  # 0 nobody heard, 1 negative, 2 neutral, 3 positive, or UNKNOWN


class _Taught(nn.Module):
    """The encoder with the heads that teach it; they are thrown away afterwards."""

    def __init__(self, encoder: AcousticEncoder, dim: int, labels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.events = nn.Linear(dim, labels)
        self.sentiment = nn.Linear(dim, SENTIMENT_CLASSES)

    def forward(self, spectrum: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.relu(self.encoder.embed(spectrum))  # (B, Da)
        return self.events(x), self.sentiment(x)  # (B, L), (B, 4)


def train_acoustic(sounds: Sequence[Sound], *, dim: int, samples: int, sample_rate_hz: int, epochs: int, seed: int,
                   done: Callable[[int, float], None] = lambda epoch, loss: None) -> AcousticEncoder:
    """The encoder after `epochs` passes over `sounds`; `done(epoch, loss)` is called after each."""
    torch.manual_seed(seed)
    random, order = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    model = _Taught(AcousticEncoder(dim, sample_rate_hz), dim, len(sounds[0].events)).train()
    model = model.to(memory_format=torch.channels_last)  # a quarter faster on the CPU
    batches = max(1, len(sounds) // BATCH)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    updates = max(2, epochs * batches)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=updates, pct_start=0.15)
    share = _shares(sounds)
    for epoch in range(epochs):
        total = 0.0
        for _ in range(batches):
            first, second = (order.choice(len(sounds), min(BATCH, len(sounds)), p=share) for _ in range(2))
            waves, events, sentiment = _mixed(sounds, first, second, samples, order)
            with torch.no_grad():
                waves = augment.begin_late(augment.degrade(waves, sample_rate_hz, random), 0.15, random)
                spectrum = augment.mask_spectrum(model.encoder.logmel(waves), random)
            heard, felt = model(spectrum)
            loss = nn.functional.binary_cross_entropy_with_logits(heard, events) * 8
            loss = loss + nn.functional.cross_entropy(felt, sentiment, ignore_index=UNKNOWN, label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += loss.item()
        done(epoch, total / batches)
    return model.encoder.eval()


def _shares(sounds: Sequence[Sound]) -> NDArray[np.float64]:
    """How often each clip is drawn: rare classes more often than they come, but not equally often."""
    classes = [(*sound.events.tolist(), sound.sentiment) for sound in sounds]
    weights = np.array([classes.count(one) ** -0.5 * (SPEECH if one[-1] > 0 else 1.0) for one in classes])
    return np.asarray(weights / weights.sum())


def _mixed(sounds: Sequence[Sound], first: NDArray[np.int64], second: NDArray[np.int64], samples: int,
           random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Windows (B, N) of one clip each, half of them with a second clip mixed in, and their targets."""
    waves, events, sentiment = [], [], []
    for one, other in zip(first, second, strict=True):
        a, b = sounds[one], sounds[other]
        wave = window(_at_another_speed(a.samples, random), samples, random)
        heard, felt = a.events, a.sentiment
        if random.random() < 0.5:  # noqa: PLR2004
            snr_db = random.uniform(-3.0, DROWNED_SNR_DB)
            wave = mix(wave, window(b.samples, samples, random), snr_db)
            audible = float(np.clip((DROWNED_SNR_DB - snr_db) / (DROWNED_SNR_DB - HEARD_SNR_DB), 0.0, 1.0))
            heard = np.maximum(heard, b.events * audible)
            felt = _felt(a.sentiment, b.sentiment, audible)
        waves.append(wave)
        events.append(heard)
        sentiment.append(felt)
    return torch.from_numpy(np.stack(waves)), torch.from_numpy(np.stack(events)), torch.tensor(sentiment)


def _felt(louder: int, fainter: int, audible: float) -> int:
    """The sentiment of two sounds together; unknown where two people speak, or it is hard to tell."""
    if fainter == 0 or (louder == 0 and audible == 0.0):
        return louder
    return fainter if louder == 0 and audible == 1.0 else UNKNOWN


def _at_another_speed(clip: NDArray[np.float16], random: np.random.Generator) -> NDArray[np.float32]:
    speed = random.uniform(*FASTER)
    at = np.arange(0, len(clip) - 1, speed)
    return np.asarray(np.interp(at, np.arange(len(clip)), clip.astype(np.float32)), np.float32)


def window(clip: NDArray[np.float16] | NDArray[np.float32], samples: int,
           random: np.random.Generator) -> NDArray[np.float32]:
    """`samples` of the clip from a random place that is not among its quiet ones."""
    wave = clip.astype(np.float32)
    if len(wave) <= samples:
        out = np.zeros(samples, np.float32)
        start = int(random.integers(0, samples - len(wave) + 1))
        out[start : start + len(wave)] = wave
        return out
    wanted = LOUD_ENOUGH * _level(wave)
    for _ in range(4):
        start = int(random.integers(0, len(wave) - samples + 1))
        out = wave[start : start + samples]
        if _level(out) >= wanted:
            break
    return out


def mix(louder: NDArray[np.float32], fainter: NDArray[np.float32], snr_db: float) -> NDArray[np.float32]:
    """Both at once, the second `snr_db` below the first; the first keeps its level."""
    level = _level(louder) * 10 ** (-snr_db / 20)
    return louder + fainter * np.float32(level / max(_level(fainter), 1e-4))


def _level(wave: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(wave)))) if len(wave) else 0.0
