"""One graph with real convolutions and matrix products, random weights: what engines split, tile and reorder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from operators.models.bundle import Graph, Port, sha256_of

SIZE_PX, WIDTH = 48, 96


def make_conv(folder: Path) -> Graph:
    """Write `conv.onnx`: frames (B, H, W, 3), as a plain image tower takes them, to an embedding (B, 96)."""
    random = np.random.default_rng(0)

    def weights(*shape: int) -> NDArray[np.float32]:
        return (random.standard_normal(shape) * (2 / np.prod(shape[1:])) ** 0.5).astype(np.float32)

    nodes = [helper.make_node("Cast", ["frames"], ["float"], to=TensorProto.FLOAT),
             helper.make_node("Div", ["float", "white"], ["unit"])]
    constants: dict[str, NDArray[np.generic]] = {
        "white": np.array(255, np.float32), "w1": weights(40, 3, 3, 3), "w2": weights(72, 40, 1, 1),
        "w3": weights(72, 1, 3, 3), "w4": weights(80, 72, 3, 3), "w5": weights(80, WIDTH),
        "b5": weights(WIDTH, 1)[:, 0]}
    nodes += [
        helper.make_node("Transpose", ["unit"], ["x0"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["x0", "w1"], ["c1"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["x1"]),
        helper.make_node("Conv", ["x1", "w2"], ["c2"]),
        helper.make_node("Sigmoid", ["c2"], ["s2"]),
        helper.make_node("Mul", ["c2", "s2"], ["x2"]),
        helper.make_node("Conv", ["x2", "w3"], ["x3"], group=72, pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["x3", "w4"], ["c4"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c4"], ["x4"]),
        helper.make_node("GlobalAveragePool", ["x4"], ["p4"]),
        helper.make_node("Flatten", ["p4"], ["f4"]),
        helper.make_node("Gemm", ["f4", "w5", "b5"], ["g5"]),
        helper.make_node("Softmax", ["g5"], ["soft"], axis=-1),
        helper.make_node("Add", ["g5", "soft"], ["embedding"]),
    ]
    inputs = (Port(name="frames", dtype="uint8", shape=("B", SIZE_PX, SIZE_PX, 3)),)
    outputs = (Port(name="embedding", dtype="float32", shape=("B", WIDTH)),)
    graph = helper.make_graph(
        nodes, "conv", [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["B", SIZE_PX, SIZE_PX, 3])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["B", WIDTH])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "conv.onnx")
    return Graph(file="conv.onnx", sha256=sha256_of(folder / "conv.onnx"), inputs=inputs, outputs=outputs)
