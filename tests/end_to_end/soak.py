"""Every stage at full speed, for long: its memory, files and threads must be the same at the end as at the beginning.

    python -m tests.end_to_end.soak DIR [--minutes 30] [--model BUNDLE]

DIR holds `streams/lobby.mp4` and `cameras/*.mp4`. Four cameras replay them as fast as the stages go, on a real Kafka
broker, again and again as new sessions. After a warm-up of a fifth of the time the table compares the first quarter
of what is left with the last one; the exit code is 1 where memory grew by 2 % or more, or files or threads did.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec
from rich.console import Console
from rich.table import Table

from operators.capture.camera import Position
from operators.errors import LogUnavailable
from pipeline.topology import CAPTURE, SEGMENTS
from tests.end_to_end.chaos import PARTITIONS, sources_of, webhook_to
from tests.end_to_end.cluster import Cluster
from tests.kafka.broker import running_broker
from tests.operators.notify.receiver import Receiver

STAGES = ("capture", "perceive", "fuse", "health", "notify", "deliver")
ROUND_MINUTES = 10.0  # of media; then every camera begins a new session
WARM_UP, GROWTH = 0.2, 1.02
LOOK_S = 2.0


@dataclass(frozen=True)
class Sample:
    """One process at one moment."""

    memory_bytes: int  # its own, without what it maps from files
    files: int
    threads: int


def sample(pid: int) -> Sample:
    """How the process is now."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return Sample(int(status["RssAnon"].split()[0]) * 1024, len(os.listdir(f"/proc/{pid}/fd")),
                  int(status["Threads"]))


def replay_again(cluster: Cluster, sources: Sequence[str]) -> None:
    """The files count as new ones, and their cameras begin anew."""
    for source in sources:
        os.utime(source.partition("=")[2])
    for arguments in (("cameras", "remove", *(source.partition("=")[0] for source in sources)),
                      ("cameras", "add", *sources)):
        assert cluster.run(*arguments).returncode == 0


def captured(cluster: Cluster) -> dict[str, Position]:
    """How far every camera is."""
    return {camera: msgspec.msgpack.decode(value, type=Position) for partition in range(PARTITIONS)
            for camera, value in cluster.log.state(CAPTURE, partition).items()}


def soak(cluster: Cluster, sources: Sequence[str], minutes: float, console: Console) -> Mapping[str, list[Sample]]:
    """Samples of every stage after the warm-up, in order."""
    samples: defaultdict[str, list[Sample]] = defaultdict(list)
    started_s, before = time.monotonic(), dict[str, Position]()
    while (passed := (time.monotonic() - started_s) / (60 * minutes)) < 1:
        time.sleep(LOOK_S)
        for (stage,), process in cluster.processes:
            assert process.poll() is None, cluster.said()
            if passed >= WARM_UP:
                samples[stage].append(sample(process.pid))
        try:
            now = captured(cluster)
        except LogUnavailable:  # the machine is busy
            continue
        if now and now == before and not any(cluster.log.lag("perceive", SEGMENTS).values()):
            console.print(f"{passed:.0%}: {sum(position.sequence for position in now.values())} segments more")
            replay_again(cluster, sources)
        before = now
    return samples


def row_of(stage: str, samples: Sequence[Sample]) -> tuple[list[str], bool]:
    """A stage's row of the table, and whether it stayed the same."""
    quarter = max(1, len(samples) // 4)
    first, last = samples[:quarter], samples[-quarter:]
    before, after = (median(one.memory_bytes for one in part) for part in (first, last))
    files, threads = ([max(getattr(one, what) for one in part) for part in (first, last)]
                      for what in ("files", "threads"))
    kept = after < GROWTH * before and files[1] <= files[0] and threads[1] <= threads[0]
    return [stage, f"{before / 1e6:.1f}", f"{after / 1e6:.1f}", f"{after / before - 1:+.1%}",
            f"{files[0]} → {files[1]}", f"{threads[0]} → {threads[1]}", "yes" if kept else "NO"], kept


def main() -> int:
    """Run, and print the table; 1 where something grew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--model", default="starter")
    asked, console = parser.parse_args(), Console()
    with running_broker() as address, tempfile.TemporaryDirectory() as name, Receiver() as receiver:
        folder = Path(name)
        sources = sources_of(asked.data, ROUND_MINUTES, folder)
        cluster = Cluster(address, folder, model=asked.model, webhooks=[webhook_to(receiver)],
                          log={"partitions": PARTITIONS, "segments_retention_s": 300})
        try:
            for arguments in (("topics", "create"), ("cameras", "add", *sources)):
                assert cluster.run(*arguments).returncode == 0
            for stage in STAGES:
                cluster.start((stage,))
            samples = soak(cluster, sources, asked.minutes, console)
        finally:
            cluster.close()
    table = Table("stage", "memory\nfirst MB", "\nlast MB", "\ngrowth", "open files", "threads", "flat",
                  title=f"{asked.minutes:g} minutes at full speed, {len(sources)} cameras")
    rows = [row_of(stage, samples[stage]) for stage in STAGES]
    for row, _ in rows:
        table.add_row(*row)
    console.print(table)
    return 0 if all(kept for _, kept in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
