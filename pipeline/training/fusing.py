"""Train the fusion on composed scenes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn

from pipeline.training.dataset import UNKNOWN
from pipeline.training.folds import FOLDS
from pipeline.training.network import FEELINGS, VISUAL_FEATURES, Ensemble, Evidence, Fusion, Projection
from pipeline.training.scenes.compose import MASKED
from pipeline.training.scenes.source import Scenes, SceneSource

BATCH = 64
AVERAGED = 0.99  # how slowly the averaged weights, which are the ones kept, follow the trained ones


class Head(nn.Module):
    """Everything after the frozen trunks; the fusion is trained here, by what is made of others' recordings."""

    def __init__(self, visual: Sequence[Projection], acoustic: Sequence[Projection], fusion: Fusion, *,
                 foreign: bool = False) -> None:
        """`visual`, `acoustic`: what `learn_projections` gives; `foreign`: see `heard`."""
        super().__init__()
        self.visual, self.acoustic = nn.ModuleList(visual), nn.ModuleList(acoustic)
        self.fusion, self.foreign = fusion, foreign

    @classmethod
    def untaught(cls, fusion: Fusion, evidence: Evidence, heard: int, *, foreign: bool = False) -> Head:
        """One whose projections say nothing yet; `heard`: how many features a sound has."""
        visual, acoustic = ([Projection(width, outputs) for _ in range(1 + FOLDS)] for width, outputs in (
            (VISUAL_FEATURES, evidence.visual), (heard, evidence.acoustic)))
        return cls(visual, acoustic, fusion, foreign=foreign)

    @classmethod
    def of_all(cls, heads: Sequence[Head]) -> Head:
        """One that tells what they, which see alike, tell on average."""
        visual, acoustic = ([cast(Projection, one) for one in several]
                            for several in (heads[0].visual, heads[0].acoustic))
        fusion = cast(Fusion, Ensemble([head.fusion for head in heads]))  # it has the same ports
        return cls(visual, acoustic, fusion, foreign=heads[0].foreign)

    def forward(self, scenes: Scenes) -> tuple[Tensor, Tensor]:
        """Events (B, T, L) and sentiment (B, T, 4), logits."""
        visual = self.seen(scenes.visual, scenes.visual_fold)  # (B, T, Dv)
        acoustic = self.heard(scenes.acoustic, scenes.acoustic_fold)  # (B, T, Da)
        events, sentiment = self.fusion(visual, acoustic, scenes.visual_valid, scenes.acoustic_valid)
        return events, sentiment

    def seen(self, features: Tensor, fold: Tensor) -> Tensor:
        """(..., 3840), (...) -> (..., Dv), by the projection that was taught without that fold."""
        return _projected(self.visual, features, fold)

    def heard(self, features: Tensor, fold: Tensor) -> Tensor:
        """(..., A), (...) -> (..., Da).

        For our own encoder every voice sounds alike here: *how* costs as much as *what* and a fusion only passes it on.
        Whether somebody is heard at all is taught against the sum of the three, which is 1 whatever they are.
        """
        evidence = _projected(self.acoustic, features, fold)  # (..., De)
        how = features if self.foreign else torch.full_like(evidence[..., :FEELINGS], -math.log(FEELINGS))
        return torch.cat([evidence, how], dim=-1)  # (..., Da)


def _projected(projections: nn.ModuleList, features: Tensor, fold: Tensor) -> Tensor:
    """(..., width), (...) -> (..., D)."""
    out = features.new_zeros(*fold.shape, cast(Projection, projections[0]).width)
    for number, projection in enumerate(projections):
        chosen = fold == number
        if chosen.any():
            out[chosen] = projection(features[chosen])
    return out


def train_fusion(head: Head, source: SceneSource, *, steps: int, epochs: int, batches: int, seed: int,
                 done: Callable[[int, float], None] = lambda epoch, loss: None) -> Head:
    """The head after `epochs` times `batches` batches of drawn scenes; `done(epoch, loss)` is called after each."""
    torch.manual_seed(seed)
    head.train()
    averaged = deepcopy(head).eval()
    optimiser = torch.optim.AdamW(head.fusion.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 1e-3, total_steps=max(2, epochs * batches), pct_start=0.1)
    weights = source.sentiment_weights()
    for epoch in range(epochs):
        total = 0.0
        for _ in range(batches):
            loss = scene_loss(head, source.draw(BATCH, steps, dropout=True), weights)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(head.fusion.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += loss.item()
            with torch.no_grad():
                for kept, trained in zip(averaged.parameters(), head.parameters(), strict=True):
                    kept.lerp_(trained, 1 - AVERAGED)
        done(epoch, total / batches)
    return averaged


def scene_loss(head: Head, scenes: Scenes, sentiment_weights: Tensor) -> Tensor:
    """Every step's known events, which of them it is where there is only one, and sentiment."""
    events, sentiment = head(scenes)
    known = scenes.events != MASKED
    there = nn.functional.binary_cross_entropy_with_logits(events[known], scenes.events[known])
    felt = nn.functional.cross_entropy(sentiment.flatten(0, 1), scenes.sentiment.flatten(), sentiment_weights,
                                       ignore_index=UNKNOWN)
    return there * 8 + _which(events, scenes.events) * 2 + felt


def _which(events: Tensor, told: Tensor) -> Tensor:
    """The one that is there against all that are not.

    Labels learnt each for itself do not learn to be told apart: of the sounds of unseen recordings two to three
    points more are named rightly with this.
    """
    single = (told == 1.0).sum(2) == 1  # (B, T)
    if not single.any():
        return events.new_zeros(())
    offered = events.masked_fill(told == MASKED, -1e4)[single]  # (steps, L)
    return nn.functional.cross_entropy(offered, told[single].argmax(1))
