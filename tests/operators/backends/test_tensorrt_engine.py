"""TensorRT engines are built without a GPU, kept on disk, and built again when anything they depend on changes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from operators.backends import tensorrt_engine
from operators.backends.load import load as load_backend
from operators.backends.tensorrt_engine import PROFILES, Recipe, build, cached, package
from operators.errors import BackendError
from operators.models.bundle import Bundle, Graph, load
from tests.tiny_bundle import SAMPLES, make_bundle


@pytest.fixture(scope="module")
def trt() -> ModuleType:
    try:
        return package()
    except ImportError as error:
        pytest.skip(f"TensorRT is not installed (extra `gpu`): {error}")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load(make_bundle(tmp_path_factory.mktemp("bundle")))


@pytest.fixture
def recipe(trt: ModuleType, bundle: Bundle) -> Recipe:
    graph = bundle.manifest.acoustic
    return Recipe.of(trt, bundle.file(graph), graph, batch=2, architecture="SM89")


def test_a_recipe_names_everything(trt: ModuleType, bundle: Bundle, recipe: Recipe) -> None:
    assert recipe.model_sha256 == bundle.manifest.acoustic.sha256
    assert trt.__version__ in recipe.version
    assert recipe.architecture == "SM89"
    assert recipe.precision == ("tf32" if hasattr(trt.BuilderFlag, "TF32") else "fp32")
    assert recipe.shapes == (("samples", (SAMPLES,)),)


@pytest.mark.parametrize(("batch", "profile", "largest"), [(1, 0, 1), (2, 1, 4), (4, 1, 4), (16, 2, 16), (40, 3, 40)])
def test_a_batch_is_served_by_the_narrowest_profile(trt: ModuleType, bundle: Bundle, batch: int, profile: int,
                                                    largest: int) -> None:
    graph = bundle.manifest.acoustic
    recipe = Recipe.of(trt, bundle.file(graph), graph, batch=batch, architecture="SM89")
    assert recipe.profile(batch) == profile
    assert recipe.batches[profile] == largest


def another_model(graph: Graph, path: Path, trt: ModuleType, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    path.write_bytes(path.read_bytes() + b" ")
    return {}


def another_version(graph: Graph, path: Path, trt: ModuleType, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(trt, "__version__", "99.0")
    return {}


def another_package(graph: Graph, path: Path, trt: ModuleType, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(trt, "__name__", "another_tensorrt")
    return {}


def another_width(graph: Graph, path: Path, trt: ModuleType, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return {"graph": msgspec.structs.replace(graph, inputs=(msgspec.structs.replace(
        graph.inputs[0], shape=("B", SAMPLES // 2)),))}


REASONS: dict[str, Callable[[Graph, Path, ModuleType, pytest.MonkeyPatch], dict[str, Any]]] = {
    "another model": another_model, "another version": another_version, "another package": another_package,
    "another GPU": lambda *_: {"architecture": "SM120"}, "half precision": lambda *_: {"half": True},
    "int8": lambda graph, *_: {"graph": msgspec.structs.replace(graph, precision="int8")},
    "a larger batch": lambda *_: {"batch": PROFILES[-1] + 1}, "another shape": another_width,
}


@pytest.mark.parametrize("reason", [*REASONS, "none", "a smaller batch"])
def test_every_reason_to_build_again_and_no_other(trt: ModuleType, bundle: Bundle, tmp_path: Path, cache: Cache,
                                                  monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    graph = bundle.manifest.acoustic
    path = Path(shutil.copy(bundle.file(graph), tmp_path))
    known: dict[str, Any] = {"graph": graph, "batch": 4, "architecture": "SM89"}
    cache.get(Recipe.of(trt, path, **known))
    if reason == "a smaller batch":
        known["batch"] = 1
    elif reason != "none":
        known |= REASONS[reason](graph, path, trt, monkeypatch)
    cache.get(Recipe.of(trt, path, **known))
    assert cache.built == (2 if reason in REASONS else 1)


CHANGES: dict[str, object] = {"model_sha256": "0" * 64, "version": "tensorrt 1.0", "architecture": "SM80",
                              "precision": "int8", "batches": (1, 2), "shapes": (("samples", (3,)),)}


@pytest.mark.parametrize("field", CHANGES)
def test_another_recipe_is_another_file(field: str) -> None:
    recipe = Recipe("f" * 64, "tensorrt_rtx 1.7", "SM89", "tf32", (1, 4), (("samples", (SAMPLES,)),))
    assert set(CHANGES) == set(Recipe.__dataclass_fields__)
    assert replace(recipe).file_name == recipe.file_name
    assert replace(recipe, **{field: CHANGES[field]}).file_name != recipe.file_name  # type: ignore[arg-type]


@pytest.mark.parametrize("architecture", ["SM80", "SM89", "SM120"])
@pytest.mark.parametrize("graph", ["visual", "acoustic", "fusion"])
def test_engines_are_built_without_a_gpu(trt: ModuleType, bundle: Bundle, graph: str, architecture: str) -> None:
    if not hasattr(trt, "ComputeCapability"):
        pytest.skip(f"{trt.__name__} builds only for the GPU that is there")
    ports = getattr(bundle.manifest, graph)
    path = bundle.file(ports)
    assert len(build(trt, path, Recipe.of(trt, path, ports, batch=2, architecture=architecture))) > 1000


def test_an_unknown_architecture_is_an_error(trt: ModuleType, bundle: Bundle, recipe: Recipe) -> None:
    with pytest.raises(BackendError, match=r"acoustic\.onnx: TensorRT .* knows no architecture SM1"):
        build(trt, bundle.file(bundle.manifest.acoustic), replace(recipe, architecture="SM1"))


@pytest.mark.parametrize("content", [b"", b"no graph at all"])
def test_a_file_that_is_no_graph_is_an_error(trt: ModuleType, recipe: Recipe, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "broken.onnx"
    file.write_bytes(content)
    with pytest.raises(BackendError, match=r"broken\.onnx: TensorRT cannot"):
        build(trt, file, recipe)


def test_a_missing_file_is_an_error(trt: ModuleType, bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"missing\.onnx"):
        Recipe.of(trt, tmp_path / "missing.onnx", bundle.manifest.acoustic, batch=1, architecture="SM89")


class Cache:
    """The cache with a builder that counts."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.built = folder, 0
        monkeypatch.setattr(tensorrt_engine, "build", self._build)

    def _build(self, _trt: ModuleType, _path: Path, recipe: Recipe, _model: bytes | None = None) -> bytes:
        self.built += 1
        return f"engine for {recipe}".encode()

    def get(self, recipe: Recipe) -> bytes:
        return cached(ModuleType("none"), Path("acoustic.onnx"), recipe, self.folder)


A_RECIPE = Recipe("f" * 64, "tensorrt_rtx 1.7", "SM89", "tf32", (1, 4), (("samples", (SAMPLES,)),))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    return Cache(tmp_path / "engines", monkeypatch)


def test_an_engine_is_built_once(cache: Cache) -> None:
    assert cache.get(A_RECIPE) == cache.get(A_RECIPE) == f"engine for {A_RECIPE}".encode()
    assert cache.built == 1
    assert [file.name for file in cache.folder.iterdir()] == [A_RECIPE.file_name]


@pytest.mark.parametrize("field", CHANGES)
def test_an_engine_is_built_again_when_anything_changes(cache: Cache, field: str) -> None:
    cache.get(A_RECIPE)
    cache.get(replace(A_RECIPE, **{field: CHANGES[field]}))  # type: ignore[arg-type]
    assert cache.built == 2


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "garbage"])
def test_a_damaged_file_is_built_again(cache: Cache, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    engine = cache.get(A_RECIPE)
    file = cache.folder / A_RECIPE.file_name
    whole = file.read_bytes()
    file.write_bytes({"empty": b"", "cut": whole[:-1], "flipped": whole[:-1] + bytes([whole[-1] ^ 1]),
                      "garbage": b"x" * 10}[damage])
    assert cache.get(A_RECIPE) == engine
    assert cache.built == 2
    assert file.read_bytes() == whole
    assert (damage == "empty") or "damaged" in caplog.text


def test_a_cache_that_cannot_be_written_costs_only_time(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    cache.folder.write_text("a file where the folder should be")
    assert cache.get(A_RECIPE)
    assert cache.get(A_RECIPE)
    assert cache.built == 2
    assert "cannot be kept" in caplog.text


def test_without_a_gpu_the_next_engine_is_taken_and_it_is_told(trt: ModuleType, bundle: Bundle) -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed (extra `gpu`)")
    status, _ = runtime.cudaGetDeviceCount()
    if status == runtime.cudaError_t.cudaSuccess:
        pytest.skip("there is a GPU here")
    fallen: list[str] = []
    backend = load_backend(bundle, bundle.manifest.acoustic, batch=1,
                           on_fallback=lambda engine, reason: fallen.append(f"{engine}: {reason}"))
    assert backend.name != "tensorrt"
    assert fallen == [f"tensorrt: acoustic.onnx: CUDA: {status.name}"]
    with pytest.raises(BackendError, match="CUDA"):
        load_backend(bundle, bundle.manifest.acoustic, batch=1, backend="tensorrt")
