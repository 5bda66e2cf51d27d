"""The commands that make, pack and describe bundles, beside `lookout train` and `lookout evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.training.engines import Precision

engines_app = typer.Typer(no_args_is_help=True, help="TensorRT engines, made ahead.")
model_app = typer.Typer(no_args_is_help=True, help="Model bundles.")

BundleArgument = Annotated[str, typer.Argument(metavar="BUNDLE", help="model bundle: a folder, or `starter`")]


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
    from pipeline.training.engines import build_engines  # noqa: PLC0415

    folder = out or engine_folder()
    for one in build_engines(load(model), folder, architectures=arch or (), precision=precision, batch=batch):
        typer.echo(f"{'kept ' if one.was_there else 'built'} {one.graph} {one.recipe.architecture} "
                   f"{one.recipe.precision} {one.size_bytes / 1e6:.1f} MB {folder / one.recipe.file_name}")
