"""Teach a linear map how voices sound, by itself and from voices alone.

Four of a hundred steps carry a voice of known feeling, from few actors: what learnt them together with the events, and
from all that the senses had made of one another, told 0.65 of the feelings of other actors. By itself it tells 0.74,
and 0.77 where it learns every manner of speaking that somebody has named, which are summed up afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.training import augment
from pipeline.training.dataset import NOBODY
from pipeline.training.network import FEELINGS, Manner
from pipeline.training.sounds import Sound, at_another_speed

TAKES = 3  # of each voice: as it is, and at other speeds and degraded
WINDOW_HOPS = 4  # steps of a window, each of which serving hears
AUDIBLE = 0.15  # of the clip's own level, for a voice to be heard in a step
BATCH, UPDATES = 128, 1500
RATE, FASTEST, DECAY = 1.0, 0.03, 1e-3  # of learning; the first and the last for one number
LEAST_STD = 0.03  # of a number among voices; many are nearly always 0


def manners_of(sounds: Sequence[Sound]) -> list[tuple[int, str]]:
    """What the voices of known feeling are labelled, each with what is felt: 0 negative, 1 neutral, 2 positive."""
    return sorted({(sound.sentiment - 1, sound.label) for sound in sounds if sound.sentiment > NOBODY})


def felt_in(sounds: Sequence[Sound]) -> list[int]:
    """What is felt in each of the manners; just the three where nobody speaks."""
    return [felt for felt, _ in manners_of(sounds)] or list(range(FEELINGS))


def learn_feelings(manner: Manner, hear: Callable[[Tensor], Tensor], sounds: Sequence[Sound], *, samples: int,
                   sample_rate_hz: int, seed: int) -> None:
    """Teach `manner`, in place, what `hear` makes of voices: (B, samples) -> (B, width). Without any it stays as it is.

    Voices are heard as in serving: the last `samples` up to every step.
    """
    random, order = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    manners, voices = manners_of(sounds), [sound for sound in sounds if sound.sentiment > NOBODY]
    heard, spoken = list[Tensor](), list[int]()
    for take in range(TAKES):
        for voice in voices:
            wave = torch.from_numpy(voice.samples.astype(np.float32))
            if take > 0:
                faster = torch.from_numpy(at_another_speed(voice.samples, order))
                wave = augment.degrade(faster.unsqueeze(0), sample_rate_hz, random)[0]
            windows = _up_to_every_step(wave, samples, samples // WINDOW_HOPS)  # (n, samples)
            with torch.no_grad():
                heard.append(hear(windows))
            spoken += [manners.index((voice.sentiment - 1, voice.label))] * len(windows)
    if heard:
        teach(manner, torch.cat(heard), torch.tensor(spoken), seed=seed)


def teach(manner: Manner, x: Tensor, spoken: Tensor, *, seed: int) -> None:
    """Teach `manner`, in place, to tell of (N, width) in which manner each is spoken, (N,)."""
    torch.manual_seed(seed)
    manner.mean.copy_(x.mean(0))
    manner.std.copy_(x.std(0, correction=0) + LEAST_STD)  # there may be one alone
    met = torch.bincount(spoken, minlength=len(manner.felt)).float()  # (manners,)
    manner.share.copy_((met @ manner.felt).clamp(min=1.0) / len(spoken))
    manner.linear.reset_parameters()
    width = x.shape[1]  # the more numbers there are, the further a step of each moves an answer
    optimiser = torch.optim.AdamW([{"params": [manner.linear.weight], "weight_decay": DECAY * width},
                                   {"params": [manner.linear.bias], "weight_decay": 0.0}])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [min(FASTEST, RATE / width), FASTEST],
                                                   total_steps=UPDATES)
    manner.train()
    for _ in range(UPDATES):
        chosen = torch.randint(len(x), (BATCH,))
        loss = nn.functional.cross_entropy(manner.manners(x[chosen]), spoken[chosen])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    manner.eval()


def _up_to_every_step(wave: Tensor, samples: int, hop: int) -> Tensor:
    """(n,) -> (steps, samples) as serving hears it, without the steps in which next to nothing is heard."""
    windows = nn.functional.pad(wave, (samples - hop, -len(wave) % hop)).unfold(0, samples, hop)  # (steps, samples)
    loud = windows[:, -hop:].square().mean(1).sqrt() >= AUDIBLE * wave.square().mean().sqrt()  # (steps,)
    return windows[loud]
