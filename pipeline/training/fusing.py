"""Train the fusion on composed scenes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn

from pipeline.training.dataset import UNKNOWN
from pipeline.training.network import Ensemble, Fusion, VisualProjection
from pipeline.training.scenes.compose import MASKED
from pipeline.training.scenes.source import Scenes, SceneSource

BATCH = 64
AVERAGED = 0.99  # how slowly the averaged weights, which are the ones kept, follow the trained ones


class Head(nn.Module):
    """Everything after the frozen trunks; the fusion is trained here, by what is made of others' recordings."""

    def __init__(self, projections: Sequence[VisualProjection], fusion: Fusion) -> None:
        """`projections`: see `learn_projections`."""
        super().__init__()
        self.projections = nn.ModuleList(projections)
        self.fusion = fusion

    @property
    def projection(self) -> VisualProjection:
        """The one that serves."""
        return cast(VisualProjection, self.projections[0])

    @classmethod
    def of_all(cls, heads: Sequence[Head]) -> Head:
        """One that tells what they, which see alike, tell on average."""
        projections = [cast(VisualProjection, one) for one in heads[0].projections]
        return cls(projections, cast(Fusion, Ensemble([head.fusion for head in heads])))  # it has the same ports

    def forward(self, scenes: Scenes) -> tuple[Tensor, Tensor]:
        """Events (B, T, L) and sentiment (B, T, 4), logits."""
        seen = torch.stack([one(scenes.visual) for one in self.projections], dim=2)  # (B, T, 1 + FOLDS, Dv)
        fold = scenes.fold[..., None, None].expand(-1, -1, 1, seen.shape[3])  # (B, T, 1, Dv)
        visual = seen.gather(2, fold).squeeze(2)  # (B, T, Dv)
        events, sentiment = self.fusion(visual, scenes.acoustic, scenes.visual_valid, scenes.acoustic_valid)
        return events, sentiment


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
