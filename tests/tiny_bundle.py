"""A model bundle of a few kilobytes whose answers a test can foretell.

    bright   the visual label: the newest picture's mean is above half of white
    motion   the visual label: the mean difference between the step's first and newest picture is large
    loud     the acoustic label: the sound's mean magnitude is above 0.1; also makes the sentiment negative
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from operators.models.bundle import FORMAT, Graph, Label, Manifest, Port, sha256_of

STEPS, FRAMES, SIZE_PX, SAMPLES, DV, DA = 8, 3, 32, 16000, 2, 1
LABELS = ("bright", "motion", "loud")
SHARPNESS = 100.0  # logit per unit: a step a hundredth beyond the threshold is a probability of 0.73


def make_bundle(folder: Path, **changes: Any) -> Path:
    """Write the bundle into `folder`; `changes` replace fields of its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    graphs = {name: _write(folder, name, *parts) for name, parts in
              (("visual", _visual()), ("acoustic", _acoustic()), ("fusion", _fusion()))}
    labels = tuple(Label(name=name, sense="acoustic" if name == "loud" else "visual", alertable=name != "motion",
                         open=0.7, close=0.3, min_length_s=0.5, merge_gap_s=0.5) for name in LABELS)
    manifest = Manifest(format=FORMAT, name="tiny", version="1", labels=labels, step_s=0.5, window_steps=STEPS,
                        frame_spacing_s=0.25, sample_rate_hz=16000, licence="Apache-2.0", training={}, quality={},
                        visual=graphs["visual"], acoustic=graphs["acoustic"], fusion=graphs["fusion"])
    manifest = msgspec.structs.replace(manifest, **changes)
    (folder / "manifest.json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
    return folder


Parts = tuple[list[onnx.NodeProto], dict[str, Any], tuple[Port, ...], tuple[Port, ...]]


def _visual() -> Parts:
    nodes = [
        helper.make_node("Cast", ["frames"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "white"], ["unit"]),
        helper.make_node("Gather", ["unit", "newest"], ["new"], axis=1),
        helper.make_node("Gather", ["unit", "oldest"], ["old"], axis=1),
        helper.make_node("ReduceMean", ["new", "axes"], ["bright"], keepdims=0),
        helper.make_node("Sub", ["new", "old"], ["change"]),
        helper.make_node("Abs", ["change"], ["size"]),
        helper.make_node("ReduceMean", ["size", "axes"], ["motion"], keepdims=0),
        helper.make_node("Unsqueeze", ["bright", "last"], ["bright1"]),
        helper.make_node("Unsqueeze", ["motion", "last"], ["motion1"]),
        helper.make_node("Concat", ["bright1", "motion1"], ["embedding"], axis=1),
    ]
    constants = {"white": np.float32(255), "newest": np.int64(FRAMES - 1), "oldest": np.int64(0),
                 "axes": np.array([1, 2, 3]), "last": np.array([1])}
    return (nodes, constants, (Port(name="frames", dtype="uint8", shape=("B", FRAMES, SIZE_PX, SIZE_PX, 3)),),
            (Port(name="embedding", dtype="float32", shape=("B", DV)),))


def _acoustic() -> Parts:
    nodes = [helper.make_node("Abs", ["samples"], ["size"]),
             helper.make_node("ReduceMean", ["size", "axes"], ["embedding"], keepdims=1)]
    return (nodes, {"axes": np.array([1])}, (Port(name="samples", dtype="float32", shape=("B", SAMPLES)),),
            (Port(name="embedding", dtype="float32", shape=("B", DA)),))


def _fusion() -> Parts:
    """Logit = sharpness * (value - threshold) where the sense is there, very low where it is not."""
    nodes = [
        helper.make_node("Concat", ["visual", "acoustic"], ["values"], axis=2),  # (B, T, 3)
        helper.make_node("Sub", ["values", "thresholds"], ["above"]),
        helper.make_node("Mul", ["above", "sharpness"], ["heard"]),
        helper.make_node("Unsqueeze", ["visual_valid", "last"], ["v1"]),
        helper.make_node("Unsqueeze", ["acoustic_valid", "last"], ["a1"]),
        helper.make_node("Concat", ["v1", "v1", "a1"], ["valid"], axis=2),
        helper.make_node("Where", ["valid", "heard", "nothing"], ["events"]),
        helper.make_node("Gather", ["events", "loud"], ["loudness"], axis=2),  # (B, T, 1)
        helper.make_node("Mul", ["loudness", "spread"], ["sentiment"]),  # (B, T, 4)
        helper.make_node("Unsqueeze", ["events", "end"], ["e1"]),
        helper.make_node("Mul", ["e1", "zero"], ["z1"]),
        helper.make_node("Add", ["z1", "shares"], ["contribution"]),  # (B, T, 3, 2)
    ]
    constants = {
        "thresholds": np.array([0.5, 0.05, 0.1], np.float32), "sharpness": np.float32(SHARPNESS),
        "nothing": np.float32(-20), "last": np.array([2]), "end": np.array([3]), "loud": np.array([2]),
        "spread": np.array([-1, 1, 0, 0], np.float32), "zero": np.float32(0),
        "shares": np.array([[1, 0], [1, 0], [0, 1]], np.float32)}
    inputs = (Port(name="visual", dtype="float32", shape=("B", STEPS, DV)),
              Port(name="acoustic", dtype="float32", shape=("B", STEPS, DA)),
              Port(name="visual_valid", dtype="bool", shape=("B", STEPS)),
              Port(name="acoustic_valid", dtype="bool", shape=("B", STEPS)))
    outputs = (Port(name="events", dtype="float32", shape=("B", STEPS, len(LABELS))),
               Port(name="sentiment", dtype="float32", shape=("B", STEPS, 4)),
               Port(name="contribution", dtype="float32", shape=("B", STEPS, len(LABELS), 2)))
    return nodes, constants, inputs, outputs


TYPES = {"uint8": TensorProto.UINT8, "bool": TensorProto.BOOL, "float32": TensorProto.FLOAT}


def _write(folder: Path, name: str, nodes: list[onnx.NodeProto], constants: dict[str, Any],
           inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> Graph:
    def info(port: Port) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(port.name, TYPES[port.dtype], list(port.shape))

    graph = helper.make_graph(nodes, name, [info(port) for port in inputs], [info(port) for port in outputs],
                              [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    file = folder / f"{name}.onnx"
    onnx.save(model, file)
    return Graph(file=file.name, sha256=sha256_of(file), inputs=inputs, outputs=outputs)
