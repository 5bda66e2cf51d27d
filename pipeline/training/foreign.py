"""Somebody else's encoder, an ONNX file with the ports of ours, in its place: `lookout train --visual my.onnx`.

It is not trained any further. What is learnt after it (the projection of what is seen, the fusion)
is trained on what it gives, and its graph goes into the bundle with the projection behind it.
The ports, B open:

    visual    frames  uint8   (B, F, H, W, 3) or (B, H, W, 3)  ->  embedding float32 (B, Dv)
    acoustic  samples float32 (B, N)                           ->  embedding float32 (B, Da)
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from operators.backends.onnx_backend import OnnxBackend
from operators.backends.threads import cpu_quota
from operators.errors import BackendError, SettingsError
from operators.models.bundle import RANK_OF_CLIP, Graph, Port, sha256_of

BATCH = 8
LEAST_OPSET = 13  # from here on what is put around the graph is written the same way
DTYPES = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}
Constants = dict[str, NDArray[np.generic]]


class Foreign(nn.Module):
    """An ONNX file that computes in place of a module; torch can look through it, but not train it."""

    def __init__(self, file: Path, taken: Port, width: int | None = None) -> None:
        """Load `file`.

        Args:
            file: the ONNX file.
            taken: the port that it has to take; of pictures, the newest one is enough.
            width: zeros are put behind the embedding up to this width; None leaves it as it is.

        Raises:
            SettingsError: it cannot be loaded, or its ports are not these.
        """
        super().__init__()
        self.file, self._model = file, _loaded(file)
        self._newest = _must_fit(self._model, file, taken)
        self.own_width = _must_give(self._model, file)
        self.width = width or self.own_width
        if self.own_width > self.width:
            message = f"{file}: an embedding of {self.own_width} numbers is wider than {self.width}"
            raise SettingsError(message)
        self.sha256 = sha256_of(file)
        self._taken = taken
        row = taken.shape[2:] if self._newest else taken.shape[1:]
        graph = Graph(file=file.name, sha256="", inputs=(Port(name=taken.name, dtype=taken.dtype, shape=("B", *row)),),
                      outputs=(Port(name="embedding", dtype="float32", shape=("B", self.own_width)),))
        try:
            self._engine = OnnxBackend(file, graph, batch=BATCH, threads=cpu_quota())
        except BackendError as error:
            raise SettingsError(str(error)) from error

    def forward(self, rows: Tensor) -> Tensor:
        """(B, ...) -> (B, width)."""
        array = rows.numpy()[:, -1] if self._newest else rows.numpy()
        found = self._engine.run({self._taken.name: array})["embedding"]
        return nn.functional.pad(torch.from_numpy(found), (0, self.width - self.own_width))

    def model(self, projection: nn.Module | None = None) -> onnx.ModelProto:
        """The graph that computes `forward`, or a projection `linear((x - mean) / std)` of that."""
        if projection is None:
            if self.width == self.own_width:
                return self._joined([], {}, self.width)
            pads = np.array([0, 0, 0, self.width - self.own_width], np.int64)
            return self._joined([helper.make_node("Pad", ["lookout.given", "lookout.pads"], ["embedding"])],
                                {"pads": pads}, self.width)
        behind = [helper.make_node("Sub", ["lookout.given", "lookout.mean"], ["lookout.centred"]),
                  helper.make_node("Div", ["lookout.centred", "lookout.std"], ["lookout.scaled"]),
                  helper.make_node("MatMul", ["lookout.scaled", "lookout.weight"], ["lookout.mixed"]),
                  helper.make_node("Add", ["lookout.mixed", "lookout.bias"], ["embedding"])]
        mean, std = projection.get_buffer("mean"), projection.get_buffer("std")
        linear, own = cast(nn.Linear, projection.get_submodule("linear")), slice(self.own_width)
        bias = linear.bias - linear.weight[:, self.own_width:] @ (mean / std)[self.own_width:]  # what zeros give
        values = {"mean": mean[own], "std": std[own], "weight": linear.weight[:, own].T, "bias": bias}
        constants: Constants = {name: value.detach().numpy().copy() for name, value in values.items()}
        return self._joined(behind, constants, linear.out_features)

    def _joined(self, behind: list[onnx.NodeProto], constants: Constants, width: int) -> onnx.ModelProto:
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        graph, taken = model.graph, self._taken
        if behind:
            _rename(graph, "embedding", "lookout.given")
        before = []
        if self._newest:
            _rename(graph, taken.name, "lookout.newest")
            constants = {**constants, "last": np.array(int(taken.shape[1]) - 1, np.int64)}
            before = [helper.make_node("Gather", [taken.name, "lookout.last"], ["lookout.newest"], axis=1)]
        nodes = [*before, *graph.node, *behind]
        del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
        graph.node.extend(nodes)
        graph.initializer.extend(numpy_helper.from_array(np.asarray(array), f"lookout.{name}")
                                 for name, array in constants.items())
        graph.input.append(helper.make_tensor_value_info(taken.name, DTYPES[taken.dtype], list(taken.shape)))
        graph.output.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["B", width]))
        return model


def _loaded(file: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(file)
    except Exception as error:  # what a broken file raises is not declared
        message = f"{file}: no ONNX file: {error}"
        raise SettingsError(message) from error
    opset = max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=0)
    if opset < LEAST_OPSET:
        message = f"{file}: opset {opset}, at least {LEAST_OPSET} is wanted"
        raise SettingsError(message)
    return model


def _must_fit(model: onnx.ModelProto, file: Path, taken: Port) -> bool:
    """Whether it takes the newest picture only; an error if it takes neither that nor `taken`."""
    weights = {weight.name for weight in model.graph.initializer}
    found = {port.name: _stated(port) for port in model.graph.input if port.name not in weights}
    wanted = {"as it is": taken.shape[1:]}
    if len(taken.shape) == RANK_OF_CLIP:
        wanted["newest"] = taken.shape[2:]
    for name, shape in wanted.items():
        if found == {taken.name: (DTYPES[taken.dtype], (None, *shape))}:
            return name == "newest"
    allowed = " or ".join(f"{taken.dtype} ('B', {', '.join(map(str, shape))})" for shape in wanted.values())
    said = ", ".join(f"{name}: {TensorProto.DataType.Name(kind).lower()} "
                     f"({', '.join('open' if size is None else str(size) for size in shape)})"
                     for name, (kind, shape) in found.items())
    message = f"{file}: its one input has to be {taken.name}: {allowed}, B open; it has {said or 'none'}"
    raise SettingsError(message)


def _must_give(model: onnx.ModelProto, file: Path) -> int:
    """The width of its embedding."""
    for port in model.graph.output:
        kind, shape = _stated(port)
        match (port.name, kind, shape):
            case ("embedding", TensorProto.FLOAT, (None, int(width))):
                return width
    message = f"{file}: its output has to be embedding: float32 (B, D), B open and D stated"
    raise SettingsError(message)


def _stated(port: onnx.ValueInfoProto) -> tuple[int, tuple[int | None, ...]]:
    """Type and shape; None for an open dimension."""
    tensor = port.type.tensor_type
    return tensor.elem_type, tuple(
        size.dim_value if size.HasField("dim_value") else None for size in tensor.shape.dim)


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == old:
                    names[i] = new
