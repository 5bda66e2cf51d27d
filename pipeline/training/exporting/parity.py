"""Do the engines compute the same? Cosine between their outputs and those of a reference, on the same input."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.backends.base import Arrays, Backend
from operators.backends.load import ENGINES, BackendName
from operators.backends.threads import cpu_quota
from operators.errors import BundleError
from operators.models.bundle import Graph

AGREEMENT: Mapping[str, float] = {"fp32": 0.999, "bf16": 0.99, "fp16": 0.99, "int8": 0.99}  # least cosine
SERVING: tuple[BackendName, ...] = ("onnxruntime", "openvino")


def engines(path: Path, graph: Graph, rows: int) -> Iterator[Backend]:
    """Every CPU engine here as it serves the graph; where OpenVINO rounds float32, also OpenVINO that does not."""
    for name, module, attribute in ENGINES:
        if name not in SERVING:
            continue
        try:
            engine: type[Backend] = getattr(importlib.import_module(module), attribute)
        except ImportError:
            continue
        yield (backend := engine(path, graph, batch=rows, threads=cpu_quota()))
        if backend.precision != "fp32":
            exact: type[Backend] = importlib.import_module(module).ExactOpenVinoBackend
            yield exact(path, graph, batch=rows, threads=cpu_quota())


def agree(reference: str, expected: Mapping[str, NDArray[Any]], backends: Iterable[Backend], inputs: Arrays,
          ) -> dict[str, float]:
    """The least cosine of each backend's outputs to `expected`, which `reference` computed from `inputs`.

    Raises:
        BundleError: one is below what AGREEMENT asks for in its precision.
    """
    least: dict[str, float] = {}
    for backend in backends:
        found = backend.run(inputs)
        precision = backend.precision if backend.graph.precision == "fp32" else backend.graph.precision
        engine = f"{backend.name} {precision}"
        least[engine] = round(min(cosine(found[name], value) for name, value in expected.items()), 6)
        if not least[engine] >= AGREEMENT[precision]:
            message = (f"{backend.graph.file}: {engine} differs from {reference}: cosine {least[engine]:.5f}, "
                       f"wanted {AGREEMENT[precision]}")
            raise BundleError(message)
    return least


def example(graph: Graph, rows: int, *, seed: int) -> Arrays:
    """Random input for a graph's ports; the first row is silent and black, or has nothing valid."""
    random = np.random.default_rng(seed)
    draw: Mapping[str, Callable[[tuple[int, ...]], NDArray[Any]]] = {
        "uint8": lambda shape: random.integers(0, 256, shape, np.uint8),
        "bool": lambda shape: random.random(shape) < 0.7,  # noqa: PLR2004
        "float32": lambda shape: np.clip(random.standard_normal(shape) * 0.3, -1, 1).astype(np.float32),
    }
    inputs = {port.name: draw[port.dtype]((rows, *map(int, port.shape[1:]))) for port in graph.inputs}
    for array in inputs.values():
        array[0] = 0
    return inputs


def cosine(one: NDArray[Any], other: NDArray[Any]) -> float:
    """1 where both point the same way; of two that are nothing but zeros too."""
    a, b = one.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size else float(np.array_equal(a, b))
