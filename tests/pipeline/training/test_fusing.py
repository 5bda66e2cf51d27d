from __future__ import annotations

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
    return Head(VisualProjection(3, dropout=0.5), Fusion(visual=3, acoustic=5, labels=2, steps=4, dim=8))


def test_heads_together_tell_the_mean_of_what_each_tells_of_what_it_sees_itself() -> None:
    heads = [head().eval() for _ in range(3)]
    for one in heads:
        one.projection.mean.fill_(0.5)
        one.projection.std.fill_(2.0)
    anywhere = torch.ones(2, 4, dtype=torch.bool)
    scenes = Scenes(visual=torch.randn(2, 4, VISUAL_FEATURES), acoustic=torch.randn(2, 4, 5), visual_valid=anywhere,
                    acoustic_valid=anywhere, events=torch.zeros(2, 4, 2), sentiment=torch.zeros(2, 4).long())
    with torch.inference_mode():
        told = Head.of_all(heads).eval()(scenes)
        each = [one(scenes) for one in heads]
    for i, logits in enumerate(told):
        assert torch.allclose(logits, (each[0][i] + each[1][i] + each[2][i]) / 3, atol=1e-5)
        assert not torch.allclose(each[0][i], each[1][i], atol=1e-3)


def test_what_heads_together_see_comes_out_side_by_side() -> None:
    heads, features = [head().eval() for _ in range(2)], torch.randn(7, VISUAL_FEATURES)
    with torch.inference_mode():
        seen = Head.of_all(heads).eval().projection(features)
        assert torch.allclose(seen, torch.cat([one.projection(features) for one in heads], dim=1), atol=1e-5)
