"""The same graph with 8-bit weights and activations, their ranges taken from what it was shown."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from operators.models.bundle import Graph
from pipeline.training.exporting.target import Target

PRODUCTS = frozenset({"Gemm", "MatMul"})
BETWEEN = frozenset({"Add", "Clip", "HardSwish", "Mul", "Relu", "Sigmoid"})  # what comes between two convolutions


def quantised(source: Path, graph: Graph, shown: NDArray[np.generic], target: Target, spared: float = 0.0,
              ) -> onnx.ModelProto:
    """The ONNX file `source` in int8: its convolutions, and its products where it has more of those.

    What else there is stays as it is. It costs little, and 8 bits are few for it: the difference of two pictures that
    were rounded is mostly rounding, and the smallest of the features that are brought to one scale count as the others.

    Args:
        source: a graph in float32.
        graph: its ports.
        shown: rows of its one input, to take the ranges from.
        target: what it is made for.
        spared: the share of its convolutions, from the first on, that stays in float32; the last one always does.
    """
    os.environ.setdefault("NNCF_CI", "1")  # otherwise it reports to its makers that it was used
    import nncf  # noqa: PLC0415 - takes seconds
    from nncf.quantization.advanced_parameters import (  # noqa: PLC0415
        AdvancedQuantizationParameters,
        OverflowFix,
    )

    model = _plain(source)
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    left = {*convolutions[: round(spared * len(convolutions))], *convolutions[-1:]}
    types = [node.op_type for node in model.graph.node]
    products = sum(one in PRODUCTS for one in types) > len(convolutions)
    others = set(types) - {"Conv", *BETWEEN, *(PRODUCTS if products else ())}
    name = graph.inputs[0].name
    # Half the range for weights: processors without VNNI add pairs of products in 16 bits, which would overflow.
    fix = OverflowFix.ENABLE if target is Target.CPU else OverflowFix.DISABLE
    made = nncf.quantize(
        model, nncf.Dataset([shown[i : i + 1] for i in range(len(shown))], lambda row: {name: row}),
        subset_size=len(shown), preset=nncf.QuantizationPreset.PERFORMANCE,
        ignored_scope=nncf.IgnoredScope(names=sorted(left), types=sorted(others)),
        advanced_parameters=AdvancedQuantizationParameters(overflow_fix=fix))
    if target is Target.GPU:
        _sign(made)
    for node in made.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del made.metadata_props[:]
    result: onnx.ModelProto = made
    return result


def _sign(model: onnx.ModelProto) -> None:
    """Ranges from 0 to 255 steps become 0 to 127: TensorRT takes signed ones around zero only."""
    weights = {weight.name: weight for weight in model.graph.initializer}
    scales = {node.input[2]: node.input[1] for node in model.graph.node
              if node.op_type in {"QuantizeLinear", "DequantizeLinear"}}
    for zero, scale in scales.items():
        if weights[zero].data_type == onnx.TensorProto.UINT8:
            steps = onnx.numpy_helper.to_array(weights[scale]) * np.float32(255 / 127)
            weights[scale].CopyFrom(onnx.numpy_helper.from_array(steps, scale))
            nothing = np.zeros_like(onnx.numpy_helper.to_array(weights[zero]), np.int8)
            weights[zero].CopyFrom(onnx.numpy_helper.from_array(nothing, zero))


def _plain(source: Path) -> onnx.ModelProto:
    """With its weights in float32 again and batch norms inside the convolutions, as the ranges want them."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "plain.onnx")
        ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)
