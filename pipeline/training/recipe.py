"""Other people's models as encoders: from a torch module with its own weights to an ONNX file with our ports.

Every recipe takes a local checkpoint and fetches nothing.

    import timm, torch, torchvision, open_clip, torchaudio
    from pipeline.training.recipe import PictureTower, SoundTower, export_acoustic, export_visual

    # torchvision: the classifier goes, what is in front of it stays
    model = torchvision.models.get_model("mobilenet_v3_small", weights=None)
    model.load_state_dict(torch.load("mobilenet.pt", weights_only=True))
    model.classifier = torch.nn.Identity()
    export_visual(PictureTower(model), Path("visual.onnx"))

    # timm: what the model itself says of its input
    model = timm.create_model("resnet18", checkpoint_path="resnet18.safetensors", num_classes=0)
    told = timm.data.resolve_model_data_config(model)
    export_visual(PictureTower(model, mean=told["mean"], std=told["std"], size_px=told["input_size"][-1]),
                  Path("visual.onnx"))

    # open_clip: the image tower alone
    clip = open_clip.create_model("ViT-B-32", pretrained="clip.pt")
    export_visual(PictureTower(clip.visual, mean=clip.visual.image_mean, std=clip.visual.image_std,
                               size_px=clip.visual.image_size[0]), Path("visual.onnx"))

    # torchaudio: any pipeline of encoders, from the weights it would have fetched
    pipeline = torchaudio.pipelines.WAV2VEC2_BASE
    model = torchaudio.models.wav2vec2_model(**pipeline._params)
    model.load_state_dict(torch.load("wav2vec2.pt", weights_only=True))
    export_acoustic(SoundTower(model, sample_rate_hz=pipeline.sample_rate), Path("acoustic.onnx"))

Then `lookout train --data DIR --visual visual.onnx --acoustic acoustic.onnx --out my-bundle`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torchaudio
from torch import Tensor, nn

from operators.errors import BundleError
from operators.models.bundle import Graph, Port
from pipeline.training.dataset import SAMPLING
from pipeline.training.export import check_parity, port, to_onnx

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PictureTower(nn.Module):
    """A network of pictures behind our port: scaled, normalised, and its answer as one vector."""

    def __init__(self, tower: nn.Module, *, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD,
                 size_px: int = SAMPLING.height_px) -> None:
        """Put `tower` behind the port.

        Args:
            tower: takes float32 (B, 3, size_px, size_px), gives (B, D), (B, D, h, w) or, as tokens, (B, n, D).
            mean: of red, green, blue between 0 and 1, which it was trained with.
            std: likewise.
            size_px: width and height it was trained with.
        """
        super().__init__()
        self.tower, self.size_px = tower, size_px
        self.mean = nn.Buffer(torch.tensor(mean).reshape(1, 3, 1, 1))
        self.std = nn.Buffer(torch.tensor(std).reshape(1, 3, 1, 1))

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 (B, H, W, 3) -> (B, D)."""
        x = frames.to(torch.float32).permute(0, 3, 1, 2) / 255.0  # (B, 3, H, W) 0..1
        if tuple(x.shape[2:]) != (self.size_px, self.size_px):
            x = nn.functional.interpolate(x, (self.size_px, self.size_px), mode="bilinear", align_corners=False)
        return _vector(self.tower((x - self.mean) / self.std))  # (B, D)


class SoundTower(nn.Module):
    """A network of sound behind our port: resampled, and its answers over time as one mean."""

    def __init__(self, tower: nn.Module, *, sample_rate_hz: int) -> None:
        """Put `tower` behind the port.

        Args:
            tower: takes float32 (B, n) at `sample_rate_hz`, gives (B, D) or (B, time, D), or these first in a tuple.
            sample_rate_hz: which it was trained with.
        """
        super().__init__()
        self.tower = tower
        self.resample: nn.Module = nn.Identity()
        if sample_rate_hz != SAMPLING.sample_rate_hz:
            self.resample = torchaudio.transforms.Resample(SAMPLING.sample_rate_hz, sample_rate_hz)

    def forward(self, samples: Tensor) -> Tensor:
        """(B, N) -> (B, D)."""
        found = self.tower(self.resample(samples))
        return _vector(found[0] if isinstance(found, tuple) else found)  # (B, D)


def export_visual(tower: nn.Module, file: Path) -> dict[str, float]:
    """Write `tower` with our visual port to `file`; gives the least cosine to torch of each engine here.

    Raises:
        BundleError: an engine differs from torch; the file was removed.
    """
    return _export(tower, port("frames", "uint8", SAMPLING.height_px, SAMPLING.width_px, 3), file)


def export_acoustic(tower: nn.Module, file: Path) -> dict[str, float]:
    """Write `tower` with our acoustic port to `file`; gives the least cosine to torch of each engine here.

    Raises:
        BundleError: an engine differs from torch; the file was removed.
    """
    return _export(tower, port("samples", "float32", SAMPLING.samples), file)


def _export(tower: nn.Module, taken: Port, file: Path) -> dict[str, float]:
    tower = tower.eval()
    with torch.inference_mode():
        width = tower(torch.zeros(2, *map(int, taken.shape[1:]), dtype=getattr(torch, taken.dtype))).shape[1]
    graph = Graph(file=file.name, sha256="", inputs=(taken,), outputs=(port("embedding", "float32", width),))
    to_onnx(tower, graph, file, halve=False)
    try:
        return check_parity(file, graph, tower)
    except BundleError:
        file.unlink()
        raise


def _vector(found: Tensor) -> Tensor:
    """(B, D), (B, n, D) or (B, D, h, w) -> (B, D): the mean over what is neither batch nor channel."""
    over: dict[int, tuple[int, ...]] = {2: (), 3: (1,), 4: (2, 3)}
    if found.ndim not in over:
        message = f"a tower has to give (B, D), (B, n, D) or (B, D, h, w), this one gives {tuple(found.shape)}"
        raise BundleError(message)
    return found.mean(over[found.ndim]) if over[found.ndim] else found
