from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the train extra is not installed")

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from operators.models.bundle import Sense  # noqa: E402
from pipeline.training.network import (  # noqa: E402
    ACOUSTIC_FEATURES,
    FEELINGS,
    AcousticEncoder,
    AcousticTrunk,
    Fusion,
    LogMel,
    Manner,
    Projection,
    ServedFusion,
    VisualTrunk,
    VoiceTrunk,
    YamNet,
    evidence_of,
)

SENSES: list[Sense] = ["both", "visual", "acoustic"]
EVIDENCE = evidence_of(SENSES)
STEPS, VISUAL, ACOUSTIC, LABELS = 8, EVIDENCE.visual, EVIDENCE.acoustic + FEELINGS, len(SENSES)


def taught(felt: list[int] | None = None) -> Fusion:
    """As if it had been: what begins at zero says something."""
    torch.manual_seed(0)
    fusion = Fusion(visual=VISUAL, acoustic=ACOUSTIC, senses=SENSES, steps=STEPS, dim=16, felt=felt).eval()
    for weights in fusion.parameters():
        if not weights.any():
            torch.nn.init.normal_(weights)
    return fusion


@pytest.fixture
def fusion() -> Fusion:
    return taught()


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
    one, other = fusion(*inputs)[0][:, -1], fusion(*changed)[0][:, -1]
    for seen in (0, 1):
        assert not torch.allclose(one[:, seen], other[:, seen], atol=1e-4)


def test_each_label_begins_with_its_own_evidence_and_little_else() -> None:
    fusion = Fusion(visual=VISUAL, acoustic=ACOUSTIC, senses=SENSES, steps=STEPS).eval()
    anywhere = torch.ones(1, STEPS, dtype=torch.bool)
    for sense, place, label in ((0, EVIDENCE.seen[0], 0), (0, EVIDENCE.seen[1], 1), (1, EVIDENCE.heard[0], 2)):
        given = [torch.zeros(1, STEPS, VISUAL), torch.zeros(1, STEPS, ACOUSTIC)]
        before = fusion(*given, anywhere, anywhere)[0]
        given[sense][..., place] = 1.0
        assert (fusion(*given, anywhere, anywhere)[0] - before)[0, -1].round(decimals=3).tolist() == [
            float(index == label) for index in range(LABELS)]


def test_a_label_that_is_only_heard_is_told_from_what_is_heard_now(fusion: Fusion, inputs: list[torch.Tensor]) -> None:
    visual, acoustic, seen, heard = inputs
    seen[:], heard[:] = True, True
    before = fusion(*inputs)[0][:, -1]
    earlier = acoustic.clone()
    earlier[:, :-1] *= -3
    for changed in (fusion(-3 * visual, acoustic, seen, heard), fusion(visual, earlier, ~seen, heard)):
        now = changed[0][:, -1]
        assert torch.equal(now[:, 2], before[:, 2])
        assert not torch.allclose(now[:, :2], before[:, :2], atol=1e-3)
    assert not torch.allclose(fusion(visual, -3 * acoustic, seen, heard)[0][:, -1, 2], before[:, 2], atol=1e-3)


def test_a_label_that_is_seen_is_told_from_no_evidence_of_one_that_is_only_heard(
        fusion: Fusion, inputs: list[torch.Tensor]) -> None:
    visual, acoustic, seen, heard = inputs
    heard[:] = True
    before = fusion(*inputs)[0][..., :2]
    for place in range(EVIDENCE.acoustic):
        changed = acoustic.clone()
        changed[..., place] *= -3
        assert torch.equal(fusion(visual, changed, seen, heard)[0][..., :2], before) == (place in EVIDENCE.heard)


@pytest.mark.parametrize("senses", [["acoustic", "acoustic"], ["visual"]])
def test_labels_of_one_sense_alone_are_enough(senses: list[Sense]) -> None:
    evidence = evidence_of(senses)
    fusion = Fusion(visual=evidence.visual, acoustic=evidence.acoustic + FEELINGS, senses=senses, steps=4).eval()
    anywhere = torch.ones(1, 4, dtype=torch.bool)
    given = torch.ones(1, 4, evidence.visual), torch.ones(1, 4, evidence.acoustic + FEELINGS)
    assert fusion(*given, anywhere, anywhere)[0].shape == (1, 4, len(senses))


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


@pytest.mark.parametrize("felt", [[0, 1, 2], None])
def test_what_is_felt_depends_on_nothing_seen_and_on_nothing_heard_before(inputs: list[torch.Tensor],
                                                                          felt: list[int] | None) -> None:
    fusion = taught(felt)
    assert isinstance(fusion.feelings.manner, Manner) == (felt is not None)

    def feelings(*changed: torch.Tensor) -> torch.Tensor:
        return torch.softmax(fusion(*changed)[1][..., 1:], dim=2)[:, -1]

    visual, acoustic, seen, heard = inputs
    heard[:] = True
    before = feelings(*inputs)
    assert torch.allclose(feelings(100 * visual, acoustic, ~seen, heard), before, atol=1e-6)
    for age in range(STEPS):
        changed = acoustic.clone()
        changed[:, -1 - age] *= -3
        assert torch.allclose(feelings(visual, changed, seen, heard), before, atol=1e-6) == (age > 0)


def test_events_depend_on_what_is_heard_and_feelings_on_how(fusion: Fusion, inputs: list[torch.Tensor]) -> None:
    what = ACOUSTIC - 3
    inputs[3][:] = True
    changed, others = ([array.clone() for array in inputs] for _ in range(2))
    changed[1][..., what:] *= -3
    others[1][..., :what] *= -3
    events, sentiment = fusion(*inputs)
    assert torch.equal(fusion(*changed)[0], events)
    assert torch.equal(fusion(*changed)[1][..., 0], sentiment[..., 0])  # whether there is somebody
    assert torch.equal(fusion(*changed)[1][..., 1:], changed[1][..., what:])
    assert not torch.allclose(fusion(*others)[0], events, atol=1e-3)
    assert torch.equal(fusion(*others)[1][..., 1:], sentiment[..., 1:])


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


def test_what_is_less_than_rounding_has_no_shares(fusion: Fusion, inputs: list[torch.Tensor]) -> None:
    served = ServedFusion(fusion, torch.full((LABELS,), 1e-6), torch.zeros(LABELS))
    assert (served(*inputs)[2] == 0.5).all()


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


def test_a_place_counts_as_much_as_moves_there_and_all_alike_where_nothing_does() -> None:
    moved = torch.zeros(1, 2, 3, 64, 96)
    moved[0, 1, :, 32:48, :32], moved[0, 1, :, 48:, :32] = 0.5, -0.5  # darker is moved, too
    moved[0, 1, :, :32, 64:] = 0.25
    still, moving = VisualTrunk.shares(moved)[0, :, :, 0]
    assert torch.allclose(still, torch.full((6,), 1 / 6))
    assert torch.allclose(moving, torch.tensor([0, 0, 1 / 3, 2 / 3, 0, 0]), atol=0.02)
    assert moving.sum() == pytest.approx(1.0)


def test_what_changes_evenly_is_a_first_difference_and_no_second_one() -> None:
    trunk = VisualTrunk().eval()
    still = torch.full((1, 3, 64, 64, 3), 100, dtype=torch.uint8)
    evenly, suddenly = still.clone(), still.clone()
    evenly[0, :, :32, :32] += torch.tensor([0, 30, 60], dtype=torch.uint8).reshape(3, 1, 1, 1)
    suddenly[0, 1:, :32, :32] += 60
    with torch.inference_mode():
        calm, even, sudden = (trunk(frames)[0].reshape(3, -1) for frames in (still, evenly, suddenly))
    assert not torch.allclose(even[1], calm[1], atol=1e-3)  # it changed since the picture before
    assert torch.allclose(even[2], calm[2], atol=1e-5)  # as much as it had before that
    assert torch.allclose(sudden[1], calm[1], atol=1e-5)  # it stands still again
    assert not torch.allclose(sudden[2], calm[2], atol=1e-3)


def test_an_embedding_is_what_a_sound_is_and_how_it_sounds_and_only_what_is_taught() -> None:
    trunk, sounds, what = AcousticTrunk(16_000).eval(), torch.rand(6, 16_000) - 0.5, 5
    encoder = AcousticEncoder(trunk, Projection(ACOUSTIC_FEATURES, what), 16_000).eval()
    for linear in (encoder.how.linear, encoder.projection.linear):
        torch.nn.init.normal_(linear.weight, std=0.02)
    with torch.inference_mode():
        before = encoder(sounds)
        assert before.shape == (6, what + FEELINGS)
        assert trunk(sounds).shape == (6, ACOUSTIC_FEATURES)
        assert torch.allclose(encoder.projection(trunk(sounds)), before[:, :what], atol=1e-5)
        assert before[:, what:].std(0).max() > 0.01
        for weights in list(trunk.net)[-3].parameters():
            weights.mul_(2.0)
        after = encoder(sounds)
    assert torch.equal(before[:, what:], after[:, what:])
    assert not torch.allclose(before[:, :what], after[:, :what])


def test_a_projection_can_be_followed_by_what_it_was_made_of() -> None:
    projection = Projection(4, 2)
    for weights in (*projection.parameters(), projection.mean, projection.std):
        torch.nn.init.uniform_(weights, 0.5, 2.0)
    features = torch.randn(3, 4)
    wanted = torch.cat([projection(features), features], dim=1)
    assert torch.allclose(projection.and_as_it_is()(features), wanted, atol=1e-5)


def test_the_acoustic_trunk_is_yamnet_as_its_authors_trained_it() -> None:
    """What TensorFlow gave of the original's 1024 features for this sound, with a window of 0.96 s."""
    time_s = torch.arange(15_600) / 16_000
    sound = 0.3 * torch.sin(2 * torch.pi * (400 + 600 * time_s) * time_s).unsqueeze(0)
    with torch.inference_mode():
        features = YamNet().eval()(LogMel(16_000)(sound)[..., :96]).mean((2, 3))[0]
    assert features.topk(6).indices.tolist() == [953, 967, 690, 326, 572, 156]
    told = torch.tensor([5.9167, 4.7756, 3.5162, 3.4562, 3.1656, 2.9071])
    assert torch.allclose(features.topk(6).values, told, rtol=0.01)  # the weights are rounded to float16


def voice(loud: float) -> Tensor:
    """Two seconds of something like a voice: many partials that tremble and come and go, (1, N)."""
    time_s = torch.arange(32_000) / 16_000
    pitch_hz = 140 + 30 * torch.sin(2 * torch.pi * 3 * time_s)
    partials = torch.stack([torch.sin(2 * torch.pi * pitch_hz * n * time_s) / n for n in range(1, 30)]).sum(0)
    sound = partials * (0.6 + 0.4 * torch.sin(2 * torch.pi * 4 * time_s))
    return (loud * sound / sound.abs().max()).unsqueeze(0)


def told_of(sound: Tensor) -> Tensor:
    """What the voice trunk says of it, mean over time, (256,)."""
    with torch.inference_mode():
        told: Tensor = VoiceTrunk(16_000).eval()(sound, LogMel(16_000).magnitude(sound))
    return told[0].mean(0)


def test_the_voice_trunk_is_resemblyzer_s_as_its_authors_trained_it() -> None:
    """What its own code gave of the second layer's 256 for this sound, from a spectrum of fewer bins than ours."""
    told = told_of(voice(0.01))
    assert told.abs().topk(6).indices.tolist() == [128, 63, 68, 124, 44, 186]
    wanted = torch.tensor([0.3424, -0.3363, 0.3130, -0.2536, 0.2512, -0.2386])
    assert torch.allclose(told[[128, 63, 68, 124, 44, 186]], wanted, atol=0.015)


def test_a_voice_far_away_is_told_like_one_nearby() -> None:
    near, far, beyond = (told_of(voice(loud)) for loud in (0.05, 0.005, 0.0))
    assert torch.allclose(near, far, atol=1e-3)
    assert not torch.allclose(near, beyond, atol=0.1)
    assert torch.isfinite(beyond).all()
