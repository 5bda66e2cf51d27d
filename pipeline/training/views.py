"""A clip's pictures as other cameras might have shown them: few recordings are more to learn from like this.

Trunk features are computed once, so a few views are drawn beforehand instead of another one at every update.
A linear probe of fights in other recordings got 0.927 (area under the curve) from clips as they are, 0.931 with
each mirrored as well, and 0.936 with these six views of each.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

VIEWS = 6  # as it is, mirrored, and random ones
SEEN = (0.7, 1.0)  # how much of the picture along each edge
CONTRAST = (0.7, 1.4)
BRIGHTER = (-20.0, 20.0)  # grey levels
MIDDLE = 127.0

Pictures = NDArray[np.uint8]  # (S, F, H, W, 3)


def views(pictures: Pictures, random: np.random.Generator) -> Iterator[Pictures]:
    """The pictures as they are first, then mirrored, then `VIEWS - 2` times otherwise; each one view of all steps."""
    yield pictures
    yield pictures[:, :, :, ::-1]
    for _ in range(VIEWS - 2):
        mirrored = random.random() < 0.5  # noqa: PLR2004
        yield _lit(_part(pictures[:, :, :, ::-1] if mirrored else pictures, random), random)


def _part(pictures: Pictures, random: np.random.Generator) -> Pictures:
    """A part of every picture, the same of all, as large as the whole was."""
    height, width = pictures.shape[2:4]
    across, down = random.uniform(*SEEN, 2) * (width, height)
    left, top = random.uniform(0, width - across), random.uniform(0, height - down)
    box = (left, top, left + across, top + down)
    flat = pictures.reshape(-1, height, width, 3)
    part = [Image.fromarray(one).resize((width, height), Image.Resampling.BILINEAR, box) for one in flat]
    return np.stack([np.asarray(one) for one in part]).reshape(pictures.shape)


def _lit(pictures: Pictures, random: np.random.Generator) -> Pictures:
    """Under other light."""
    contrast, brighter = random.uniform(*CONTRAST), random.uniform(*BRIGHTER)
    grey = np.clip((np.arange(256) - MIDDLE) * contrast + MIDDLE + brighter, 0, 255).astype(np.uint8)  # of each level
    lit: Pictures = grey[pictures]
    return lit
