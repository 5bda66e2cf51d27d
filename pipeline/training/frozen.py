"""A network that is not trained any more, run by the engine that serves it, several times faster than torch."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from torch import nn

from operators.backends.onnx_backend import OnnxBackend
from operators.backends.threads import cpu_quota
from operators.models.bundle import Bundle, Graph, Port
from pipeline.training.export import to_onnx

BATCH = 8


class Frozen:
    """One input, one output: rows in, a float16 vector for each out, as an embedding travels."""

    def __init__(self, module: nn.Module, taken: Port, given: Port, file: Path) -> None:
        """Export `module` to `file`, a scratch file, and load it."""
        graph = Graph(file=file.name, sha256="", inputs=(taken,), outputs=(given,))
        to_onnx(module.eval(), graph, file)
        self._load(graph, file)

    @classmethod
    def of_bundle(cls, bundle: Bundle, graph: Graph) -> Self:
        """An encoder of a bundle, as it was trained."""
        frozen = cls.__new__(cls)
        frozen._load(graph, bundle.file(graph))
        return frozen

    def _load(self, graph: Graph, file: Path) -> None:
        self._engine = OnnxBackend(file, graph, batch=BATCH, threads=cpu_quota())
        self._taken, self._given = graph.inputs[0].name, graph.outputs[0].name
        self.width = graph.outputs[0].width  # D

    def __call__(self, rows: NDArray[np.generic]) -> NDArray[np.float16]:
        """(R, ...) -> float16 (R, D)."""
        result = self._engine.run({self._taken: np.ascontiguousarray(rows)})[self._given]
        return result.astype(np.float16)
