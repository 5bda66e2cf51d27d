"""Train the acoustic encoder on clips of sound, two seconds at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.training import augment
from pipeline.training.dataset import UNKNOWN
from pipeline.training.feelings import felt_in, learn_feelings
from pipeline.training.network import SENTIMENT_CLASSES, AcousticEncoder, AcousticTrunk
from pipeline.training.sounds import Sound, at_another_speed, window

BATCH = 64
RATE, TRUNK_RATE = 1e-3, 1e-4  # of learning: what the trunk was taught before is worth more than what is taught here
LEARNT = 0.5  # share of what was learnt here in the trunk's weights; the rest is what it was taught before
MIXED = 0.4  # of the Beta distribution that says how much of two sounds is in their mixture: mostly one of them
QUIETEST = 1e-3  # a fainter sound is not raised to another's level: it would be noise


class _Taught(nn.Module):
    """The encoder with the heads that teach it; they are thrown away afterwards."""

    def __init__(self, encoder: AcousticEncoder, labels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(0.4)
        self.label = nn.Linear(AcousticTrunk.WIDTH, labels)
        self.sentiment = nn.Linear(AcousticTrunk.WIDTH, SENTIMENT_CLASSES)

    def forward(self, spectrum: Tensor) -> tuple[Tensor, Tensor]:
        x = self.dropout(self.encoder.what(spectrum))  # (B, 1024)
        return self.label(x), self.sentiment(x)  # (B, L), (B, 4)


def train_acoustic(sounds: Sequence[Sound], *, samples: int, sample_rate_hz: int, epochs: int, seed: int,
                   done: Callable[[int, float], None] = lambda epoch, loss: None) -> AcousticEncoder:
    """The encoder after `epochs` passes over `sounds`; `done(epoch, loss)` is called after each."""
    torch.manual_seed(seed)
    random, order = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    labels = sorted({sound.label for sound in sounds})
    taught = torch.tensor([labels.index(sound.label) for sound in sounds])  # (sounds,)
    felt = torch.tensor([sound.sentiment for sound in sounds])  # (sounds,)
    encoder = AcousticEncoder(sample_rate_hz, felt_in(sounds))
    model = _Taught(encoder, len(labels)).train()
    layers = nn.ModuleList(list(encoder.trunk)[encoder.KEPT :])
    encoder.trunk.requires_grad_(False)
    layers.requires_grad_(True)
    encoder.trunk.eval()  # the statistics of its normalisation stay those of the millions of sounds it has heard
    model = model.to(memory_format=torch.channels_last)  # a third faster on the CPU
    batches = max(1, len(sounds) // BATCH)
    heads = [*model.label.parameters(), *model.sentiment.parameters()]
    optimiser = torch.optim.AdamW([{"params": list(layers.parameters())}, {"params": heads}], weight_decay=0.05)
    updates = max(2, epochs * batches)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [TRUNK_RATE, RATE], total_steps=updates, pct_start=0.15)
    for epoch in range(epochs):
        total = 0.0
        for chosen in np.array_split(order.permutation(len(sounds)), batches):
            waves = np.stack([window(at_another_speed(sounds[i].samples, order), samples, order) for i in chosen])
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
    encoder.eval()
    learn_feelings(encoder.how, encoder.statistics, sounds, samples=samples, sample_rate_hz=sample_rate_hz, seed=seed)
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
