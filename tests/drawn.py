"""What the clips of made training data show and sound like."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def flicker(time_s: float, picture: NDArray[np.uint8]) -> None:
    """Black and white in turn: stands for a fight."""
    picture[:] = 255 * (int(time_s * 10) % 2)


def still(time_s: float, picture: NDArray[np.uint8]) -> None:
    """Grey: stands for none."""
    picture[:] = 90


def chirp(time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """A rising tone: stands for a siren."""
    return 0.5 * np.sin(2000 * np.pi * time_s**2)
