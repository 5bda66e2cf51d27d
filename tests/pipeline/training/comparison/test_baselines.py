from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the train extra is not installed")

import torch

from operators.models.bundle import Sense
from pipeline.training.comparison.baselines import METHODS, recent
from pipeline.training.network import FEELINGS, Fusion, evidence_of

SENSES: list[Sense] = ["both", "visual", "acoustic"]
EVIDENCE = evidence_of(SENSES)
STEPS, VISUAL, ACOUSTIC, LABELS = 8, EVIDENCE.visual, EVIDENCE.acoustic + FEELINGS, len(SENSES)
MOST_PARAMETERS = 1_500_000

Inputs = list[torch.Tensor]


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def fusion(method: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return METHODS[method](visual=VISUAL, acoustic=ACOUSTIC, senses=SENSES, steps=STEPS).eval()


@pytest.fixture
def inputs() -> Inputs:
    torch.manual_seed(1)
    return [torch.randn(2, STEPS, VISUAL), torch.randn(2, STEPS, ACOUSTIC), torch.rand(2, STEPS) < 0.8,
            torch.rand(2, STEPS) < 0.8]


def test_every_method_keeps_the_ports_of_the_fusion(fusion: torch.nn.Module, inputs: Inputs) -> None:
    events, sentiment = fusion(*inputs)
    assert events.shape == (2, STEPS, LABELS)
    assert sentiment.shape == (2, STEPS, 4)
    assert torch.isfinite(events).all()


def test_the_future_changes_nothing(fusion: torch.nn.Module, inputs: Inputs) -> None:
    before = fusion(*inputs)
    changed = [array.clone() for array in inputs]
    for array in changed[:2]:
        array[:, 4:] = 100 * torch.randn_like(array[:, 4:])
    for mask in changed[2:]:
        mask[:, 4:] = ~mask[:, 4:]
    for one, other in zip(before, fusion(*changed), strict=True):
        assert torch.allclose(one[:, :4], other[:, :4], atol=1e-5)


@pytest.mark.parametrize("garbage", [1e6, float("nan")])
def test_what_lies_in_steps_that_are_not_valid_changes_nothing(
        fusion: torch.nn.Module, inputs: Inputs, garbage: float) -> None:
    visual, acoustic, seen, heard = inputs
    spoilt = (visual.masked_fill(~seen.unsqueeze(2), garbage), acoustic.masked_fill(~heard.unsqueeze(2), garbage))
    for one, other in zip(fusion(*inputs), fusion(*spoilt, seen, heard), strict=True):
        assert torch.equal(one, other)


def test_each_sense_counts_unless_the_method_has_only_the_other(
        method: str, fusion: torch.nn.Module, inputs: Inputs) -> None:
    before = fusion(*inputs)[0]
    for sense, index in (("visual", 0), ("acoustic", 1)):
        changed = [array.clone() for array in inputs]
        changed[index] = torch.randn_like(changed[index])
        alone = method in ("visual", "acoustic") and method != sense
        assert torch.equal(before, fusion(*changed)[0]) is alone


def test_they_are_small(method: str) -> None:
    fusion = METHODS[method](visual=256, acoustic=256, senses=["both"] * 13, steps=16)
    assert sum(weight.numel() for weight in fusion.parameters()) <= MOST_PARAMETERS


def test_pictures_enter_as_they_do_in_the_fusion(inputs: Inputs) -> None:
    visual, _, seen, _ = inputs
    ours = Fusion(visual=VISUAL, acoustic=ACOUSTIC, senses=SENSES, steps=STEPS).recent(visual, seen)
    assert torch.allclose(recent(visual, seen, Fusion.SEEN_STEPS), ours, atol=1e-5)
