"""OpenVINO: the fastest on x86 CPUs, where it computes in bfloat16 if the processor can."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from typing_extensions import override

from operators.backends.base import Arrays, Backend
from operators.errors import BackendError
from operators.models.bundle import Graph

PRECISIONS = {"f32": "fp32", "f16": "fp16"}
DTYPES = {"f32": "float32", "u8": "uint8", "boolean": "bool"}


class OpenVinoBackend(Backend):
    """One graph compiled by OpenVINO for the CPU."""

    name = "openvino"
    exact = False  # computing in float32 where bfloat16 would be faster

    @override
    def __init__(self, path: Path, graph: Graph, *, batch: int, threads: int) -> None:
        super().__init__(path, graph, batch=batch, threads=threads)
        try:
            core = ov.Core()
            model = core.read_model(path)
            self._must_match(*({port.any_name: DTYPES.get(port.element_type.get_type_name(), "another")
                                for port in ports} for ports in (model.inputs, model.outputs)))
            model.reshape({port.name: [batch, *port.shape[1:]] for port in graph.inputs})
            config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
            self._model = core.compile_model(model, "CPU", {**config, "INFERENCE_PRECISION_HINT": "f32"}
                                             if self.exact else config)
            rounded = self._model.get_property("INFERENCE_PRECISION_HINT").get_type_name()
            self.precision = PRECISIONS.get(rounded, rounded)
            self._request = self._model.create_infer_request()
        except RuntimeError as error:
            message = f"{path.name}: OpenVINO cannot load it: {error}"
            raise BackendError(message) from error
        self._outputs = [port.name for port in graph.outputs]

    @override
    def infer(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        try:
            results = self._request.infer(dict(inputs), share_inputs=True)
        except RuntimeError as error:
            message = f"{self.path.name}: OpenVINO failed: {error}"
            raise BackendError(message) from error
        return {name: np.array(results[name]) for name in self._outputs}


class ExactOpenVinoBackend(OpenVinoBackend):
    """OpenVINO without rounding, to compare with."""

    exact = True
