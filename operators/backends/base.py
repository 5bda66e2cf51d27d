"""One interface to every inference engine: named arrays in, named arrays out, one fixed batch size.

Engines compile for one shape, since variable ones leak memory and rebuild engines; `run` takes any
number of rows and cuts and pads them to that shape.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from operators.errors import BackendError
from operators.models.bundle import Graph

Arrays = dict[str, NDArray[np.generic]]


class Backend(ABC):
    """One graph, loaded and compiled. Used by one thread at a time; `run` releases the GIL while it works."""

    name: str  # the engine, as the settings and metrics call it
    precision: str = "fp32"  # what a graph of float32 is computed in

    def __init__(self, path: Path, graph: Graph, *, batch: int, threads: int) -> None:
        """Load the graph.

        Args:
            path: the ONNX file.
            graph: its ports, as the manifest states them.
            batch: rows per inference.
            threads: CPU threads one inference may use.

        Raises:
            BackendError: the engine cannot load it, or its ports are not those of the manifest.
        """
        self.path, self.graph, self.batch, self.threads = path, graph, batch, threads

    @abstractmethod
    def infer(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """One inference on exactly `batch` rows of every input.

        Raises:
            BackendError: the engine failed.
        """

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Infer any number of rows, at least one; all inputs have the same number.

        Raises:
            BackendError: an input is missing or has the wrong type or shape, or the engine failed.
        """
        rows = self._checked_rows(inputs)
        pieces: list[Arrays] = []
        for start in range(0, rows, self.batch):
            chunk = {name: _padded(array[start:start + self.batch], self.batch) for name, array in inputs.items()}
            pieces.append(self.infer(chunk))
        return {name: np.concatenate([piece[name] for piece in pieces])[:rows] for name in pieces[0]}

    def _must_match(self, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> None:
        """Compare what the engine found in the file, name -> dtype, with the manifest.

        Raises:
            BackendError: it differs; names the port.
        """
        for ports, found in ((self.graph.inputs, inputs), (self.graph.outputs, outputs)):
            stated = {port.name: port.dtype for port in ports}
            for name in (*stated, *(inputs if ports is self.graph.inputs else ())):
                if stated.get(name) != found.get(name):
                    message = (f"{self.path.name}: port {name!r} is {found.get(name)} in the file "
                               f"and {stated.get(name)} in the manifest")
                    raise BackendError(message)

    def _checked_rows(self, inputs: Mapping[str, NDArray[np.generic]]) -> int:
        rows = {len(array) for array in inputs.values()}
        if unknown := inputs.keys() - {port.name for port in self.graph.inputs}:
            message = f"{self.path.name}: there is no port {min(unknown)!r}"
            raise BackendError(message)
        if len(rows) != 1 or 0 in rows:
            message = f"{self.path.name}: inputs of {sorted(rows)} rows"
            raise BackendError(message)
        for port in self.graph.inputs:
            array = inputs.get(port.name)
            if array is None or array.dtype != np.dtype(port.dtype) or array.shape[1:] != port.shape[1:]:
                found = "nothing" if array is None else f"{array.dtype}{array.shape}"
                message = f"{self.path.name}: port {port.name!r} takes {port.dtype}{port.shape}, got {found}"
                raise BackendError(message)
        return rows.pop()


def _padded(array: NDArray[np.generic], batch: int) -> NDArray[np.generic]:
    if len(array) == batch:
        return np.ascontiguousarray(array)
    padded = np.zeros((batch, *array.shape[1:]), array.dtype)
    padded[:len(array)] = array
    return padded
