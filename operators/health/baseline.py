"""How a camera usually looks and sounds: slow means, against which a look is compared."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from operators.records import LAYOUT, Look

READY_LOOKS = 10  # seconds of pictures before there is something to compare with
MEMORY_LOOKS = 60  # a mean's time constant once it is ready
BLOCKS = (3, 4)  # rows and columns of blocks that agree with the baseline or not
ALIKE = 0.5  # correlation of a block's layout from which on it agrees

MEMORY_S = 120.0  # of sound
READY_S = 20.0
LONGEST_SILENCE_S = 30.0  # that counts against a camera: one that was deaf for a night is soon missed again
USUALLY_HEARD = 0.9


class View(msgspec.Struct):
    """The mean of looks; plain data, so that a snapshot holds it as it is."""

    looks: int = 0
    size_px: tuple[int, int] = (0, 0)
    layout: bytes = b""  # float32 LAYOUT, in the look's units
    edges: float = 0.0  # mean step between areas in the middle one of the parts, in levels
    detail: float = 0.0

    @property
    def ready(self) -> bool:
        """Whether enough was seen to compare with."""
        return self.looks >= READY_LOOKS

    def learn(self, look: Look) -> None:
        """Take another look into the mean; other sizes of picture are another view."""
        size_px, layout = (look.width_px, look.height_px), layout_of(look)
        if not self.looks or size_px != self.size_px:
            self.looks, self.size_px = 1, size_px
            self.layout, self.edges, self.detail = layout.tobytes(), edges_of(look), look.detail
            return
        self.looks = min(self.looks + 1, MEMORY_LOOKS)
        mean = np.frombuffer(self.layout, np.float32)
        self.layout = (mean + (layout.ravel() - mean) / np.float32(self.looks)).astype(np.float32).tobytes()
        self.edges += (edges_of(look) - self.edges) / self.looks
        self.detail += (look.detail - self.detail) / self.looks

    def agreement(self, look: Look) -> float:
        """The share of blocks in which the look has its edges where the view has them, 0..1."""
        ours = np.frombuffer(self.layout, np.float32).reshape(LAYOUT)
        return float(np.mean(_correlation(_blocks(ours), _blocks(layout_of(look))) >= ALIKE))


def layout_of(look: Look) -> NDArray[np.float32]:
    """float32 LAYOUT: the logarithm of how much is to be seen in each part, which brightness shifts little."""
    return np.frombuffer(look.layout, np.uint8).reshape(LAYOUT).astype(np.float32)


def edges_of(look: Look) -> float:
    """The mean step between areas, in levels, in the middle one of the parts: text in the picture leaves it alone."""
    return float(2.0 ** (np.median(layout_of(look)) / 16.0) - 1.0)


def _blocks(layout: NDArray[np.float32]) -> NDArray[np.float32]:
    (down, across), (rows, columns) = BLOCKS, LAYOUT
    split = layout.reshape(down, rows // down, across, columns // across)
    return split.transpose(0, 2, 1, 3).reshape(down * across, -1)


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of each row with its counterpart; 0 where one of them is flat."""
    one, other = (rows - rows.mean(axis=1, keepdims=True) for rows in (one, other))
    power = (one * one).sum(axis=1) * (other * other).sum(axis=1)
    return np.asarray((one * other).sum(axis=1) / np.sqrt(np.maximum(power, 1.0)))


class Sound(msgspec.Struct):
    """Which part of the time the camera is heard. A silence counts once it is over, so that it can be noticed."""

    share: float = 0.0
    listened_s: float = 0.0
    silent_s: float = 0.0  # now

    @property
    def usual(self) -> bool:
        """Whether a silence is out of the ordinary."""
        return self.listened_s >= READY_S and self.share >= USUALLY_HEARD

    def learn(self, seconds: float, *, heard: bool) -> None:
        """So many seconds were heard or not."""
        if not heard:
            self.silent_s = min(self.silent_s + seconds, LONGEST_SILENCE_S)
            return
        for value, lasted_s in ((0.0, self.silent_s), (1.0, seconds)):
            self.listened_s = min(self.listened_s + lasted_s, MEMORY_S)
            if lasted_s:
                self.share += (value - self.share) * min(1.0, lasted_s / self.listened_s)
        self.silent_s = 0.0
