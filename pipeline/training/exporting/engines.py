"""`lookout engines build`: TensorRT engines made ahead, for GPUs that need not be there.

An engine lies in the folder under a name made of everything it depends on, which is where the serving
process looks for it. Only the visual graph, which is nearly all of the arithmetic, is rounded to
float16: the spectrum inside the acoustic one needs the range of float32.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from operators.backends.tensorrt_engine import Recipe, cached, kept, package
from operators.errors import BackendError, BundleError, SettingsError
from operators.models.bundle import Bundle


class Precision(StrEnum):
    """What the visual graph is computed in."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


@dataclass(frozen=True)
class Built:
    """One engine."""

    graph: str
    recipe: Recipe
    size_bytes: int
    was_there: bool


def build_engines(bundle: Bundle, folder: Path, *, architectures: Sequence[str], precision: Precision,
                  batch: int) -> Iterator[Built]:
    """Every graph of `bundle` for every architecture, each given as soon as it lies in `folder`.

    Raises:
        SettingsError: TensorRT is not installed, or no architecture is named and no GPU is there.
        BundleError: the bundle cannot be had in this precision.
        BackendError: an engine cannot be built.
    """
    try:
        trt = package()
    except ImportError as error:
        message = f"building engines needs TensorRT: pip install 'lookout[gpu]' ({error})"
        raise SettingsError(message) from error
    manifest = bundle.manifest
    if (precision is Precision.INT8) != (manifest.visual.precision == "int8"):
        message = (f"{bundle.path} is no int8 bundle: `lookout export BUNDLE --int8 DIR --out OUT` makes one of it"
                   if precision is Precision.INT8 else f"{bundle.path} is an int8 bundle, build it as one")
        raise BundleError(message)
    for architecture in architectures or (_here(),):
        for graph in (manifest.visual, manifest.acoustic, manifest.fusion):
            path, half = bundle.file(graph), precision is Precision.FP16 and graph is manifest.visual
            recipe = Recipe.of(trt, path, graph, batch=batch, architecture=architecture, half=half)
            engine = kept(path, recipe, folder)
            was_there = engine is not None
            if engine is None:
                if half:
                    from pipeline.training.exporting.half import halved  # noqa: PLC0415 - needs the extra `train`
                engine = cached(trt, path, recipe, folder, halved(path, graph) if half else None)
            yield Built(graph.file, recipe, len(engine), was_there)


def _here() -> str:
    """The architecture of the GPU that is there."""
    try:
        backend = importlib.import_module("operators.backends.tensorrt_backend")
        return str(backend.architecture())
    except (ImportError, BackendError) as error:
        message = f"no GPU to build for ({error}): name one with --arch, such as SM89"
        raise SettingsError(message) from error
