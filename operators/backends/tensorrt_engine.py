"""Building TensorRT engines and keeping them on disk. Needs no GPU; running them does.

The packages `tensorrt` and `tensorrt_rtx` share their API; whichever is installed is used, the first if both are.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from platformdirs import user_cache_path

from operators.errors import BackendError
from operators.models.bundle import Graph, sha256_of

log = logging.getLogger(__name__)

PACKAGES = ("tensorrt", "tensorrt_rtx")
DIGEST_BYTES = 32  # of SHA-256, in front of every cached engine
PROFILES = (1, 4, 16)  # the largest batch of each optimisation profile; one engine serves all up to the last
HALF = "fp16"  # only ever built ahead, by `lookout engines build`: it computes a little differently


def package() -> ModuleType:
    """The installed TensorRT.

    Raises:
        ImportError: neither package is installed.
    """
    for name in PACKAGES:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
        except OSError as error:  # its libraries are not there or do not fit this machine
            message = f"{name}: {error}"
            raise ImportError(message, name=name) from error
    message = f"neither {' nor '.join(PACKAGES)} is installed"
    raise ModuleNotFoundError(message, name=PACKAGES[-1])


@dataclass(frozen=True)
class Recipe:
    """Everything that an engine depends on: engines of equal recipes are interchangeable."""

    model_sha256: str
    version: str  # the package and its version
    architecture: str  # of the GPU, such as SM89
    precision: str
    batches: tuple[int, ...]  # the largest of each optimisation profile, ascending
    shapes: tuple[tuple[str, tuple[int, ...]], ...]  # of one row of every input

    @classmethod
    def of(cls, trt: ModuleType, path: Path, graph: Graph, *, batch: int, architecture: str,
           half: bool = False) -> Recipe:
        """What an engine of the ONNX file at `path` that takes up to `batch` rows depends on.

        Raises:
            BackendError: there is no such file.
        """
        try:
            digest = sha256_of(path)
        except OSError as error:
            message = f"{path.name}: {error.strerror}"
            raise BackendError(message) from error
        shapes = tuple((port.name, tuple(int(size) for size in port.shape[1:])) for port in graph.inputs)
        batches = PROFILES if batch <= PROFILES[-1] else (*PROFILES, batch)
        full = "tf32" if hasattr(trt.BuilderFlag, "TF32") else "fp32"
        precision = HALF if half else full if graph.precision == "fp32" else graph.precision
        return cls(digest, f"{trt.__name__} {trt.__version__}", architecture, precision, batches, shapes)

    def profile(self, batch: int) -> int:
        """The number of the narrowest profile that takes `batch` rows."""
        return next(i for i, largest in enumerate(self.batches) if batch <= largest)

    @property
    def file_name(self) -> str:
        """Where the cache keeps the engine."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:40] + ".engine"


def engine_folder() -> Path:
    """Where engines are looked for and kept."""
    return user_cache_path("lookout") / "engines"


def build(trt: ModuleType, path: Path, recipe: Recipe, model: bytes | None = None) -> bytes:
    """The serialised engine of the ONNX file at `path`, or of `model` made from it.

    Raises:
        BackendError: TensorRT cannot build it; the message says what it said.
    """
    logger = _Collector(trt)
    builder = trt.Builder(logger.sink)
    flags = 0
    if strongly := getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None):
        flags = 1 << int(strongly)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger.sink)
    if not (parser.parse_from_file(str(path)) if model is None else parser.parse(model)):
        said = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        message = f"{path.name}: TensorRT cannot read it: {said or logger.said()}"
        raise BackendError(message)
    config = builder.create_builder_config()
    for least, most in zip((1, *(batch + 1 for batch in recipe.batches)), recipe.batches, strict=False):
        profile = builder.create_optimization_profile()
        for name, shape in recipe.shapes:
            profile.set_shape(name, (least, *shape), (most, *shape), (most, *shape))
        config.add_optimization_profile(profile)
    _aim(trt, config, recipe.architecture, path)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        message = f"{path.name}: TensorRT cannot build it for {recipe.architecture}: {logger.said()}"
        raise BackendError(message)
    return bytes(engine)


def _aim(trt: ModuleType, config: Any, architecture: str, path: Path) -> None:
    """Build for `architecture`; the package without this choice builds for the GPU that is there."""
    if not hasattr(config, "set_compute_capability"):
        return
    capability = trt.ComputeCapability.__members__.get(architecture)
    if capability is None:
        message = f"{path.name}: TensorRT {trt.__version__} knows no architecture {architecture}"
        raise BackendError(message)
    config.num_compute_capabilities = 1
    if not config.set_compute_capability(capability, 0):
        message = f"{path.name}: TensorRT {trt.__version__} cannot build for {architecture}"
        raise BackendError(message)


def kept(path: Path, recipe: Recipe, folder: Path) -> bytes | None:
    """The engine from the cache in `folder`; None where it is missing or damaged."""
    file = folder / recipe.file_name
    try:
        content = file.read_bytes()
    except OSError:
        return None
    digest, engine = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    if engine and hashlib.sha256(engine).digest() == digest:
        return engine
    log.warning("%s: the cached engine %s is damaged", path.name, file.name)
    return None


def cached(trt: ModuleType, path: Path, recipe: Recipe, folder: Path, model: bytes | None = None) -> bytes:
    """The engine from the cache in `folder`; built (see `build`) and kept there where it is missing or damaged.

    Raises:
        BackendError: it has to be built and cannot be.
    """
    if engine := kept(path, recipe, folder):
        return engine
    engine = build(trt, path, recipe, model)
    try:
        _keep(folder / recipe.file_name, hashlib.sha256(engine).digest() + engine)
    except OSError as error:
        log.warning("%s: the engine cannot be kept: %s", path.name, error)
    return engine


def _keep(file: Path, content: bytes) -> None:
    """Write all of it or nothing: other processes may read the cache at any moment."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as partial:
        try:
            partial.write(content)
            partial.close()
            os.replace(partial.name, file)
        except OSError:
            Path(partial.name).unlink(missing_ok=True)
            raise


class _Collector:
    """Keeps what TensorRT says, so that an error can tell it."""

    def __init__(self, trt: ModuleType) -> None:
        lines: list[str] = []
        serious = (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR)

        class Sink(trt.ILogger):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in serious:
                    lines.append(message)

        self._lines, self.sink = lines, Sink()

    def said(self) -> str:
        """The errors so far in one line."""
        return "; ".join(self._lines) or "it gave no reason"
