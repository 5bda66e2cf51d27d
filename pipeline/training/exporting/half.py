"""The same graph in half precision, for GPUs: their engines compute in the types that the file states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.transformers.float16 import convert_float_to_float16

from operators.backends.base import Arrays
from operators.errors import BundleError
from operators.models.bundle import Graph
from pipeline.training.exporting.parity import AGREEMENT, cosine, example

CHECKED_ROWS = 2
ROOM = float(np.finfo(np.float16).max) / 4  # largest value on the way, with some to spare for other input


def halved(path: Path, graph: Graph) -> bytes:
    """The ONNX file at `path` computing in float16, with the same ports.

    Raises:
        BundleError: a value on the way needs the range of float32, or the results differ.
    """
    model = onnx.load(path)
    inputs = example(graph, CHECKED_ROWS, seed=1)
    _must_have_room(model, inputs, graph)
    half = bytes(convert_float_to_float16(model, keep_io_types=True).SerializeToString())
    names = [port.name for port in graph.outputs]
    one, other = (_session(content).run(names, inputs) for content in (path.read_bytes(), half))
    least = min(cosine(np.asarray(a), np.asarray(b)) for a, b in zip(one, other, strict=True))
    if not least >= AGREEMENT["fp16"]:
        message = f"{graph.file}: float16 is too coarse for it: cosine {least:.5f}, wanted {AGREEMENT['fp16']}"
        raise BundleError(message)
    return half


def _must_have_room(model: onnx.ModelProto, inputs: Arrays, graph: Graph) -> None:
    """Look at every value on the way: a CPU computes the float16 graph in float32 and would not show it."""
    seen = onnx.ModelProto()
    seen.CopyFrom(model)
    stated = {output.name for output in model.graph.output}
    names = [name for node in model.graph.node for name in node.output if name and name not in stated]
    seen.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    for name, value in zip(names, _session(seen.SerializeToString()).run(names, inputs), strict=True):
        array = np.asarray(value)
        if array.dtype == np.float32 and array.size and not (largest := float(np.abs(array).max())) < ROOM:
            message = f"{graph.file}: float16 has no room for {name}, which reaches {largest:.3g}"
            raise BundleError(message)


def _session(content: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
