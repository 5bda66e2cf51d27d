from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed")

from operators.models.bundle import Sense  # noqa: E402
from pipeline.training.fusing import Head, _which  # noqa: E402
from pipeline.training.network import FEELINGS, VISUAL_FEATURES, Fusion, Projection, evidence_of  # noqa: E402
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


SENSES: list[Sense] = ["visual", "acoustic"]
EVIDENCE = evidence_of(SENSES)
HEARD = 11  # features of a sound


def head(*, foreign: bool = False) -> Head:
    torch.manual_seed(0)  # for what they see and hear by, which they share
    seen, heard = ([Projection(width, outputs) for _ in range(3)] for width, outputs in (
        (VISUAL_FEATURES, EVIDENCE.visual), (HEARD, EVIDENCE.acoustic)))
    for projection in (*seen, *heard):
        torch.nn.init.normal_(projection.linear.weight, std=0.02)
    torch.seed()
    acoustic = EVIDENCE.acoustic + (HEARD if foreign else FEELINGS)
    fusion = Fusion(visual=EVIDENCE.visual, acoustic=acoustic, senses=SENSES, steps=4, dim=8)
    for weights in fusion.parameters():
        torch.nn.init.normal_(weights, std=0.2)
    return Head(seen, heard, fusion, foreign=foreign)


def only(whole: Head, seen: int, heard: int) -> Head:
    """Sees everything by one of the projections, and hears by one."""
    visual, acoustic = cast(Projection, whole.visual[seen]), cast(Projection, whole.acoustic[heard])
    return Head([visual], [acoustic], whole.fusion).eval()


def drawn() -> Scenes:
    anywhere, none = torch.ones(2, 4, dtype=torch.bool), torch.zeros(2, 4).long()
    return Scenes(visual=torch.randn(2, 4, VISUAL_FEATURES), acoustic=torch.randn(2, 4, HEARD), visual_valid=anywhere,
                  acoustic_valid=anywhere, events=torch.zeros(2, 4, 2), sentiment=none, visual_fold=none,
                  acoustic_fold=none)


def test_heads_together_tell_the_mean_of_what_each_tells() -> None:
    heads, scenes = [head().eval() for _ in range(3)], drawn()
    with torch.inference_mode():
        told = Head.of_all(heads).eval()(scenes)
        each = [one(scenes) for one in heads]
    for i, logits in enumerate(told):
        assert torch.allclose(logits, (each[0][i] + each[1][i] + each[2][i]) / 3, atol=1e-5)
        assert not torch.allclose(each[0][i], each[1][i], atol=1e-3)


def test_each_step_is_seen_and_heard_by_what_was_taught_without_it() -> None:
    whole, scenes = head().eval(), drawn()
    other = replace(scenes, visual_fold=torch.tensor([[0, 1, 2, 1], [2, 0, 0, 0]]),
                    acoustic_fold=torch.tensor([[1] * 4, [0] * 4]))
    with torch.inference_mode():
        mixed = whole(other)[0]
        first = [only(whole, *folds)(scenes)[0][row, 0] for row, folds in enumerate(((0, 1), (2, 0)))]
        by_all = only(whole, 0, 0)(scenes)[0]
    assert torch.allclose(mixed[:, 0], torch.stack(first), atol=1e-6)  # a result of its past
    for row, step, label in ((0, 1, 0), (0, 1, 1), (1, 0, 0)):
        assert not torch.allclose(mixed[row, step, label], by_all[row, step, label], atol=1e-4)
    assert torch.allclose(mixed[1, 0, 1], by_all[1, 0, 1], atol=1e-6)  # heard by what hears all


def test_what_is_seen_and_heard_by_is_not_taught_with_the_fusion() -> None:
    whole = head()
    assert not any(weight.requires_grad for part in (whole.visual, whole.acoustic) for weight in part.parameters())


def test_how_it_sounds_is_nothing_to_learn_from_unless_another_encoder_says_it() -> None:
    features, fold = torch.randn(2, 4, HEARD), torch.zeros(2, 4).long()
    ours, foreign = (head(foreign=one).heard(features, fold) for one in (False, True))
    assert torch.allclose(ours[..., EVIDENCE.acoustic :], torch.tensor(-math.log(3.0)))
    assert torch.equal(foreign[..., EVIDENCE.acoustic :], features)
    assert torch.equal(ours[..., : EVIDENCE.acoustic], foreign[..., : EVIDENCE.acoustic])
