from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed")

from pipeline.training.fusing import Head, _which  # noqa: E402
from pipeline.training.network import VISUAL_FEATURES, Fusion, VisualProjection  # noqa: E402
from pipeline.training.scenes.compose import MASKED  # noqa: E402
from pipeline.training.scenes.source import Scenes  # noqa: E402


def test_what_is_there_alone_is_told_from_what_is_not() -> None:
    told = torch.tensor([[[1.0, 0.0, MASKED]]])
    right, wrong = torch.tensor([[[2.0, 0.0, 9.0]]]), torch.tensor([[[0.0, 2.0, 9.0]]])
    assert _which(right, told) < 0.2  # whatever the masked one says
    assert _which(wrong, told) > 2.0


def test_two_at_once_and_nothing_at_all_are_not_asked_which() -> None:
    told = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    assert _which(torch.randn(1, 2, 2), told).item() == 0.0


def head() -> Head:
    torch.manual_seed(0)  # for what they see by, which they share
    projections = [VisualProjection(3) for _ in range(3)]
    for projection in projections:
        torch.nn.init.normal_(projection.linear.weight, std=0.02)
    torch.seed()
    return Head(projections, Fusion(visual=3, acoustic=5, labels=2, steps=4, dim=8))


def only(whole: Head, fold: int) -> Head:
    """Sees everything by one of the projections."""
    return Head([cast(VisualProjection, whole.projections[fold])], whole.fusion).eval()


def drawn() -> Scenes:
    anywhere = torch.ones(2, 4, dtype=torch.bool)
    return Scenes(visual=torch.randn(2, 4, VISUAL_FEATURES), acoustic=torch.randn(2, 4, 5), visual_valid=anywhere,
                  acoustic_valid=anywhere, events=torch.zeros(2, 4, 2), sentiment=torch.zeros(2, 4).long(),
                  fold=torch.zeros(2, 4).long())


def test_heads_together_tell_the_mean_of_what_each_tells() -> None:
    heads, scenes = [head().eval() for _ in range(3)], drawn()
    with torch.inference_mode():
        told = Head.of_all(heads).eval()(scenes)
        each = [one(scenes) for one in heads]
    for i, logits in enumerate(told):
        assert torch.allclose(logits, (each[0][i] + each[1][i] + each[2][i]) / 3, atol=1e-5)
        assert not torch.allclose(each[0][i], each[1][i], atol=1e-3)


def test_each_step_is_seen_by_what_was_taught_without_it() -> None:
    whole, scenes = head().eval(), drawn()
    other = replace(scenes, fold=torch.tensor([[0, 1, 2, 1], [2, 0, 0, 0]]))
    with torch.inference_mode():
        told = [only(whole, fold)(scenes)[0] for fold in range(3)]
        mixed = whole(other)[0]
    assert torch.allclose(mixed[:, 0], torch.stack([told[0][0, 0], told[2][1, 0]]), atol=1e-6)  # a result of its past
    assert not torch.allclose(mixed[0, 1], told[0][0, 1], atol=1e-4)
    assert only(whole, 2).projection is whole.projections[2]


def test_what_is_seen_by_is_not_taught_with_the_fusion() -> None:
    assert not any(weight.requires_grad for weight in head().projections.parameters())
