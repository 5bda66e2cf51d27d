"""From torch to a bundle: three ONNX files that are shown to compute the same, and the manifest."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import torch
from torch import nn

from operators.errors import BundleError
from operators.models.bundle import FORMAT, Bundle, Graph, Label, Manifest, Port, load, sha256_of
from pipeline.training.dataset import SAMPLING
from pipeline.training.exporting.parity import agree, engines, example
from pipeline.training.foreign import Foreign
from pipeline.training.network import SENTIMENT_CLASSES

HALVED_BYTES = 4096  # weights from this size on are stored as float16
CHECKED_ROWS = 3
OPSET = 18
EXACT = ("kernels",)  # spectra lose their floor when these are rounded


@dataclass(frozen=True)
class Networks:
    """What is exported, in evaluation mode."""

    visual: nn.Module
    acoustic: nn.Module
    fusion: nn.Module
    visual_width: int
    acoustic_width: int


@dataclass(frozen=True)
class Facts:
    """What the manifest says beside the ports."""

    name: str
    version: str
    labels: tuple[Label, ...]
    window_steps: int
    licence: str
    training: Mapping[str, Any]


def export(networks: Networks, facts: Facts, out: Path) -> Bundle:
    """Write the bundle into `out`, complete or not at all.

    Raises:
        BundleError: an engine's output differs from torch's; nothing was written.
    """
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        graphs = _graphs(networks, facts, partial)
        manifest = Manifest(
            format=FORMAT, name=facts.name, version=facts.version, labels=facts.labels,
            step_s=SAMPLING.step_ns / 1e9, window_steps=facts.window_steps, frame_spacing_s=SAMPLING.spacing_ns / 1e9,
            sample_rate_hz=SAMPLING.sample_rate_hz, visual=graphs["visual"], acoustic=graphs["acoustic"],
            fusion=graphs["fusion"], licence=facts.licence, training=dict(facts.training), quality={})
        write_manifest(manifest, partial)
        load(partial)
        parity = {graph.file: check_parity(partial / graph.file, graph, module) for module, graph in (
            (networks.visual, manifest.visual), (networks.acoustic, manifest.acoustic),
            (networks.fusion, manifest.fusion))}
        write_manifest(msgspec.structs.replace(manifest, training={**manifest.training, "parity": parity}), partial)
        shutil.rmtree(out, ignore_errors=True)
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return load(out)


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write `manifest.json`, readable."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    (folder / "manifest.json").write_bytes(text + b"\n")


def check_parity(path: Path, graph: Graph, module: nn.Module) -> dict[str, float]:
    """Compare every engine here with torch on the same random input; the least cosine per engine and precision.

    Raises:
        BundleError: one is below what its precision is held to.
    """
    inputs = example(graph, CHECKED_ROWS, seed=1)
    with torch.inference_mode():
        result = module(*(torch.from_numpy(inputs[port.name]) for port in graph.inputs))
    values = [value.numpy() for value in (result if isinstance(result, tuple) else (result,))]
    expected = dict(zip([port.name for port in graph.outputs], values, strict=True))
    return agree("torch", expected, engines(path, graph, CHECKED_ROWS), inputs)


def _graphs(networks: Networks, facts: Facts, folder: Path) -> dict[str, Graph]:
    labels, steps = len(facts.labels), facts.window_steps
    visual, acoustic = networks.visual_width, networks.acoustic_width
    picture = (SAMPLING.pictures, SAMPLING.height_px, SAMPLING.width_px, 3)
    ports: dict[str, tuple[nn.Module, Sequence[Port], Sequence[Port]]] = {
        "visual": (networks.visual, [port("frames", "uint8", *picture)], [port("embedding", "float32", visual)]),
        "acoustic": (networks.acoustic, [port("samples", "float32", SAMPLING.samples)],
                     [port("embedding", "float32", acoustic)]),
        "fusion": (networks.fusion, [
            port("visual", "float32", steps, visual), port("acoustic", "float32", steps, acoustic),
            port("visual_valid", "bool", steps), port("acoustic_valid", "bool", steps),
        ], [
            port("events", "float32", steps, labels), port("sentiment", "float32", steps, SENTIMENT_CLASSES),
            port("contribution", "float32", steps, labels, 2),
        ]),
    }
    graphs = {}
    for name, (module, inputs, outputs) in ports.items():
        graph = Graph(file=f"{name}.onnx", sha256="", inputs=tuple(inputs), outputs=tuple(outputs))
        to_onnx(module, graph, folder / graph.file)
        graphs[name] = msgspec.structs.replace(graph, sha256=sha256_of(folder / graph.file))
    return graphs


def port(name: str, dtype: str, *shape: int) -> Port:
    """A port whose first dimension is the batch."""
    return msgspec.convert({"name": name, "dtype": dtype, "shape": ("B", *shape)}, Port)


def to_onnx(module: nn.Module, graph: Graph, file: Path, *, halve: bool = True) -> None:
    """Write one module as an ONNX file with the ports of `graph`, its batch left open; large weights as float16."""
    trunk = getattr(module, "trunk", None)
    if isinstance(module, Foreign):
        onnx.save(module.model(), file)
        return
    if isinstance(trunk, Foreign):
        onnx.save(trunk.model(module.get_submodule("projection")), file)
        return
    inputs = example(graph, 2, seed=0)
    batch = torch.export.Dim("B")
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own exporter uses what torch deprecates
        program = torch.onnx.export(
            module, tuple(torch.from_numpy(inputs[port.name]) for port in graph.inputs), dynamo=True, verbose=False,
            input_names=[port.name for port in graph.inputs], output_names=[port.name for port in graph.outputs],
            dynamic_shapes=tuple({0: batch} for _ in graph.inputs), opset_version=OPSET)
    if program is None:
        message = f"{graph.file}: torch exported nothing"
        raise BundleError(message)
    model = program.model_proto
    if halve:
        _halve(model)
    _forget_origins(model)
    onnx.save(model, file)


def _halve(model: onnx.ModelProto) -> None:
    """Store large weights as float16 and cast them back: half the file, the same arithmetic afterwards."""
    casts = []
    for weight in model.graph.initializer:
        array = onnx.numpy_helper.to_array(weight)
        if array.dtype != np.float32 or array.nbytes < HALVED_BYTES or any(name in weight.name for name in EXACT):
            continue
        name = weight.name
        weight.CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float16), f"{name}_half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])


def _forget_origins(model: onnx.ModelProto) -> None:
    del model.graph.value_info[:]  # shapes are inferred again by whoever loads it
    for node in model.graph.node:
        del node.metadata_props[:]  # the exporter's notes on where a node comes from hold paths
        node.doc_string = ""
