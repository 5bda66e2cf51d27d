"""One sense's encoder: what a step shows or plays becomes a vector."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from operators.backends.base import Backend
from operators.models.bundle import RANK_OF_CLIP

LARGEST = float(np.finfo(np.float16).max)


class SenseEncoder:
    """Runs the rows that are valid through one graph and leaves zeros for the others."""

    def __init__(self, backend: Backend) -> None:
        """Serve `backend`, a graph with one input and the output `embedding`."""
        self._backend = backend
        self._port = backend.graph.inputs[0]
        self._size = backend.graph.port("embedding").width

    def encode(self, rows: NDArray[np.generic], valid: NDArray[np.bool_]) -> NDArray[np.float16]:
        """Embed the valid rows.

        Args:
            rows: (S, ...) pictures uint8 (S, F, H, W, 3) or samples float32 (S, N).
            valid: (S,) which rows hold something.

        Returns:
            float16 (S, D), zeros where not valid.

        Raises:
            BackendError: the engine failed.
        """
        embeddings = np.zeros((len(rows), self._size), np.float16)
        if valid.any():
            chosen = rows[valid]
            if chosen.ndim == RANK_OF_CLIP and len(self._port.shape) == RANK_OF_CLIP - 1:
                chosen = chosen[:, -1]  # a plain image tower sees the newest picture
            result = self._backend.run({self._port.name: chosen})["embedding"]
            embeddings[valid] = np.clip(np.nan_to_num(result), -LARGEST, LARGEST)
        return embeddings
