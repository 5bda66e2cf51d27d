from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the train extra is not installed")

import torch  # noqa: E402

from pipeline.training.network import AcousticTrunk, Fusion, LogMel, ServedFusion  # noqa: E402

STEPS, VISUAL, ACOUSTIC, LABELS = 8, 12, 10, 3


@pytest.fixture
def fusion() -> Fusion:
    torch.manual_seed(0)
    return Fusion(visual=VISUAL, acoustic=ACOUSTIC, labels=LABELS, steps=STEPS, dim=16, heads=2).eval()


@pytest.fixture
def inputs() -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(2, STEPS, VISUAL), torch.randn(2, STEPS, ACOUSTIC), torch.rand(2, STEPS) < 0.8,
            torch.rand(2, STEPS) < 0.8]


def test_the_future_changes_nothing(fusion: Fusion, inputs: list[torch.Tensor]) -> None:
    before = fusion(*inputs)
    for now in range(STEPS - 1):
        changed = [array.clone() for array in inputs]
        for array in changed[:2]:
            array[:, now + 1 :] = 100 * torch.randn_like(array[:, now + 1 :])
        for mask in changed[2:]:
            mask[:, now + 1 :] = ~mask[:, now + 1 :]
        for one, other in zip(before, fusion(*changed), strict=True):
            assert torch.allclose(one[:, : now + 1], other[:, : now + 1], atol=1e-6)


def test_the_past_does_change_something(fusion: Fusion, inputs: list[torch.Tensor]) -> None:
    inputs[3][:, 0] = True
    changed = [array.clone() for array in inputs]
    changed[1][:, 0] = 3 * torch.randn_like(changed[1][:, 0])
    for one, other in zip(fusion(*inputs), fusion(*changed), strict=True):
        assert not torch.allclose(one[:, -1], other[:, -1], atol=1e-4)


@pytest.mark.parametrize("garbage", [1e6, float("nan"), float("inf")])
def test_what_lies_in_steps_that_are_not_valid_changes_nothing(
        fusion: Fusion, inputs: list[torch.Tensor], garbage: float) -> None:
    visual, acoustic, seen, heard = inputs
    spoilt = (visual.masked_fill(~seen.unsqueeze(2), garbage), acoustic.masked_fill(~heard.unsqueeze(2), garbage))
    for one, other in zip(fusion(*inputs), fusion(*spoilt, seen, heard), strict=True):
        assert torch.equal(one, other)


def test_a_step_means_the_same_wherever_it_stands_in_the_window(fusion: Fusion, inputs: list[torch.Tensor]) -> None:
    """A session's first steps stand at the window's end, with nothing before them."""
    late = [torch.cat([torch.zeros_like(array[:, :3]), array[:, : STEPS - 3]], dim=1) for array in inputs]
    for one, other in zip(fusion(*inputs), fusion(*late), strict=True):
        assert torch.allclose(one[:, : STEPS - 3], other[:, 3:], atol=1e-6)


def test_nothing_valid_at_all_gives_numbers(fusion: Fusion) -> None:
    served = ServedFusion(fusion, torch.ones(LABELS), torch.zeros(LABELS))
    nothing = torch.zeros(1, STEPS, dtype=torch.bool)
    outputs = served(torch.randn(1, STEPS, VISUAL), torch.randn(1, STEPS, ACOUSTIC), nothing, nothing)
    assert all(bool(torch.isfinite(output).all()) for output in outputs)
    assert torch.equal(outputs[2], torch.full((1, STEPS, LABELS, 2), 0.5))


def test_contributions_are_shares_and_a_missing_sense_has_none(fusion: Fusion, inputs: list[torch.Tensor]) -> None:
    served = ServedFusion(fusion, torch.ones(LABELS), torch.zeros(LABELS))
    deaf = [inputs[0], inputs[1], torch.ones(2, STEPS, dtype=torch.bool), torch.zeros(2, STEPS, dtype=torch.bool)]
    for given in (inputs, deaf):
        contribution = served(*given)[2]
        assert bool((contribution >= 0).all())
        assert torch.allclose(contribution.sum(3), torch.ones(2, STEPS, LABELS))
    assert not bool((contribution[..., 1] > 0.5).any())


def test_calibration_is_applied_to_the_scores(fusion: Fusion, inputs: list[torch.Tensor]) -> None:
    scale, bias = torch.tensor([2.0, 1.0, 0.5]), torch.tensor([0.0, 1.0, -1.0])
    assert torch.allclose(ServedFusion(fusion, scale, bias)(*inputs)[0], fusion(*inputs)[0] * scale + bias, atol=1e-5)


def test_logmel_puts_a_tone_into_its_band() -> None:
    logmel = LogMel(16_000)
    time_s = torch.arange(16_000) / 16_000
    tones = torch.stack([torch.sin(2 * torch.pi * hz * time_s) for hz in (200, 1000, 4000)])
    spectrum = logmel(tones)[:, 0].mean(2)  # (3, MELS)
    # bands lie evenly between 125 and 7500 Hz on the mel scale: (mel(hz) - mel(125)) / (mel(7500) - mel(125)) * 65 - 1
    assert spectrum.argmax(1).tolist() == [1, 19, 48]
    assert torch.allclose(logmel(torch.zeros(1, 16_000)), torch.tensor(1e-3).log())


def test_ten_times_as_loud_is_a_step_up_of_the_same_height_everywhere() -> None:
    sound = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0)) * 0.1
    assert torch.allclose(LogMel(16_000)(sound * 10) - LogMel(16_000)(sound), torch.tensor(10.0).log(), atol=0.05)


def test_the_acoustic_trunk_is_yamnet_as_its_authors_trained_it() -> None:
    """What TensorFlow gave of the original's 1024 features for this sound, with a window of 0.96 s."""
    time_s = torch.arange(15_600) / 16_000
    sound = 0.3 * torch.sin(2 * torch.pi * (400 + 600 * time_s) * time_s).unsqueeze(0)
    with torch.inference_mode():
        features = AcousticTrunk().eval()(LogMel(16_000)(sound)[..., :96]).mean((2, 3))[0]
    assert features.topk(6).indices.tolist() == [953, 967, 690, 326, 572, 156]
    told = torch.tensor([5.9167, 4.7756, 3.5162, 3.4562, 3.1656, 2.9071])
    assert torch.allclose(features.topk(6).values, told, rtol=0.01)  # the weights are rounded to float16
