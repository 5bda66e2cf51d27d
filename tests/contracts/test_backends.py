"""Every inference engine keeps one contract: named ports, any number of rows, rows that do not touch each other."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from operators.backends import load as loading
from operators.backends.base import Backend
from operators.backends.load import ENGINES, BackendName
from operators.backends.load import load as load_backend
from operators.backends.threads import cpu_quota
from operators.errors import BackendError
from operators.models.bundle import Bundle, Graph, Port, load
from tests.contracts.conv_bundle import make_conv
from tests.tiny_bundle import SAMPLES, make_bundle

BATCH = 3


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load(make_bundle(tmp_path_factory.mktemp("bundle")))


@pytest.fixture(scope="module", params=[name for name, _, _ in ENGINES])
def engine(request: pytest.FixtureRequest) -> type[Backend]:
    """An engine that can run here."""
    name, module, attribute = next(row for row in ENGINES if row[0] == request.param)
    try:
        found: type[Backend] = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        pytest.skip(f"{name} is not installed: {error}")
    if name == "tensorrt":
        runtime = importlib.import_module("cuda.bindings.runtime")
        status, _ = runtime.cudaGetDeviceCount()
        if status != runtime.cudaError_t.cudaSuccess:
            pytest.skip(f"no GPU here: {status.name}")
    return found


def samples(rows: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-1, 1, (rows, SAMPLES)).astype(np.float32)


def acoustic(engine: type[Backend], bundle: Bundle, batch: int = BATCH) -> Backend:
    graph = bundle.manifest.acoustic
    return engine(bundle.file(graph), graph, batch=batch, threads=2)


def test_its_name_is_the_one_of_the_settings(engine: type[Backend]) -> None:
    assert engine.name in [name for name, _, attribute in ENGINES if attribute == engine.__name__]


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7])
def test_any_number_of_rows(engine: type[Backend], bundle: Bundle, rows: int) -> None:
    given_rows = samples(rows)
    result = acoustic(engine, bundle).run({"samples": given_rows})
    assert list(result) == ["embedding"]
    assert result["embedding"].shape == (rows, 1)
    assert result["embedding"].dtype == np.float32
    assert np.allclose(result["embedding"][:, 0], np.abs(given_rows).mean(axis=1), rtol=0.01)


def test_all_ports_by_name(engine: type[Backend], bundle: Bundle) -> None:
    graph = bundle.manifest.fusion
    backend = engine(bundle.file(graph), graph, batch=2, threads=1)
    random = np.random.default_rng(0)
    shapes = {port.name: (3, *map(int, port.shape[1:])) for port in graph.inputs}
    inputs: dict[str, Any] = {name: random.uniform(0, 1, shape).astype(np.float32) for name, shape in shapes.items()}
    for name in ("visual_valid", "acoustic_valid"):
        inputs[name] = random.random(shapes[name]) < 0.5
    result = backend.run(dict(reversed(inputs.items())))  # by name, not by order
    assert set(result) == {"events", "sentiment", "contribution"}
    expected = np.where(inputs["acoustic_valid"], 100 * (inputs["acoustic"][..., 0] - 0.1), -20)
    assert np.allclose(result["events"][..., 2], expected, rtol=0.02, atol=0.1)
    assert result["contribution"].shape == (3, 8, 3, 2)


def test_results_are_kept_apart(engine: type[Backend], bundle: Bundle) -> None:
    backend = acoustic(engine, bundle)
    first = backend.run({"samples": samples(3)})["embedding"]
    kept = first.copy()
    backend.run({"samples": samples(3, seed=1)})
    assert np.array_equal(first, kept)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no rows": ({"samples": samples(0)}, "rows"),
    "another type": ({"samples": samples(1).astype(np.float64)}, "float64"),
    "another shape": ({"samples": samples(1)[:, 1:]}, "15999"),
    "another rank": ({"samples": samples(1)[0]}, "float32(16000,)"),
    "another name": ({"sound": samples(1)}, "'sound'"),
    "one too many": ({"samples": samples(1), "sound": samples(1)}, "'sound'"),
    "nothing": ({}, "rows"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_input_is_refused_by_name(engine: type[Backend], bundle: Bundle, kind: str) -> None:
    inputs, named = WRONG[kind]
    with pytest.raises(BackendError) as caught:
        acoustic(engine, bundle).run(inputs)
    assert "acoustic.onnx" in str(caught.value)
    assert named in str(caught.value)


def test_inputs_of_different_numbers_of_rows_are_refused(engine: type[Backend], bundle: Bundle) -> None:
    graph = bundle.manifest.fusion
    backend = engine(bundle.file(graph), graph, batch=2, threads=1)
    inputs = {port.name: np.zeros((2, *map(int, port.shape[1:])), port.dtype) for port in graph.inputs}
    inputs["acoustic"] = inputs["acoustic"][:1]
    with pytest.raises(BackendError, match="rows"):
        backend.run(inputs)


@pytest.mark.parametrize("content", [b"", b"no graph at all"])
def test_a_file_that_is_no_graph_is_refused(engine: type[Backend], bundle: Bundle, tmp_path: Path,
                                            content: bytes) -> None:
    file = tmp_path / "broken.onnx"
    file.write_bytes(content)
    with pytest.raises(BackendError, match=r"broken\.onnx"):
        engine(file, bundle.manifest.acoustic, batch=1, threads=1)


def test_a_missing_file_is_refused(engine: type[Backend], bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"missing\.onnx"):
        engine(tmp_path / "missing.onnx", bundle.manifest.acoustic, batch=1, threads=1)


OTHER_PORTS: dict[str, dict[str, tuple[Port, ...]]] = {
    "input name": {"inputs": (Port(name="sound", dtype="float32", shape=("B", SAMPLES)),)},
    "output name": {"outputs": (Port(name="vector", dtype="float32", shape=("B", 1)),)},
    "input type": {"inputs": (Port(name="samples", dtype="uint8", shape=("B", SAMPLES)),)},
    "one input more": {"inputs": (Port(name="samples", dtype="float32", shape=("B", SAMPLES)),
                                  Port(name="more", dtype="float32", shape=("B", 1)))},
}


@pytest.mark.parametrize("kind", OTHER_PORTS)
def test_a_graph_without_the_manifests_ports_is_refused(engine: type[Backend], bundle: Bundle, kind: str) -> None:
    graph = msgspec.structs.replace(bundle.manifest.acoustic, **OTHER_PORTS[kind])
    with pytest.raises(BackendError, match=r"acoustic\.onnx"):
        engine(bundle.file(graph), graph, batch=1, threads=1)


@pytest.fixture(scope="module", params=[1, 2], ids=["1 thread", "2 threads"])
def conv(request: pytest.FixtureRequest, engine: type[Backend], tmp_path_factory: pytest.TempPathFactory,
         ) -> tuple[Backend, NDArray[np.uint8], NDArray[np.float32]]:
    """A loaded convolutional net, pictures, and each picture's result when it is alone."""
    folder = tmp_path_factory.mktemp("conv")
    graph: Graph = make_conv(folder)
    backend = engine(folder / graph.file, graph, batch=4, threads=request.param)
    pictures = np.random.default_rng(0).integers(0, 256, (9, *map(int, graph.inputs[0].shape[1:])), np.uint8)
    alone = np.concatenate([backend.run({"frames": pictures[i:i + 1]})["embedding"] for i in range(9)])
    return backend, pictures, alone.astype(np.float32)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.lists(st.integers(0, 8), min_size=1, max_size=9))
def test_a_row_is_the_same_wherever_it_stands(conv: tuple[Backend, NDArray[np.uint8], NDArray[np.float32]],
                                              order: list[int]) -> None:
    """Bit for bit: events are the same after a crash only if they do not depend on how batches fell."""
    backend, pictures, alone = conv
    assert len(np.unique(alone, axis=0)) == len(alone)
    assert np.array_equal(backend.run({"frames": pictures[order]})["embedding"], alone[order])


def test_auto_takes_the_first_that_works(bundle: Bundle) -> None:
    fallen: list[str] = []
    backend = load_backend(bundle, bundle.manifest.acoustic, batch=1,
                           on_fallback=lambda engine, reason: fallen.append(engine))
    order = [name for name, _, _ in ENGINES]
    assert all(order.index(name) < order.index(backend.name) for name in fallen)  # type: ignore[arg-type]
    assert backend.threads == cpu_quota()


@pytest.mark.parametrize("name", ["onnxruntime"])
def test_a_named_engine_is_taken(bundle: Bundle, name: BackendName) -> None:
    backend = load_backend(bundle, bundle.manifest.acoustic, batch=2, backend=name, threads=1)
    assert (backend.name, backend.batch, backend.threads) == (name, 2, 1)


def test_an_engine_that_fails_is_told_and_the_next_one_taken(bundle: Bundle, monkeypatch: pytest.MonkeyPatch,
                                                             caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(loading, "ENGINES", (
        ("tensorrt", "no.such.package", "X"), ("openvino", __name__, "FailingBackend"), ENGINES[-1]))
    fallen: list[tuple[str, str]] = []
    backend = load_backend(bundle, bundle.manifest.acoustic, batch=1,
                           on_fallback=lambda engine, reason: fallen.append((engine, reason)))
    assert backend.name == "onnxruntime"
    assert fallen == [("openvino", "acoustic.onnx: out of luck")]  # what is not installed is no fallback
    assert "falling back from openvino: acoustic.onnx: out of luck" in caplog.text


def test_a_named_engine_that_fails_is_an_error(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "ENGINES", (("openvino", __name__, "FailingBackend"), ENGINES[-1]))
    with pytest.raises(BackendError, match="out of luck"):
        load_backend(bundle, bundle.manifest.acoustic, batch=1, backend="openvino")


def test_an_engine_that_is_not_installed_is_an_error_that_says_so(bundle: Bundle,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "ENGINES", (("openvino", "no_such_package", "X"),))
    with pytest.raises(BackendError, match=r"openvino is not installed \(no_such_package\)"):
        load_backend(bundle, bundle.manifest.acoustic, batch=1, backend="openvino")
    with pytest.raises(BackendError, match="not installed"):
        load_backend(bundle, bundle.manifest.acoustic, batch=1)


class FailingBackend(Backend):
    """An engine that is there and cannot load anything."""

    name = "openvino"

    def __init__(self, path: Path, graph: Graph, *, batch: int, threads: int) -> None:
        message = f"{path.name}: out of luck"
        raise BackendError(message)

    def infer(self, inputs: object) -> Any:
        raise AssertionError


QUOTAS: dict[str, tuple[dict[str, str], int]] = {
    "v2 without a limit": ({"cpu.max": "max 100000\n"}, 8),
    "v2, two CPUs": ({"cpu.max": "200000 100000\n"}, 2),
    "v2, one and a half": ({"cpu.max": "150000 100000\n"}, 2),
    "v2, a tenth": ({"cpu.max": "10000 100000\n"}, 1),
    "v2, more than there are": ({"cpu.max": "6400000 100000\n"}, 8),
    "v1 without a limit": ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
    "v1, three CPUs": ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
    "no cgroup": ({}, 8),
    "nonsense": ({"cpu.max": "a b c\n"}, 8),
    "no period": ({"cpu.max": "100000 0\n"}, 8),
}


@pytest.mark.parametrize("kind", QUOTAS)
def test_threads_follow_the_containers_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: set(range(8)), raising=False)
    files, cpus = QUOTAS[kind]
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu_quota(tmp_path) == cpus
