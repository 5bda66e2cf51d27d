"""On a GPU: TensorRT computes what ONNX Runtime does, in every precision and batch; and how fast, printed."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from rich.console import Console

from operators.backends.base import Arrays
from operators.backends.onnx_backend import OnnxBackend
from operators.backends.tensorrt_engine import Recipe, cached, engine_folder
from operators.models.bundle import Graph, load
from pipeline.training.exporting.half import halved
from pipeline.training.exporting.parity import AGREEMENT, cosine, example
from tests.contracts.conv_bundle import make_conv
from tests.tiny_bundle import make_bundle


@pytest.fixture(scope="module")
def backend() -> ModuleType:
    """The module of the TensorRT backend, where there is a GPU to run it."""
    try:
        module = importlib.import_module("operators.backends.tensorrt_backend")
    except ImportError as error:
        pytest.skip(f"TensorRT is not installed (extra `gpu`): {error}")
    status, _ = module.cuda.cudaGetDeviceCount()
    if status != module.cuda.cudaError_t.cudaSuccess:
        pytest.skip(f"no GPU here: {status.name}")
    return module


@pytest.fixture
def no_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def differs(backend: ModuleType, path: Path, graph: Graph, batch: int) -> float:
    """Cosine between TensorRT and ONNX Runtime."""
    inputs = example(graph, batch + 1, seed=1)
    one, other = (engine(path, graph, batch=batch, threads=1).run(inputs)
                  for engine in (backend.TensorRtBackend, OnnxBackend))
    return min(cosine(np.asarray(one[name]), np.asarray(other[name])) for name in other)


@pytest.mark.gpu
@pytest.mark.parametrize("batch", [1, 3, 16, 20])
def test_an_engine_computes_what_onnx_runtime_does(backend: ModuleType, no_engines: None, tmp_path: Path,
                                                   batch: int) -> None:
    graph = make_conv(tmp_path)
    assert differs(backend, tmp_path / graph.file, graph, batch) >= AGREEMENT["fp32"]
    bundle = load(make_bundle(tmp_path / "bundle"))
    for one in (bundle.manifest.visual, bundle.manifest.acoustic, bundle.manifest.fusion):
        assert differs(backend, bundle.file(one), one, batch) >= AGREEMENT["fp32"], one.file


@pytest.mark.gpu
def test_an_engine_built_ahead_in_half_precision_is_taken(backend: ModuleType, no_engines: None,
                                                          tmp_path: Path) -> None:
    graph = make_conv(tmp_path)
    path = tmp_path / graph.file
    recipe = Recipe.of(backend.trt, path, graph, batch=4, architecture=backend.architecture(), half=True)
    cached(backend.trt, path, recipe, engine_folder(), halved(path, graph))
    assert differs(backend, path, graph, 4) >= AGREEMENT["fp16"]
    assert [file.name for file in engine_folder().iterdir()] == [recipe.file_name]


@pytest.mark.gpu
def test_how_fast(backend: ModuleType, no_engines: None, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="the train extra is not installed")
    from tests.benchmarks.gpu import benchmark  # noqa: PLC0415

    with capsys.disabled():
        benchmark(Console())


def test_what_the_benchmark_counts_is_right() -> None:
    """On a CPU, so that the GPU's figures can be trusted."""
    torch = pytest.importorskip("torch", reason="the train extra is not installed")
    from tests.benchmarks import gpu  # noqa: PLC0415

    module = torch.nn.Linear(30, 20)
    inputs: Arrays = {"x": np.zeros((4, 30), np.float32)}
    assert gpu.flop_per_row(module, inputs) == 2 * 30 * 20
    assert gpu.least_bytes(module, inputs) == 4 * (30 * 20 + 20) + 4 * 4 * 30
    top = gpu.ceilings("cpu", side=64, copied_bytes=4096)
    assert top.matmul_flop_s > 0
    assert top.memory_bytes_s > 0
    calls: list[object] = []
    assert gpu.per_second(lambda: calls.append(gpu.through_torch(module, inputs, "cpu")()), 4, least_s=0.01) > 0
    assert len(calls) > 3
