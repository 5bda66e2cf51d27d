"""How long after a live camera's segment closed the model has spoken about it, while everything runs in real time.

    python -m tests.benchmarks.latency [FILE] [--cameras 4] [--seconds 60] [--model BUNDLE]

FILE is served over and over by a real RTSP server, and watched by one `lookout watch` as several cameras.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from typing_extensions import override

from operators.capture.camera_settings import CameraSettings
from operators.clock import NS_PER_S
from operators.records import Embedding, Segment
from pipeline.demo.scene import make_scene
from pipeline.settings import LookoutSettings
from pipeline.watch import WatchOptions, watch
from pipeline.watcher import TravellingRecord, Watcher
from tests.rtsp import RtspServer

LIMIT_S = 1.0  # segment close to event, at the 95th percentile
WARM_UP_S = 10.0


class Stopwatch(Watcher):
    """Notes when each segment arrived in the log, left the encoders, and had been through the fusion."""

    def __init__(self) -> None:
        self.appended_s: list[float] = []
        self.encoded_s: list[float] = []
        self.fused_s: list[float] = []
        self._waiting: list[int] = []

    @override
    def on_output(self, stage: str, record: TravellingRecord) -> None:
        if isinstance(record, Segment):
            self.appended_s.append((time.time_ns() - record.received_ns) / NS_PER_S)
        elif isinstance(record, Embedding):
            self.encoded_s.append((time.time_ns() - record.received_ns) / NS_PER_S)
            self._waiting.append(record.received_ns)

    @override
    def on_batch(self, stage: str, records: int, seconds: float) -> None:
        if stage == "fuse":
            done, self._waiting = self._waiting[:records], self._waiting[records:]
            self.fused_s += [(time.time_ns() - received_ns) / NS_PER_S for received_ns in done]


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--model", default="starter")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        served = Path(folder) / "served"
        served.mkdir()
        if arguments.file:
            shutil.copy(arguments.file, served / arguments.file.name)
        else:
            make_scene(served / "scene.mp4")
        name = next(served.iterdir()).name
        server, stopwatch, stop = RtspServer(served), Stopwatch(), threading.Event()
        server.start()
        try:
            cameras = tuple(CameraSettings(source=f"camera{i}={server.url(name, loop=True)}")
                            for i in range(arguments.cameras))
            timer = threading.Timer(WARM_UP_S + arguments.seconds, stop.set)
            timer.start()
            watch(LookoutSettings(cameras=cameras, model=arguments.model),
                  WatchOptions(Path(folder) / "data", extra=(stopwatch,)), Console(stderr=True, quiet=True), stop)
            timer.join()
        finally:
            server.stop()
    table = Table("segment closed until it is", "segments", "median", "95th percentile", "worst", "95th / limit of 1 s",
                  title=f"{name}, {arguments.cameras} live cameras, {arguments.seconds:.0f} s")
    for what, values in (("in the log", stopwatch.appended_s), ("decoded and encoded", stopwatch.encoded_s),
                         ("fused: its events are out", stopwatch.fused_s)):
        late = np.array(values[len(values) // 10:])  # the first tenth is the start
        middle, high = np.percentile(late, [50, 95])
        table.add_row(what, str(len(late)), f"{middle * 1000:.0f} ms", f"{high * 1000:.0f} ms",
                      f"{late.max() * 1000:.0f} ms", f"{high / LIMIT_S:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
