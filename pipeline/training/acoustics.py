"""Train the acoustic encoder on clips of sound, two seconds at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.training import augment
from pipeline.training.features import Features
from pipeline.training.network import SENTIMENT_CLASSES, AcousticEncoder, AcousticTrunk

UNKNOWN = -1  # a sentiment nobody has labelled
BATCH = 64
RATE, TRUNK_RATE = 1e-3, 1e-4  # of learning: what the trunk was taught before is worth more than what is taught here
LEARNT = 0.5  # share of what was learnt here in the trunk's weights; the rest is what it was taught before
FASTER = (0.88, 1.12)  # how much a clip is sped up or slowed down, which moves its pitch too
LOUD_ENOUGH = 0.3  # of the clip's own level, for a window to carry the clip's label
MIXED = 0.4  # of the Beta distribution that says how much of two sounds is in their mixture: mostly one of them
QUIETEST = 1e-3  # a fainter sound is not raised to another's level: it would be noise


@dataclass(frozen=True)
class Sound:
    """A clip's sound and what is heard in it."""

    samples: NDArray[np.float16]  # (n,) -1..1
    label: str  # as finely as somebody has said: `angry` teaches more than that it is negative
    sentiment: int  # 0 nobody heard, 1 negative, 2 neutral, 3 positive, or UNKNOWN


def sounds_of(clips: Iterable[Features]) -> list[Sound]:
    """Of the clips that are only heard: what sounds while something is seen, nobody has labelled."""
    return [Sound(clip.samples, clip.row.label, clip.row.sentiment) for clip in clips if clip.heard and not clip.seen]


class _Taught(nn.Module):
    """The encoder with the heads that teach it; they are thrown away afterwards."""

    def __init__(self, encoder: AcousticEncoder, dim: int, labels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.label = nn.Linear(dim, labels)
        self.sentiment = nn.Linear(dim, SENTIMENT_CLASSES)

    def forward(self, spectrum: Tensor) -> tuple[Tensor, Tensor]:
        x = self.encoder.what(spectrum)  # (B, dim)
        return self.label(x), self.sentiment(x)  # (B, L), (B, 4)


def train_acoustic(sounds: Sequence[Sound], *, dim: int, samples: int, sample_rate_hz: int, epochs: int, seed: int,
                   done: Callable[[int, float], None] = lambda epoch, loss: None) -> AcousticEncoder:
    """The encoder after `epochs` passes over `sounds`; `done(epoch, loss)` is called after each."""
    torch.manual_seed(seed)
    random, order = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    labels = sorted({sound.label for sound in sounds})
    taught = torch.tensor([labels.index(sound.label) for sound in sounds])  # (sounds,)
    felt = torch.tensor([sound.sentiment for sound in sounds])  # (sounds,)
    encoder = AcousticEncoder(dim, sample_rate_hz)
    model = _Taught(encoder, dim, len(labels)).train()
    layers = nn.ModuleList(list(encoder.trunk)[encoder.KEPT :])
    encoder.trunk.requires_grad_(False)
    layers.requires_grad_(True)
    encoder.trunk.eval()  # the statistics of its normalisation stay those of the millions of sounds it has heard
    model = model.to(memory_format=torch.channels_last)  # a third faster on the CPU
    batches = max(1, len(sounds) // BATCH)
    heads = [*encoder.linear.parameters(), *model.label.parameters(), *model.sentiment.parameters()]
    optimiser = torch.optim.AdamW([{"params": list(layers.parameters())}, {"params": heads}], weight_decay=0.05)
    updates = max(2, epochs * batches)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [TRUNK_RATE, RATE], total_steps=updates, pct_start=0.15)
    for epoch in range(epochs):
        total = 0.0
        for chosen in np.array_split(order.permutation(len(sounds)), batches):
            waves = np.stack([window(_at_another_speed(sounds[i].samples, order), samples, order) for i in chosen])
            first = torch.from_numpy(chosen)
            share = torch.from_numpy(order.beta(MIXED, MIXED, len(chosen)).astype(np.float32))  # (B,)
            other = torch.from_numpy(order.permutation(len(chosen)))
            with torch.no_grad():
                heard = _mixed(torch.from_numpy(waves), other, share)
                heard = augment.begin_late(augment.degrade(heard, sample_rate_hz, random), 0.1, random)
                spectrum = augment.mask_spectrum(encoder.logmel(heard), random)
            answers, target = model(spectrum), (taught[first], felt[first])
            loss = (share * _wrong(answers, target)
                    + (1 - share) * _wrong(answers, (target[0][other], target[1][other]))).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += loss.item()
        done(epoch, total / batches)
    _remember(encoder.trunk)
    encoder.eval().fit(torch.from_numpy(np.stack([window(sound.samples, samples, order) for sound in sounds])))
    return encoder


def _remember(trunk: AcousticTrunk) -> None:
    """Half-way back to the weights that it began with: what it knew holds for recordings that nothing here is like.

    With all layers taught, a probe got 0.73 of the sounds of other sources with what was learnt, 0.79 without and 0.77
    half-way; with only the last ones taught, as now, 0.79 half-way.

    Source: Wortsman et al., Robust fine-tuning of zero-shot models (CVPR 2022).
    """
    before = AcousticTrunk().state_dict()
    trunk.load_state_dict({name: torch.lerp(before[name], weights, LEARNT) if weights.is_floating_point() else weights
                           for name, weights in trunk.state_dict().items()})


def _wrong(answers: tuple[Tensor, Tensor], target: tuple[Tensor, Tensor]) -> Tensor:
    """How wrong each of the answers is, (B,); an unknown sentiment cannot be wrong."""
    label, sentiment = (
        nn.functional.cross_entropy(answer, wanted, ignore_index=UNKNOWN, reduction="none")
        for answer, wanted in zip(answers, target, strict=True))
    return label + 0.7 * sentiment


def _mixed(waves: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """(B, N): each wave with the `other` (B,) one, brought to its level; `share` (B,) of the power is its own."""
    level = waves.square().mean(1).sqrt()  # (B,)
    raised = waves[other] * (level / level[other].clamp(min=QUIETEST)).unsqueeze(1)  # (B, N)
    return share.sqrt().unsqueeze(1) * waves + (1 - share).sqrt().unsqueeze(1) * raised


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
