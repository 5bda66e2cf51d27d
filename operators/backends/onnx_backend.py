"""ONNX Runtime on the CPU: there on every platform."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors
from typing_extensions import override

from operators.backends.base import Arrays, Backend
from operators.errors import BackendError
from operators.models.bundle import Graph

FAILURES = (ort_errors.Fail, ort_errors.InvalidArgument, ort_errors.InvalidGraph, ort_errors.InvalidProtobuf,
            ort_errors.NoSuchFile, ort_errors.NotImplemented, ort_errors.RuntimeException, ort_errors.EPFail)
DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(bool)": "bool"}


class OnnxBackend(Backend):
    """One graph in an ONNX Runtime session."""

    name = "onnxruntime"

    @override
    def __init__(self, path: Path, graph: Graph, *, batch: int, threads: int) -> None:
        super().__init__(path, graph, batch=batch, threads=threads)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle cameras burn no CPU
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except FAILURES as error:
            message = f"{path.name}: ONNX Runtime cannot load it: {error}"
            raise BackendError(message) from error
        self._must_match({port.name: DTYPES.get(port.type, port.type) for port in self._session.get_inputs()},
                         {port.name: DTYPES.get(port.type, port.type) for port in self._session.get_outputs()})
        self._outputs = [port.name for port in graph.outputs]

    @override
    def infer(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        try:
            return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs)), strict=True))
        except FAILURES as error:
            message = f"{self.path.name}: ONNX Runtime failed: {error}"
            raise BackendError(message) from error
