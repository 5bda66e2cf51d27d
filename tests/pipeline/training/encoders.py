"""Tiny encoders that somebody might bring along."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def colours(file: Path, shape: tuple[int, ...]) -> Path:
    """Pictures of `shape`, all of a step (F, H, W, 3) or one (H, W, 3), to their mean colour."""
    axes = np.arange(1, len(shape))
    return _write(file, "frames", TensorProto.UINT8, shape, 3, [
        helper.make_node("Cast", ["frames"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["embedding"], keepdims=0)], axes)


def loudness(file: Path, samples: int) -> Path:
    """Sound to its mean magnitude and its mean."""
    return _write(file, "samples", TensorProto.FLOAT, (samples,), 2, [
        helper.make_node("Abs", ["samples"], ["size"]),
        helper.make_node("ReduceMean", ["size", "axes"], ["loud"], keepdims=1),
        helper.make_node("ReduceMean", ["samples", "axes"], ["mean"], keepdims=1),
        helper.make_node("Concat", ["loud", "mean"], ["embedding"], axis=1)], np.array([1]))


def _write(file: Path, name: str, kind: int, shape: tuple[int, ...], width: int, nodes: list[onnx.NodeProto],
           axes: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Path:
    graph = helper.make_graph(
        nodes, "tiny", [helper.make_tensor_value_info(name, kind, ["B", *shape])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["B", width])],
        [numpy_helper.from_array(axes, "axes")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), file)
    return file
