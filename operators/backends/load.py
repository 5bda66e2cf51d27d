"""Choosing an engine: the fastest that is really there."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from typing import Literal

from operators.backends.base import Backend
from operators.backends.threads import cpu_quota
from operators.errors import BackendError
from operators.models.bundle import Bundle, Graph

log = logging.getLogger(__name__)

BackendName = Literal["auto", "tensorrt", "openvino", "onnxruntime"]

# Fastest first. Imported only when tried: an engine that is not installed costs nothing.
ENGINES: tuple[tuple[BackendName, str, str], ...] = (
    ("tensorrt", "operators.backends.tensorrt_backend", "TensorRtBackend"),
    ("openvino", "operators.backends.openvino_backend", "OpenVinoBackend"),
    ("onnxruntime", "operators.backends.onnx_backend", "OnnxBackend"),
)


def load(bundle: Bundle, graph: Graph, *, batch: int, backend: BackendName = "auto", threads: int | None = None,
         on_fallback: Callable[[str, str], None] = lambda engine, reason: None) -> Backend:
    """Load one graph of a bundle into an engine.

    Args:
        bundle: where the graph lies.
        graph: which one.
        batch: rows per inference.
        backend: an engine's name, or `auto` for the fastest installed one that can load the graph.
        threads: CPU threads per inference; None for all this process may use.
        on_fallback: told engine and reason when an installed engine could not load the graph.

    Raises:
        BackendError: the named engine is not installed or cannot load the graph; with `auto`, none can.
    """
    reasons: list[str] = []
    for name, module, attribute in ENGINES:
        if backend not in ("auto", name):
            continue
        try:
            engine: type[Backend] = getattr(importlib.import_module(module), attribute)
        except ImportError as error:
            reasons.append(f"{name} is not installed ({error.name})")
            continue
        try:
            return engine(bundle.file(graph), graph, batch=batch, threads=threads or cpu_quota())
        except BackendError as error:
            reasons.append(str(error))
            if backend == "auto":
                log.warning("falling back from %s: %s", name, error)
                on_fallback(name, str(error))
    message = "; ".join(reasons)
    raise BackendError(message)
