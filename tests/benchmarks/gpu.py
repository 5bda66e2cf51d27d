"""Engines on a GPU: rows a second per batch, beside torch on the same GPU and what the GPU can do at most.

A row is a step of pictures for `visual` and a window for `fusion`. Every run takes its input from the
host's memory and brings its output back, as serving does.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from operators.backends.base import Arrays
from operators.models.bundle import Graph, Sense
from pipeline.training.export import port, to_onnx
from pipeline.training.exporting.parity import example
from pipeline.training.network import (
    FEELINGS,
    VISUAL_FEATURES,
    Ensemble,
    Fusion,
    ProjectedEncoder,
    Projection,
    ServedFusion,
    VisualTrunk,
    evidence_of,
)
from pipeline.training.train import WINDOW_STEPS, Plan

BATCHES = (1, 4, 16)
HEARD: list[Sense] = ["acoustic"] * 12
SENSES: list[Sense] = ["both", *HEARD]
EVIDENCE = evidence_of(SENSES)
VISUAL, ACOUSTIC, STEPS, LABELS = EVIDENCE.visual, EVIDENCE.acoustic + FEELINGS, WINDOW_STEPS, len(SENSES)
SIDE = 8192  # of the square matrices whose product is the ceiling
COPIED_BYTES = 2**30
LEAST_S = 0.5  # that a measurement lasts


@dataclass(frozen=True)
class Subject:
    """What is measured."""

    name: str
    module: nn.Module
    graph: Graph


@dataclass(frozen=True)
class Ceilings:
    """What the device reaches where nothing but one thing is done."""

    matmul_flop_s: float  # TF32, as fp32 engines may compute
    memory_bytes_s: float


def subjects() -> list[Subject]:
    """The visual encoder and the fusion, in the sizes that `lookout train` makes."""
    torch.manual_seed(0)
    visual = ProjectedEncoder(VisualTrunk(), Projection(VISUAL_FEATURES, VISUAL)).eval()
    fusion = cast(Fusion, Ensemble([Fusion(visual=VISUAL, acoustic=ACOUSTIC, senses=SENSES, steps=STEPS)
                                    for _ in range(Plan.fusions)]))
    return [
        Subject("visual", visual, Graph(
            file="visual.onnx", sha256="", inputs=(port("frames", "uint8", 3, 224, 224, 3),),
            outputs=(port("embedding", "float32", VISUAL),))),
        Subject("fusion", ServedFusion(fusion, torch.ones(LABELS), torch.zeros(LABELS)).eval(), Graph(
            file="fusion.onnx", sha256="",
            inputs=(port("visual", "float32", STEPS, VISUAL), port("acoustic", "float32", STEPS, ACOUSTIC),
                    port("visual_valid", "bool", STEPS), port("acoustic_valid", "bool", STEPS)),
            outputs=(port("events", "float32", STEPS, LABELS), port("sentiment", "float32", STEPS, 4),
                     port("contribution", "float32", STEPS, LABELS, 2)))),
    ]


def per_second(work: Callable[[], object], rows: int, least_s: float = LEAST_S) -> float:
    """Rows a second; `work` has to wait for what it starts."""
    for _ in range(3):
        work()
    runs, started = 0, time.perf_counter()
    while (passed_s := time.perf_counter() - started) < least_s or runs < 3:  # noqa: PLR2004
        work()
        runs += 1
    return runs * rows / passed_s


def ceilings(device: str, side: int = SIDE, copied_bytes: int = COPIED_BYTES) -> Ceilings:
    """Measured on `device`."""
    def finished(found: Tensor) -> Tensor:
        if device != "cpu":
            torch.cuda.synchronize()
        return found

    a, b = (torch.randn(side, side, device=device) for _ in range(2))
    source = torch.empty(copied_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    torch.backends.cuda.matmul.allow_tf32 = True
    products = per_second(lambda: finished(torch.matmul(a, b)), 1)
    copies = per_second(lambda: finished(target.copy_(source)), 1)
    return Ceilings(products * 2 * side**3, copies * 2 * copied_bytes)


def through_torch(module: Callable[..., object], inputs: Arrays, device: str) -> Callable[[], object]:
    """One inference from the host's memory and back."""
    arrays = [torch.from_numpy(array) for array in inputs.values()]

    def run() -> object:
        with torch.inference_mode():
            found = module(*(array.to(device) for array in arrays))
            return [one.cpu() for one in (found if isinstance(found, tuple) else (found,)) if isinstance(one, Tensor)]

    return run


def flop_per_row(module: nn.Module, inputs: Arrays) -> float:
    """Of convolutions and matrix products."""
    rows = len(next(iter(inputs.values())))
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        module(*(torch.from_numpy(array) for array in inputs.values()))
    return float(counter.get_total_flops()) / rows


def least_bytes(module: nn.Module, inputs: Arrays) -> int:
    """What one inference has to move at least: every weight and every input once."""
    return sum(weight.numel() * weight.element_size() for weight in module.parameters()) + sum(
        array.nbytes for array in inputs.values())


def lines(subject: Subject, top: Ceilings, folder: Path) -> Iterator[tuple[str, ...]]:
    """The lines of the table."""
    from operators.backends.tensorrt_backend import TensorRtBackend  # noqa: PLC0415 - only where there is a GPU

    path = folder / subject.graph.file
    to_onnx(subject.module, subject.graph, path)
    flop = flop_per_row(subject.module, example(subject.graph, 2, seed=0))
    on_gpu = subject.module.to("cuda")
    compiled = torch.compile(on_gpu)
    for batch in BATCHES:
        inputs = example(subject.graph, batch, seed=batch)
        engine = TensorRtBackend(path, subject.graph, batch=batch, threads=1)
        speed = per_second(lambda: engine.run(inputs), batch)  # noqa: B023
        eager, fused = (per_second(through_torch(module, inputs, "cuda"), batch) for module in (on_gpu, compiled))
        moved = least_bytes(on_gpu, inputs) * speed / batch
        yield (subject.name, str(batch), f"{speed:.0f}", f"{speed / eager:.2f}", f"{speed / fused:.2f}",
               f"{flop * speed / top.matmul_flop_s:.1%}", f"{moved / top.memory_bytes_s:.1%}")
    subject.module.to("cpu")


def benchmark(console: Console) -> None:
    """Print it for the first GPU."""
    top = ceilings("cuda")
    table = Table("graph", "batch", "rows/s", "to torch eager", "to torch.compile", "of matrix product", "of memory",
                  title=f"{torch.cuda.get_device_name()}: {top.matmul_flop_s / 1e12:.0f} TFLOP/s, "
                        f"{top.memory_bytes_s / 1e9:.0f} GB/s measured")
    with tempfile.TemporaryDirectory() as folder:
        for subject in subjects():
            for row in lines(subject, top, Path(folder)):
                table.add_row(*row)
    console.print(table)


if __name__ == "__main__":
    if torch.cuda.is_available():
        benchmark(Console())
    else:
        Console().print("engines on a GPU: there is none here")
