"""`lookout engines build`: real TensorRT engines, for GPUs that are not there."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from operators.backends.tensorrt_engine import Recipe, build, package
from operators.errors import BackendError, BundleError, SettingsError
from operators.models.bundle import Bundle, load
from pipeline.cli import app
from pipeline.training.exporting import engines
from pipeline.training.exporting.engines import Built, Precision, build_engines
from pipeline.training.exporting.half import halved
from tests.contracts.conv_bundle import make_conv
from tests.tiny_bundle import SAMPLES, make_bundle

ARCHITECTURES = ("SM80", "SM89", "SM120")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load(make_bundle(tmp_path_factory.mktemp("bundle")))


@pytest.fixture(scope="module")
def trt() -> ModuleType:
    try:
        found = package()
    except ImportError as error:
        pytest.skip(f"TensorRT is not installed (extra `gpu`): {error}")
    if not hasattr(found, "ComputeCapability"):
        pytest.skip(f"{found.__name__} builds only for the GPU that is there")
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(scope="module")
def built(trt: ModuleType, bundle: Bundle, folder: Path) -> list[Built]:
    return list(build_engines(bundle, folder, architectures=ARCHITECTURES, precision=Precision.FP32, batch=4))


def test_every_graph_is_built_for_every_architecture(built: list[Built], folder: Path) -> None:
    assert [(one.graph, one.recipe.architecture) for one in built] == [
        (f"{graph}.onnx", architecture) for architecture in ARCHITECTURES
        for graph in ("visual", "acoustic", "fusion")]
    assert {file.name for file in folder.iterdir()} == {one.recipe.file_name for one in built}
    assert all(one.size_bytes > 1000 and not one.was_there for one in built)


def test_what_is_there_is_not_built_again(built: list[Built], bundle: Bundle, folder: Path,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("operators.backends.tensorrt_engine.build", lambda *_: pytest.fail("was there"))
    again = list(build_engines(bundle, folder, architectures=ARCHITECTURES, precision=Precision.FP32, batch=1))
    assert all(one.was_there for one in again)


def test_half_precision_is_for_the_pictures_alone(built: list[Built], bundle: Bundle, folder: Path) -> None:
    half = list(build_engines(bundle, folder, architectures=["SM89"], precision=Precision.FP16, batch=4))
    assert [one.recipe.precision == "fp16" for one in half] == [True, False, False]
    assert [one.was_there for one in half] == [False, True, True]


def test_a_halved_graph_builds_and_is_another_engine(trt: ModuleType, tmp_path: Path) -> None:
    graph = make_conv(tmp_path)
    path = tmp_path / graph.file
    recipe = Recipe.of(trt, path, graph, batch=4, architecture="SM89", half=True)
    half = halved(path, graph)
    assert len(half) < 0.7 * path.stat().st_size
    assert len(build(trt, path, recipe, half)) > 1000


def test_a_graph_that_needs_float32_is_not_halved(bundle: Bundle) -> None:
    """Powers between 1e-8 and 1, as in the log-mel spectrum, are too far apart for float16."""
    graph = bundle.manifest.acoustic
    nodes = [helper.make_node("Mul", ["samples", "samples"], ["power"]),
             helper.make_node("Div", ["power", "floor"], ["above"]),
             helper.make_node("ReduceMean", ["above", "axes"], ["embedding"], keepdims=1)]
    made = helper.make_graph(
        nodes, "power", [helper.make_tensor_value_info("samples", TensorProto.FLOAT, ["B", SAMPLES])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["B", 1])],
        [numpy_helper.from_array(np.array(1e-8, np.float32), "floor"), numpy_helper.from_array(np.array([1]), "axes")])
    file = bundle.path / "power.onnx"
    file.write_bytes(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)],
                                       ir_version=10).SerializeToString())
    with pytest.raises(BundleError, match=r"acoustic\.onnx: float16 has no room for above, which reaches 1e\+08"):
        halved(file, graph)


def test_an_int8_graph_builds(trt: ModuleType, tmp_path: Path) -> None:
    graph = make_conv(tmp_path)
    scale = numpy_helper.from_array(np.array(0.02, np.float32), "scale")
    zero = numpy_helper.from_array(np.array(0, np.int8), "zero")
    weights = numpy_helper.from_array(np.ones((8, 3, 3, 3), np.float32) / np.float32(9), "weights")
    nodes = [helper.make_node("Cast", ["frames"], ["float"], to=TensorProto.FLOAT),
             helper.make_node("Transpose", ["float"], ["x"], perm=[0, 3, 1, 2])]
    for name in ("x", "weights"):
        nodes += [helper.make_node("QuantizeLinear", [name, "scale", "zero"], [f"{name}_q"]),
                  helper.make_node("DequantizeLinear", [f"{name}_q", "scale", "zero"], [f"{name}_d"])]
    nodes += [helper.make_node("Conv", ["x_d", "weights_d"], ["y"]),
              helper.make_node("GlobalAveragePool", ["y"], ["p"]), helper.make_node("Flatten", ["p"], ["embedding"])]
    made = helper.make_graph(
        nodes, "int8", [helper.make_tensor_value_info("frames", TensorProto.UINT8, list(graph.inputs[0].shape))],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["B", 8])], [scale, zero, weights])
    file = tmp_path / "int8.onnx"
    file.write_bytes(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)],
                                       ir_version=10).SerializeToString())
    recipe = Recipe.of(trt, file, msgspec.structs.replace(graph, precision="int8"), batch=4, architecture="SM89")
    assert recipe.precision == "int8"
    assert len(build(trt, file, recipe)) > 1000


def test_int8_is_asked_of_an_int8_bundle_only(trt: ModuleType, bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="lookout export BUNDLE --int8"):
        list(build_engines(bundle, tmp_path, architectures=["SM89"], precision=Precision.INT8, batch=1))
    visual = msgspec.structs.replace(bundle.manifest.visual, precision="int8")
    int8 = msgspec.structs.replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, visual=visual))
    with pytest.raises(BundleError, match="is an int8 bundle"):
        list(build_engines(int8, tmp_path, architectures=["SM89"], precision=Precision.FP16, batch=1))


def test_an_unknown_architecture_is_an_error(trt: ModuleType, bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="no architecture SM1"):
        list(build_engines(bundle, tmp_path, architectures=["SM1"], precision=Precision.FP32, batch=1))


def test_without_tensorrt_it_says_what_to_install(bundle: Bundle, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> ModuleType:
        raise ImportError

    monkeypatch.setattr(engines, "package", missing)
    with pytest.raises(SettingsError, match=r"pip install 'lookout\[gpu\]'"):
        list(build_engines(bundle, tmp_path, architectures=["SM89"], precision=Precision.FP32, batch=1))


def test_the_command_builds_and_says_what(trt: ModuleType, bundle: Bundle, tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["engines", "build", str(bundle.path), "--arch", "SM89", "--out", str(tmp_path)])
    assert run.exit_code == 0, run.output
    assert [line.split()[:4] for line in run.stdout.splitlines()] == [
        ["built", f"{graph}.onnx", "SM89", "tf32"] for graph in ("visual", "acoustic", "fusion")]
