"""What spoils the pictures of a camera, done to the pictures themselves, before anything looks at them.

All functions take and give uint8 (S, F, H, W, 3), S steps of F pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

Pictures = NDArray[np.uint8]
LIGHT = (0.03, 0.1)  # of the light is left in a dark picture
SENSOR_NOISE = 3.0  # standard deviation of its grey levels
SHARPNESS = (10, 24)  # picture elements along an edge that a blurred picture can still tell apart
STEP = (60.0, 140.0)  # grey levels that a heavily compressed picture's slowest wave is rounded to
BLOCK = 8
HEAVY = 2  # a heavily compressed picture has this many times fewer picture elements along an edge, too


def dark(pictures: Pictures, random: np.random.Generator) -> Pictures:
    """Little light is left, and the sensor's noise stands out."""
    lit = pictures * np.float32(random.uniform(*LIGHT))
    noise = random.standard_normal(lit.shape, np.float32) * np.float32(SENSOR_NOISE)
    return np.clip(lit + noise, 0, 255).astype(np.uint8)


def blurred(pictures: Pictures, random: np.random.Generator) -> Pictures:
    """Out of focus, or rain on the lens."""
    across = int(random.integers(*SHARPNESS))
    flat = _planes(pictures).float()  # (S*F, 3, H, W)
    coarse = interpolate(flat, size=(across, across), mode="area")  # (S*F, 3, across, across)
    soft = interpolate(coarse, size=flat.shape[2:], mode="bicubic").clamp(0, 255)  # (S*F, 3, H, W)
    return _pictures(soft.to(torch.uint8), pictures)


def compressed(pictures: Pictures, random: np.random.Generator) -> Pictures:
    """As a camera with next to no bandwidth sends them: few picture elements, in coarse blocks as JPEG makes them."""
    flat = _planes(pictures).float()  # (S*F, 3, H, W)
    height, width = flat.shape[2:]
    small = interpolate(flat, size=(height // HEAVY, width // HEAVY), mode="area")  # (S*F, 3, H/2, W/2)
    rows, columns = small.shape[2] // BLOCK, small.shape[3] // BLOCK
    blocks = small.reshape(-1, 3, rows, BLOCK, columns, BLOCK).transpose(3, 4)  # (S*F, 3, rows, columns, 8, 8)
    cosines = _cosines()  # (8, 8)
    frequency = torch.arange(BLOCK)
    step = random.uniform(*STEP) * (1 + frequency.unsqueeze(1) + frequency) ** 0.5  # (8, 8)
    sent = torch.round(cosines @ blocks @ cosines.T / step)  # what is left of the blocks' spectra
    shown = (cosines.T @ (sent * step) @ cosines).transpose(3, 4).flatten(4, 5).flatten(2, 3)  # (S*F, 3, H/2, W/2)
    large = interpolate(shown, size=(height, width), mode="bilinear")  # (S*F, 3, H, W)
    return _pictures(large.clamp(0, 255).to(torch.uint8), pictures)


def _cosines() -> Tensor:
    """(8, 8): the orthonormal cosine transform."""
    place, frequency = torch.arange(BLOCK) + 0.5, torch.arange(BLOCK).unsqueeze(1)
    waves = torch.cos(math.pi / BLOCK * place * frequency)  # (8, 8)
    return waves / waves.square().sum(1, keepdim=True).sqrt()


def _planes(pictures: Pictures) -> Tensor:
    return torch.from_numpy(pictures).flatten(0, 1).permute(0, 3, 1, 2).contiguous()


def _pictures(planes: Tensor, like: Pictures) -> Pictures:
    shown: Pictures = planes.permute(0, 2, 3, 1).reshape(like.shape).numpy()
    return shown


VISUAL_FAULTS: Mapping[str, Callable[[Pictures, np.random.Generator], Pictures]] = {
    "dark": dark, "blurred": blurred, "compressed": compressed,
}
FROZEN = "frozen"  # the picture stands still: its features are known without looking again
