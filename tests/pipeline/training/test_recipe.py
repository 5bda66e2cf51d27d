"""Towers of other libraries, small and with random weights, behind our ports; the recipes fetch nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the train extra is not installed")

import torch  # noqa: E402
import torchaudio  # noqa: E402
import torchvision  # noqa: E402

from operators.errors import BundleError  # noqa: E402
from pipeline.training.dataset import SAMPLING  # noqa: E402
from pipeline.training.export import port  # noqa: E402
from pipeline.training.foreign import Foreign  # noqa: E402
from pipeline.training.recipe import PictureTower, SoundTower, export_acoustic, export_visual  # noqa: E402

pytestmark = pytest.mark.slow
CLIP = port("frames", "uint8", SAMPLING.pictures, SAMPLING.height_px, SAMPLING.width_px, 3)
SOUND = port("samples", "float32", SAMPLING.samples)


def fits(file: Path, tower: torch.nn.Module) -> None:
    """`lookout train` takes the file, and sees in it what torch sees in the tower."""
    torch.manual_seed(1)
    if isinstance(tower, PictureTower):
        shape = (2, *map(int, CLIP.shape[1:]))
        given = torch.randint(0, 256, shape, dtype=torch.uint8)
        taken, port_ = given[:, -1], CLIP
    else:
        given = taken = torch.rand(2, SAMPLING.samples) * 2 - 1
        port_ = SOUND
    with torch.inference_mode():
        assert torch.allclose(Foreign(file, port_)(given), tower.eval()(taken), rtol=1e-2, atol=1e-3)


def test_a_torchvision_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = torchvision.models.ShuffleNetV2([1, 1, 1], [8, 16, 16, 16, 24])
    checkpoint = tmp_path / "checkpoint.pt"
    torch.save(model.state_dict(), checkpoint)
    model.load_state_dict(torch.load(checkpoint, weights_only=True))
    model.fc = torch.nn.Identity()
    tower = PictureTower(model)
    assert export_visual(tower, tmp_path / "visual.onnx")["onnxruntime fp32"] >= 0.999
    fits(tmp_path / "visual.onnx", tower)


def test_a_timm_model_at_its_own_size(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="the train extra is not installed")
    torch.manual_seed(0)
    model = timm.create_model("test_vit", pretrained=False, num_classes=0)
    told = timm.data.resolve_model_data_config(model)
    tower = PictureTower(model, mean=told["mean"], std=told["std"], size_px=told["input_size"][-1])
    assert tower.size_px != SAMPLING.height_px
    export_visual(tower, tmp_path / "visual.onnx")
    fits(tmp_path / "visual.onnx", tower)


def test_the_image_tower_of_open_clip(tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip", reason="the train extra is not installed")
    torch.manual_seed(0)
    clip = open_clip.CLIP(
        16, vision_cfg={"image_size": 32, "layers": 1, "width": 64, "patch_size": 16, "head_width": 32},
        text_cfg={"context_length": 8, "vocab_size": 16, "width": 32, "heads": 2, "layers": 1})
    tower = PictureTower(clip.visual, size_px=32)
    export_visual(tower, tmp_path / "visual.onnx")
    fits(tmp_path / "visual.onnx", tower)


def test_an_encoder_of_a_torchaudio_pipeline(tmp_path: Path) -> None:
    torch.manual_seed(0)
    params = torchaudio.pipelines.WAV2VEC2_BASE._params | {
        "extractor_conv_layer_config": [(16, 10, 20), (16, 8, 16)], "encoder_embed_dim": 32,
        "encoder_num_layers": 1, "encoder_num_heads": 2, "encoder_ff_interm_features": 32,
        "encoder_pos_conv_kernel": 4, "encoder_pos_conv_groups": 2}
    tower = SoundTower(torchaudio.models.wav2vec2_model(**params), sample_rate_hz=16_000)
    export_acoustic(tower, tmp_path / "acoustic.onnx")
    fits(tmp_path / "acoustic.onnx", tower)


def test_sound_is_resampled_inside(tmp_path: Path) -> None:
    tower = SoundTower(torch.nn.AvgPool1d(1000, 1000), sample_rate_hz=8_000)
    assert export_acoustic(tower, tmp_path / "acoustic.onnx").keys() >= {"onnxruntime fp32", "openvino fp32"}
    fits(tmp_path / "acoustic.onnx", tower)


def test_a_tower_that_gives_no_vector_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"this one gives \(64000,\)"):
        export_acoustic(SoundTower(torch.nn.Flatten(0), sample_rate_hz=16_000), tmp_path / "acoustic.onnx")
    assert not list(tmp_path.iterdir())
