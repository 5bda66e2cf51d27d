"""Other ways of fusing behind the ports of `Fusion`: what `lookout evaluate --compare` measures it against.

All are trained alike and given the same: the evidence of each sense for each label, what is seen as its mean of
the last seconds too; and every step is a result of its past only. They differ in how the senses meet.
Shapes stand on every line that changes them: B batch, T steps, D width, L labels.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol, cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from operators.models.bundle import Sense
from pipeline.training.network import SENTIMENT_CLASSES, Fusion, evidence_of

OneOf = Literal["visual", "acoustic"]
Logits = tuple[Tensor, Tensor]  # events (B, T, L), sentiment (B, T, 4)


class LateFusion(nn.Module):
    """Each sense by itself up to its embedding of a step; a subclass joins the two."""

    def __init__(self, *, visual: int, senses: Sequence[Sense], joined: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.evident = evidence_of(senses).acoustic
        self.visual_in, self.acoustic_in = nn.Linear(visual, dim), nn.Linear(self.evident, dim)
        self.missing = nn.Parameter(torch.randn(2, dim) * 0.02)  # stands where a sense has nothing
        self.norm = nn.LayerNorm(joined)
        self.events, self.sentiment = (
            nn.Sequential(nn.Linear(joined, dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(dim, outputs))
            for outputs in (len(senses), SENTIMENT_CLASSES))

    def forward(self, visual: Tensor, acoustic: Tensor, visual_valid: Tensor, acoustic_valid: Tensor) -> Logits:
        """(B, T, Dv), (B, T, Da), masks bool (B, T) -> events (B, T, L), sentiment (B, T, 4), logits."""
        visual = recent(visual, visual_valid, Fusion.SEEN_STEPS)  # (B, T, Dv)
        acoustic = acoustic[..., : self.evident]  # (B, T, De)
        v = torch.where(visual_valid.unsqueeze(2), self.visual_in(visual), self.missing[0])  # (B, T, D)
        a = torch.where(acoustic_valid.unsqueeze(2), self.acoustic_in(acoustic), self.missing[1])  # (B, T, D)
        both = self.norm(self.join(v, a, visual_valid, acoustic_valid))  # (B, T, J)
        return self.events(both), self.sentiment(both)  # (B, T, L), (B, T, 4)

    @abstractmethod
    def join(self, v: Tensor, a: Tensor, visual_valid: Tensor, acoustic_valid: Tensor) -> Tensor:
        """(B, T, D) twice and their masks (B, T) -> (B, T, J)."""


class Concatenation(LateFusion):
    """Side by side; the heads make of it what they can."""

    def __init__(self, *, visual: int, senses: Sequence[Sense], dim: int = 128, dropout: float = 0.2) -> None:
        super().__init__(visual=visual, senses=senses, joined=2 * dim, dim=dim, dropout=dropout)

    @override
    def join(self, v: Tensor, a: Tensor, visual_valid: Tensor, acoustic_valid: Tensor) -> Tensor:
        return torch.cat([v, a], dim=2)  # (B, T, 2D)


class WeightedSum(LateFusion):
    """A learned gate weighs one sense against the other, channel by channel; one that is missing weighs nothing."""

    def __init__(self, *, visual: int, senses: Sequence[Sense], dim: int = 128, dropout: float = 0.2) -> None:
        super().__init__(visual=visual, senses=senses, joined=dim, dim=dim, dropout=dropout)
        self.gate = nn.Linear(2 * dim, 2 * dim)

    @override
    def join(self, v: Tensor, a: Tensor, visual_valid: Tensor, acoustic_valid: Tensor) -> Tensor:
        score = self.gate(torch.cat([v, a], dim=2)).unflatten(2, (2, v.shape[2]))  # (B, T, 2, D)
        valid = torch.stack([visual_valid, acoustic_valid], dim=2).unsqueeze(3)  # (B, T, 2, 1)
        weight = torch.softmax(torch.where(valid, score, -1e9), dim=2)  # (B, T, 2, D), sums to 1 over the senses
        return (weight * torch.stack([v, a], dim=2)).sum(2)  # (B, T, D)


class Recurrent(LateFusion):
    """Side by side through a small GRU, which remembers what the step itself does not show."""

    def __init__(self, *, visual: int, senses: Sequence[Sense], dim: int = 128, dropout: float = 0.2) -> None:
        super().__init__(visual=visual, senses=senses, joined=dim, dim=dim, dropout=dropout)
        self.gru = nn.GRU(2 * dim, dim, batch_first=True)
        self.dropout = nn.Dropout(dropout)

    @override
    def join(self, v: Tensor, a: Tensor, visual_valid: Tensor, acoustic_valid: Tensor) -> Tensor:
        remembered, _ = self.gru(self.dropout(torch.cat([v, a], dim=2)))  # (B, T, 2D) -> (B, T, D)
        return cast(Tensor, remembered)  # (B, T, D)


class OneSense(nn.Module):
    """`Fusion` that is never given the other sense: the most that one sense tells in the same network."""

    def __init__(self, sense: OneOf, fusion: Fusion) -> None:
        super().__init__()
        self.sense, self.fusion = sense, fusion

    def forward(self, visual: Tensor, acoustic: Tensor, visual_valid: Tensor, acoustic_valid: Tensor) -> Logits:
        """(B, T, Dv), (B, T, Da), masks bool (B, T) -> events (B, T, L), sentiment (B, T, 4), logits."""
        visual_valid = visual_valid & (self.sense == "visual")  # (B, T)
        acoustic_valid = acoustic_valid & (self.sense == "acoustic")  # (B, T)
        return cast(Logits, self.fusion(visual, acoustic, visual_valid, acoustic_valid))


def recent(x: Tensor, valid: Tensor, count: int) -> Tensor:
    """The mean of the valid ones among the newest `count` steps, as `Fusion` takes it: (B, T, D) -> (B, T, D)."""
    summed = torch.where(valid.unsqueeze(2), x, 0.0).cumsum(1)  # (B, T, D)
    counted = valid.to(x.dtype).unsqueeze(2).cumsum(1)  # (B, T, 1)
    before = (nn.functional.pad(sums, (0, 0, count, 0))[:, : x.shape[1]] for sums in (summed, counted))  # as they are
    return (summed - next(before)) / (counted - next(before)).clamp(min=1.0)  # (B, T, D)


class Method(Protocol):
    """Makes an untrained fusion for embeddings of these widths and labels of these senses."""

    def __call__(self, *, visual: int, acoustic: int, senses: Sequence[Sense], steps: int) -> nn.Module:
        """`steps`: T."""


def _late(kind: Callable[..., LateFusion]) -> Method:
    return lambda *, visual, acoustic, senses, steps: kind(visual=visual, senses=senses)


def _alone(sense: OneOf) -> Method:
    return lambda *, visual, acoustic, senses, steps: OneSense(
        sense, Fusion(visual=visual, acoustic=acoustic, senses=senses, steps=steps))


OURS, ALIGNED = "cross_attention", "aligned_cross_attention"
LATE = ("concatenation", "weighted_sum", "gru")
METHODS: Mapping[str, Method] = {  # in the order of the table
    "visual": _alone("visual"),
    "acoustic": _alone("acoustic"),
    "concatenation": _late(Concatenation),
    "weighted_sum": _late(WeightedSum),
    "gru": _late(Recurrent),
    OURS: Fusion,
    ALIGNED: Fusion,  # after contrastive pre-training on the fold's clips with picture and sound
}
