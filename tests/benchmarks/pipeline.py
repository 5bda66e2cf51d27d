"""How close the whole pipeline comes to what its two heavy stages allow, all measured in this run.

    python -m tests.benchmarks.pipeline [FILE] [--model BUNDLE]

Decode alone and encode alone are single operators fed from memory, so nothing of the log, of the other
stages or of the process is in them. If both ran one after the other and nothing else cost anything,
the whole would reach 1 / (1/decode + 1/encode): that is the limit the whole is compared with.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from operators.backends.load import load as load_backend
from operators.capture.camera import Camera, CameraSettings
from operators.clock import NS_PER_S, SystemClock
from operators.decode.decoder import Decoder, DecodeSettings
from operators.encode.encoder import Encoder, EncodeSettings
from operators.fuse.fuser import Fuser
from operators.models.bundle import load
from operators.records import Clip, Embedding
from pipeline.demo.scene import make_scene

Result = TypeVar("Result")


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """The result and the seconds it took."""
    started_s = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started_s


def measure(file: Path, model: str) -> list[tuple[str, float]]:
    """(what, media seconds per wall second) of each stage alone and of the whole."""
    bundle, clock = load(model), SystemClock()
    manifest, settings = bundle.manifest, EncodeSettings()
    camera = Camera(CameraSettings(source=str(file)), clock=clock, stop=threading.Event())
    segments, capture_s = timed(lambda: list(camera.segments()))
    media_s = sum(segment.duration_ns for segment in segments) / NS_PER_S
    decoder = Decoder(DecodeSettings(), bundle.sampling, clock)
    clips, decode_s = timed(lambda: [item for item in decoder.process(segments) if isinstance(item, Clip)])
    visual = load_backend(bundle, manifest.visual, batch=settings.visual_batch)
    acoustic = load_backend(bundle, manifest.acoustic, batch=settings.acoustic_batch)
    encoder = Encoder(visual, acoustic)
    list(encoder.process(clips[:4]))  # the first inference prepares
    made, encode_s = timed(lambda: [item for i in range(0, len(clips), 4) for item in encoder.process(clips[i:i + 4])])
    embeddings = [item for item in made if isinstance(item, Embedding)]
    fuser = Fuser(bundle, load_backend(bundle, manifest.fusion, batch=4))
    _, fuse_s = timed(lambda: list(fuser.process(embeddings)))
    with tempfile.TemporaryDirectory() as data:
        command = [str(Path(sys.executable).with_name("lookout")), "watch", str(file), "--model", model, "--data", data]
        _, whole_s = timed(lambda: subprocess.run(command, check=True, capture_output=True))
        _, start_s = timed(lambda: subprocess.run(command, check=True, capture_output=True))
    return [("capture alone", media_s / capture_s), ("decode alone", media_s / decode_s),
            (f"encode alone ({visual.name})", media_s / encode_s), ("fuse alone", media_s / fuse_s),
            ("lookout watch, with its start", media_s / whole_s),
            ("lookout watch, once started", media_s / max(whole_s - start_s, 1e-9))]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--model", default="starter")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = arguments.file or make_scene(Path(folder) / "scene.mp4")
        rows = measure(file, arguments.model)
    speeds = dict(rows)
    encode = next(speed for name, speed in rows if name.startswith("encode"))
    limit = 1 / (1 / speeds["decode alone"] + 1 / encode)
    table = Table("what", "media s per wall s", "ratio to the limit", title=f"{file.name}: pipeline against its stages")
    for name, speed in [*rows, ("limit: decode, then encode", limit)]:
        table.add_row(name, f"{speed:.1f}", f"{speed / limit:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
