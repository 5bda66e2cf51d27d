"""A network that is not trained any more, run by the engine that serves it, several times faster than torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from operators.backends.onnx_backend import OnnxBackend
from operators.backends.threads import cpu_quota
from operators.models.bundle import Graph, Port
from pipeline.training.export import to_onnx

BATCH = 8


class Frozen:
    """One input, one output: rows in, a float16 vector for each out, as an embedding travels."""

    def __init__(self, module: nn.Module, taken: Port, given: Port, file: Path) -> None:
        """Export `module` to `file`, a scratch file, and load it."""
        graph = Graph(file=file.name, sha256="", inputs=(taken,), outputs=(given,))
        to_onnx(module.eval(), graph, file)
        self._engine = OnnxBackend(file, graph, batch=BATCH, threads=cpu_quota())
        self._taken, self._given = taken.name, given.name

    def __call__(self, rows: NDArray[np.generic]) -> NDArray[np.float16]:
        """(R, ...) -> float16 (R, D)."""
        result = self._engine.run({self._taken: np.ascontiguousarray(rows)})[self._given]
        return result.astype(np.float16)
