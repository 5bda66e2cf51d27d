"""The commands that make, pack and describe bundles, beside `lookout train` and `lookout evaluate`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from operators.errors import SettingsError
from pipeline.training.exporting.engines import Precision
from pipeline.training.exporting.target import Target

engines_app = typer.Typer(no_args_is_help=True, help="TensorRT engines, made ahead.")
model_app = typer.Typer(no_args_is_help=True, help="Model bundles.")

BundleArgument = Annotated[str, typer.Argument(metavar="BUNDLE", help="model bundle: a folder, or `starter`")]


def export(
    model: BundleArgument,
    out: Annotated[Path, typer.Option(help="folder of the bundle to write")],
    int8: Annotated[Path | None, typer.Option(metavar="DIR", help=(
        "folder with labels.csv: 8 bits for the visual graph, calibrated and measured on these clips"))] = None,
    target: Annotated[Target, typer.Option(help="what int8 is for: gpu is TensorRT, which wants it signed")] =
        Target.CPU,
) -> None:
    """Write a bundle again if every engine here computes the same with it, and with int8 if it is no worse."""
    from operators.models.bundle import load  # noqa: PLC0415

    with training_extra():
        from pipeline.training.exporting.int8 import export_int8  # noqa: PLC0415
        from pipeline.training.exporting.pack import pack  # noqa: PLC0415
        if int8 is None:
            _, agreed = pack(load(model), out)
            for file, engines in agreed.items():
                for engine, cosine in engines.items():
                    typer.echo(f"{file} {engine}: cosine {cosine:.5f}")
            return
        _, lost = export_int8(load(model), int8, out, target)
    for figure, value in lost.items():
        typer.echo(f"{figure}: {-100 * value:+.2f} points")


@contextmanager
def training_extra(what: str = "this") -> Iterator[None]:
    """Say what to install where an import in here does not succeed, and `what` needs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        message = f"{what} needs {error.name}: pip install 'lookout[train]'"
        raise SettingsError(message) from error


@model_app.command(epilog="Example:\n\n  lookout model show starter")
def show(model: BundleArgument = "starter") -> None:
    """Print a bundle's model card: what it was trained on, every figure measured, what it must not be used for."""
    from operators.models.bundle import load  # noqa: PLC0415
    from operators.models.card import card  # noqa: PLC0415

    typer.echo(card(load(model).manifest), nl=False)


@engines_app.command(epilog="Example:\n\n  lookout engines build starter --arch SM89 --arch SM120 --precision fp16")
def build(
    model: BundleArgument,
    arch: Annotated[list[str] | None, typer.Option(
        help="GPU architecture such as SM89, several times for several; the GPU that is there unless told")] = None,
    precision: Annotated[Precision, typer.Option(help="of the visual graph; int8 wants an int8 bundle")] =
        Precision.FP32,
    batch: Annotated[int, typer.Option(min=1, max=256, help="largest batch an engine has to take, at least 16")] = 16,
    out: Annotated[Path | None, typer.Option(help="folder to write to; unless told, where serving looks")] = None,
) -> None:
    """Build the engines of a bundle, also for GPUs that are not in this machine."""
    from operators.backends.tensorrt_engine import engine_folder  # noqa: PLC0415
    from operators.models.bundle import load  # noqa: PLC0415
    from pipeline.training.exporting.engines import build_engines  # noqa: PLC0415

    folder = out or engine_folder()
    for one in build_engines(load(model), folder, architectures=arch or (), precision=precision, batch=batch):
        typer.echo(f"{'kept ' if one.was_there else 'built'} {one.graph} {one.recipe.architecture} "
                   f"{one.recipe.precision} {one.size_bytes / 1e6:.1f} MB {folder / one.recipe.file_name}")
