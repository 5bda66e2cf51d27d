"""The last seconds of one camera: both senses' embeddings on the step grid, as the fusion takes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from operators.backends.base import Arrays


@dataclass(frozen=True)
class WindowShape:
    """T steps of `step_ns`, each with a visual vector of Dv and an acoustic one of Da numbers."""

    steps: int
    step_ns: int
    visual: int
    acoustic: int


class Window:
    """T steps, newest last. Steps that never came, or came without a sense, are not valid."""

    def __init__(self, shape: WindowShape) -> None:
        self._shape = shape
        self.newest_ns: int | None = None
        self.visual = np.zeros((shape.steps, shape.visual), np.float16)
        self.acoustic = np.zeros((shape.steps, shape.acoustic), np.float16)
        self.visual_valid = np.zeros(shape.steps, np.bool_)
        self.acoustic_valid = np.zeros(shape.steps, np.bool_)

    def push(self, step_ns: int, visual: NDArray[np.float16] | None, acoustic: NDArray[np.float16] | None) -> None:
        """Move on to `step_ns`, leaving the steps in between empty.

        Args:
            step_ns: later than the newest one.
            visual: float16 (Dv,), None without a picture.
            acoustic: float16 (Da,), None without sound.
        """
        missed = 1 if self.newest_ns is None else round((step_ns - self.newest_ns) / self._shape.step_ns)
        shift = min(max(missed, 1), self._shape.steps)
        for array in (self.visual, self.acoustic, self.visual_valid, self.acoustic_valid):
            array[:-shift] = array[shift:].copy()
            array[-shift:] = 0
        if visual is not None:
            self.visual[-1], self.visual_valid[-1] = visual, True
        if acoustic is not None:
            self.acoustic[-1], self.acoustic_valid[-1] = acoustic, True
        self.newest_ns = step_ns

    def ports(self) -> Arrays:
        """A copy of the window as one row of the fusion's inputs."""
        return {"visual": self.visual.astype(np.float32), "acoustic": self.acoustic.astype(np.float32),
                "visual_valid": self.visual_valid.copy(), "acoustic_valid": self.acoustic_valid.copy()}

    def to_bytes(self) -> bytes:
        """All four arrays, for a snapshot."""
        return b"".join(array.tobytes() for array in
                        (self.visual, self.acoustic, self.visual_valid, self.acoustic_valid))

    @classmethod
    def from_bytes(cls, shape: WindowShape, data: bytes, newest_ns: int | None) -> Window:
        """What `to_bytes` gave; an empty window if `data` is of another shape, as after a change of bundle."""
        window = cls(shape)
        arrays = (window.visual, window.acoustic, window.visual_valid, window.acoustic_valid)
        if len(data) != sum(array.nbytes for array in arrays):
            return window
        start = 0
        for array in arrays:
            stop = start + array.nbytes
            array[...] = np.frombuffer(data[start:stop], array.dtype).reshape(array.shape)
            start = stop
        window.newest_ns = newest_ns
        return window
