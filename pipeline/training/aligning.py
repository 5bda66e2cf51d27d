"""Contrastive audio-visual pre-training: what is seen and what is heard at one moment belong together.

It needs no labels. Each sense's entrance to the fusion learns to say of a moment what the other's says,
and of no moment of another recording (InfoNCE in both directions, as CLIP pairs pictures with words).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.training.features import Features
from pipeline.training.frozen import Frozen
from pipeline.training.fusing import Head
from pipeline.training.scenes.compose import Shape, own_sound
from pipeline.training.scenes.source import encode

BATCH = 64  # recordings, one moment of each: two moments of one recording are no good opposites
SHARPEST = 100.0  # what a cosine is multiplied with at most


@dataclass(frozen=True)
class Pair:
    """The moments of one recording."""

    visual: NDArray[np.float16]  # (S, 3840) trunk features
    acoustic: NDArray[np.float16]  # (S, A) trunk features


def pairs_of(clips: Sequence[Features], encoder: Frozen, hop: int) -> list[Pair]:
    """Of the clips with picture and sound; `hop` is the samples per step."""
    pairs = []
    for clip in clips:
        if clip.seen and clip.heard:
            visual = clip.visual[0]  # (S, 3840)
            heard = encode(own_sound(clip, Shape(len(visual), hop, ())), encoder, hop)
            pairs.append(Pair(visual, heard.acoustic))
    return pairs


def align(head: Head, pairs: Sequence[Pair], *, updates: int, seed: int,
          done: Callable[[int, float], None] = lambda update, loss: None) -> None:
    """Train the entrances of `head` in place; fewer than two recordings leave it as it is."""
    if len(pairs) < 2:  # noqa: PLR2004 - nothing to tell a pair from
        return
    random = np.random.default_rng(seed)
    fusion = head.fusion
    sharpness = nn.Parameter(torch.tensor(math.log(10.0)))
    trained = [*fusion.visual_in.parameters(), *fusion.acoustic_in.parameters()]
    optimiser = torch.optim.AdamW([*trained, sharpness], lr=1e-3, weight_decay=0.05)
    head.train()
    for update in range(updates):
        chosen = [pairs[i] for i in random.permutation(len(pairs))[:BATCH]]
        moments = [int(random.integers(len(pair.visual))) for pair in chosen]
        visual = _stack([pair.visual[i] for pair, i in zip(chosen, moments, strict=True)])  # (B, 3840)
        acoustic = _stack([pair.acoustic[i] for pair, i in zip(chosen, moments, strict=True)])  # (B, A)
        alike = agreement(head, visual, acoustic) * sharpness.exp().clamp(max=SHARPEST)  # (B, B)
        true = torch.arange(len(chosen))
        loss = nn.functional.cross_entropy(alike, true) + nn.functional.cross_entropy(alike.T, true)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        done(update, loss.item() / 2)


def agreement(head: Head, visual: Tensor, acoustic: Tensor) -> Tensor:
    """Cosine (B, B) of what is seen (B, 3840), by row, and heard (B, A), by column, as they enter the fusion."""
    served, fusion = torch.zeros(len(visual), dtype=torch.int64), head.fusion
    v = nn.functional.normalize(fusion.visual_in(head.seen(visual, served)), dim=1)  # (B, D)
    heard = head.heard(acoustic, served)[:, fusion.beside]  # (B, Db)
    a = nn.functional.normalize(fusion.acoustic_in(heard), dim=1)  # (B, D)
    return v @ a.T  # (B, B)


def _stack(rows: Sequence[NDArray[np.float16]]) -> Tensor:
    return torch.from_numpy(np.stack(rows).astype(np.float32))
