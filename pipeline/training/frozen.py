"""A network that is not trained any more, run by the engine that serves it, several times faster than torch."""

from __future__ import annotations

from functools import cached_property
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
        """Export `module` to `file`, a scratch file, and load it once it is wanted."""
        self._module = module.eval()
        self._graph, self._file = Graph(file=file.name, sha256="", inputs=(taken,), outputs=(given,)), file

    @cached_property
    def _engine(self) -> OnnxBackend:
        """A run that goes on with what an earlier one has left may never want it."""
        to_onnx(self._module, self._graph, self._file)
        return OnnxBackend(self._file, self._graph, batch=BATCH, threads=cpu_quota())

    def __call__(self, rows: NDArray[np.generic]) -> NDArray[np.float16]:
        """(R, ...) -> float16 (R, D)."""
        taken, given = self._graph.inputs[0].name, self._graph.outputs[0].name
        result = self._engine.run({taken: np.ascontiguousarray(rows)})[given]
        return result.astype(np.float16)
