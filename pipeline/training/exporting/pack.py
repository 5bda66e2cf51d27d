"""`lookout export`: a bundle that was checked engine by engine, as it is or with its visual graph in int8."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from operators.backends.base import Arrays
from operators.backends.onnx_backend import OnnxBackend
from operators.backends.threads import cpu_quota
from operators.errors import SettingsError
from operators.models.bundle import Bundle, Graph, load
from pipeline.training.exporting.parity import agree, engines, example

CHECKED_ROWS = 3
Agreement = dict[str, dict[str, float]]


def pack(bundle: Bundle, out: Path) -> tuple[Bundle, Agreement]:
    """Write a copy of `bundle` to `out` if all engines here agree on it; also gives how well, per file and engine.

    What torch computed was compared when `lookout train` wrote the bundle, and stands in its manifest.

    Raises:
        SettingsError: `out` is there already.
        BundleError: two engines differ; nothing was written.
    """
    manifest = bundle.manifest
    with writing(out) as partial:
        found = {graph.file: agreement(bundle.file(graph), graph, example(graph, CHECKED_ROWS, seed=1))
                 for graph in (manifest.visual, manifest.acoustic, manifest.fusion)}
        for file in (*(bundle.path / name for name in found), bundle.path / "manifest.json"):
            shutil.copy(file, partial)
    return load(out), found


def agreement(path: Path, graph: Graph, inputs: Arrays, reference: tuple[Path, Graph] | None = None,
              ) -> dict[str, float]:
    """The least cosine of every engine here to ONNX Runtime on `reference`, which is the graph itself unless given.

    Raises:
        BundleError: one is below what its precision is held to.
    """
    rows = len(next(iter(inputs.values())))
    expected = OnnxBackend(*(reference or (path, graph)), batch=rows, threads=cpu_quota()).run(inputs)
    said = "the same graph in fp32" if reference else "onnxruntime"
    return agree(said, expected, engines(path, graph, rows), inputs)


@contextmanager
def writing(out: Path) -> Iterator[Path]:
    """A folder that becomes `out` once it is complete, or is removed.

    Raises:
        SettingsError: `out` is there already.
    """
    if out.exists():
        message = f"{out}: is there already"
        raise SettingsError(message)
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
