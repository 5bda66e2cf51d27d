"""TensorRT: the fastest on NVIDIA GPUs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from cuda.bindings import runtime as cuda
from numpy.typing import NDArray
from typing_extensions import override

from operators.backends.base import Arrays, Backend
from operators.backends.tensorrt_engine import Recipe, cached, engine_folder, kept, package
from operators.errors import BackendError
from operators.models.bundle import Graph

Given = TypeVar("Given")

trt = package()  # at import, so that `load` sees at once whether it is installed


class TensorRtBackend(Backend):
    """One graph as a TensorRT engine on the first GPU, with its own stream and buffers."""

    name = "tensorrt"

    @override
    def __init__(self, path: Path, graph: Graph, *, batch: int, threads: int) -> None:
        super().__init__(path, graph, batch=batch, threads=threads)
        here = self._told(architecture)
        half, full = (Recipe.of(trt, path, graph, batch=batch, architecture=here, half=half) for half in (True, False))
        folder = engine_folder()
        engine = kept(path, half, folder) or cached(trt, path, full, folder)
        self._logger = trt.Logger(trt.Logger.ERROR)
        self._runtime = trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(engine)
        self._context: Any = self._engine.create_execution_context() if self._engine else None
        if self._context is None:
            message = f"{path.name}: TensorRT cannot load the engine it built"
            raise BackendError(message)
        self._must_match(self._ports(trt.TensorIOMode.INPUT), self._ports(trt.TensorIOMode.OUTPUT))
        self._buffers: dict[str, Any] = {}
        self._outputs = {port.name: np.zeros((batch, *map(int, port.shape[1:])), port.dtype)
                         for port in graph.outputs}
        self._stream = self._call(cuda.cudaStreamCreate())
        self._context.set_optimization_profile_async(full.profile(batch), int(self._stream))
        for port in graph.inputs:
            shape = (batch, *map(int, port.shape[1:]))
            self._context.set_input_shape(port.name, shape)
            self._allocate(port.name, int(np.prod(shape)) * np.dtype(port.dtype).itemsize)
        for name, array in self._outputs.items():
            self._allocate(name, array.nbytes)

    @override
    def infer(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        to_device, to_host = cuda.cudaMemcpyKind.cudaMemcpyHostToDevice, cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        for name, array in inputs.items():
            self._call(cuda.cudaMemcpyAsync(self._buffers[name], array.ctypes.data, array.nbytes, to_device,
                                            self._stream))
        if not self._context.execute_async_v3(int(self._stream)):
            message = f"{self.path.name}: TensorRT failed"
            raise BackendError(message)
        for name, array in self._outputs.items():
            self._call(cuda.cudaMemcpyAsync(array.ctypes.data, self._buffers[name], array.nbytes, to_host,
                                            self._stream))
        self._call(cuda.cudaStreamSynchronize(self._stream))
        return {name: array.copy() for name, array in self._outputs.items()}

    def __del__(self) -> None:
        """Give the GPU's memory back."""
        for pointer in getattr(self, "_buffers", {}).values():
            cuda.cudaFree(pointer)
        if stream := getattr(self, "_stream", None):
            cuda.cudaStreamDestroy(stream)

    def _ports(self, mode: Any) -> dict[str, str]:
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        return {name: np.dtype(trt.nptype(self._engine.get_tensor_dtype(name))).name
                for name in names if self._engine.get_tensor_mode(name) == mode}

    def _allocate(self, name: str, size_bytes: int) -> None:
        self._buffers[name] = self._call(cuda.cudaMalloc(size_bytes))
        self._context.set_tensor_address(name, int(self._buffers[name]))

    def _call(self, result: tuple[Any, ...]) -> Any:
        return self._told(lambda: _value(result))

    def _told(self, call: Callable[[], Given]) -> Given:
        """What `call` gives; its error names the file."""
        try:
            return call()
        except BackendError as error:
            message = f"{self.path.name}: {error}"
            raise BackendError(message) from None


def architecture() -> str:
    """Of the first GPU, such as SM89.

    Raises:
        BackendError: there is none.
    """
    attribute = cuda.cudaDeviceAttr
    major, minor = (_value(cuda.cudaDeviceGetAttribute(which, 0)) for which in (
        attribute.cudaDevAttrComputeCapabilityMajor, attribute.cudaDevAttrComputeCapabilityMinor))
    return f"SM{major}{minor}"


def _value(result: tuple[Any, ...]) -> Any:
    """The value of a CUDA call, which comes behind its error code."""
    error, *values = result
    if error != cuda.cudaError_t.cudaSuccess:
        message = f"CUDA: {error.name}"
        raise BackendError(message)
    return values[0] if values else None
