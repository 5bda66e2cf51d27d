"""Kill -9 at random instants, for long: what comes of it must be what comes of a run that nobody disturbs.

    python -m tests.end_to_end.chaos DIR [--kills 100] [--minutes 40] [--seed 1] [--model BUNDLE]

DIR holds `streams/lobby.mp4` and `cameras/*.mp4`. Four cameras replay them, each over and over for so many minutes
of media, as fast as the stages go: every stage as a process of its own on a real Kafka broker, perceive twice. The
first run is left alone. In the second, processes are killed at random instants, of whichever stage the seed says,
and replaced at once. The table says what was killed and what came out; the exit code is 1 where a promise broke.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from operators.capture.camera import Camera, CameraSettings, Position
from operators.clock import SystemClock
from operators.errors import LogUnavailable
from operators.records import Alert, Embedding, Event
from pipeline import codec
from pipeline.topology import ALERTS, CAPTURE, EMBEDDINGS, EVENTS, STAGES, dead_letter_topic
from tests.contracts.logs import everything
from tests.end_to_end.cluster import Cluster
from tests.kafka.broker import running_broker
from tests.operators.notify.receiver import Receiver

PROCESSES = ("capture", "perceive", "perceive", "fuse", "health", "notify", "deliver")
PARTITIONS = 4
LASTING = 1.5  # kills are spread over so many times what the undisturbed run took
LOOK_S = 1.0  # between two looks at whether a run is over
AT_MOST_S = 2 * 3600.0


@dataclass
class Result:
    """What came of a run."""

    took_s: float
    kills: Counter[str]  # by stage, while something was left to do
    embeddings: Counter[Hashable]
    events: Counter[Hashable]
    alerts: Counter[Hashable]
    alert_ids: set[str]
    received: Counter[str]  # alert ids
    dead: int


class Run:
    """One run over the cameras' files, on topics of its own."""

    def __init__(self, cluster: Cluster, receiver: Receiver, segments: Mapping[str, int]) -> None:
        """Nothing runs before `play`; `segments` says how many each camera has to give."""
        self._cluster, self._receiver, self._segments = cluster, receiver, segments

    def play(self, sources: Sequence[str], disturb: Callable[[Run], Counter[str]]) -> Result:
        """From the first segment to the last alert; `disturb` says what it has killed."""
        for arguments in (("topics", "create"), ("cameras", "add", *sources)):
            assert self._cluster.run(*arguments).returncode == 0
        started_s = time.monotonic()
        for stage in PROCESSES:
            self._cluster.start((stage,))
        kills = disturb(self)
        while not self.is_over():
            assert time.monotonic() < started_s + AT_MOST_S, self._cluster.said()
            time.sleep(LOOK_S)
        took_s = time.monotonic() - started_s
        self._cluster.stop()
        alerts = [record for record in self._records(ALERTS) if isinstance(record, Alert)]
        return Result(
            took_s, kills,
            Counter((record.camera, record.session, record.sequence) for record in self._records(EMBEDDINGS)
                    if isinstance(record, Embedding)),
            Counter(told(record) for record in self._records(EVENTS) if isinstance(record, Event)),
            Counter((alert.id, alert.rule, alert.created_ns, told(alert.event)) for alert in alerts),
            {alert.id for alert in alerts}, Counter(self._receiver.ids),
            sum(len(everything(self._cluster.log, dead_letter_topic(stage.lane.stage))) for stage in STAGES))

    def kill(self, chance: random.Random) -> str:
        """Kill -9 any process; says of which stage."""
        which = chance.randrange(len(self._cluster.processes))
        (stage,), _ = self._cluster.processes[which]
        self._cluster.kill_one(which)
        return stage

    def is_over(self) -> bool:
        """Whether every segment is captured, every group at the end, and every alert delivered."""
        try:
            return self._is_over()
        except LogUnavailable:  # the machine is busy
            return False

    def _is_over(self) -> bool:
        log = self._cluster.log
        captured = {camera: msgspec.msgpack.decode(value, type=Position).sequence
                    for partition in range(PARTITIONS) for camera, value in log.state(CAPTURE, partition).items()}
        if captured != self._segments:
            return False
        # What lies behind a transaction's last record is its mark, which nobody reads.
        if any(lag > 1 for stage in STAGES for lag in log.lag(stage.lane.stage, stage.lane.consumes).values()):
            return False
        alerts = {record.id for record in self._records(ALERTS) if isinstance(record, Alert)}
        return alerts <= set(self._receiver.ids)

    def _records(self, topic: str) -> Iterator[object]:
        return (codec.decode(message) for message in everything(self._cluster.log, topic))


def told(event: Event) -> Hashable:
    """What an event says, without how sure the model was and when it arrived."""
    return (event.id, event.kind, event.camera, event.label, event.time_ns, event.start_ns, event.end_ns,
            event.media_start_ns, event.media_end_ns)


def leaving_alone(run: Run) -> Counter[str]:
    """Kills nothing."""
    return Counter()


def killing(kills: int, within_s: float, chance: random.Random, console: Console) -> Callable[[Run], Counter[str]]:
    """Kills so often, at random instants over so long."""
    def disturb(run: Run) -> Counter[str]:
        killed: Counter[str] = Counter()
        while killed.total() < kills and not run.is_over():
            time.sleep(chance.uniform(0, 2 * within_s / kills))
            killed[run.kill(chance)] += 1
            console.print(f"{killed.total()} kills: {dict(killed)}")
        return killed

    return disturb


def webhook_to(receiver: Receiver) -> dict[str, object]:
    """The receiver, as the configuration names it."""
    return {"name": "receiver", "url": receiver.url, "allow": ["127.0.0.1"]}


def sources_of(data: Path, minutes: float, folder: Path) -> list[str]:
    """The four cameras: two in the lobby, and one for each file of `cameras/`; files of so many minutes each."""
    lobby = repeated(data / "streams" / "lobby.mp4", minutes, folder)
    others = [repeated(file, minutes, folder) for file in sorted((data / "cameras").glob("*.mp4"))]
    return [f"lobby-east={lobby}", f"lobby-west={lobby}", *(f"{file.stem}={file}" for file in others)]


def repeated(file: Path, minutes: float, folder: Path) -> Path:
    """The file over and over, as one file; nothing is encoded anew."""
    made = folder / f"{file.stem}.mkv"
    subprocess.run(["ffmpeg", "-v", "error", "-stream_loop", "-1", "-i", file, "-t", str(60 * minutes), "-c", "copy",
                    made], check=True)
    return made


def segments_of(source: str) -> tuple[str, int]:
    """A camera's name, and how many segments its file gives."""
    camera = Camera(CameraSettings(source=source), clock=SystemClock(), stop=threading.Event())
    return camera.name, sum(1 for _ in camera.segments())


def compared(calm: Result, killed: Result) -> list[tuple[str, str, str, bool]]:
    """Rows of the table: what, undisturbed, killed, and whether that keeps the promise."""
    rows = []
    for what in ("embeddings", "events", "alerts"):
        wanted, found = getattr(calm, what), getattr(killed, what)
        rows.append((what, f"{wanted.total()}", f"{found.total()}", wanted == found))
        rows.append((f"{what} lost", "", f"{(wanted - found).total()}", not wanted - found))
        rows.append((f"{what} that are there twice", f"{wanted.total() - len(wanted)}",
                     f"{found.total() - len(found)}", found.total() == len(found)))
        rows.append((f"{what} that should not be", "", f"{len(found.keys() - wanted.keys())}", found <= wanted))
    rows.append(("dead letters", f"{calm.dead}", f"{killed.dead}", not killed.dead))
    missed = killed.alert_ids - set(killed.received)
    rows.append(("alerts that never reached the receiver", f"{len(calm.alert_ids - set(calm.received))}",
                 f"{len(missed)}", not missed))
    rows.append(("deliveries", f"{calm.received.total()}", f"{killed.received.total()}", True))
    return rows


def table_of(calm: Result, killed: Result, kills: int, title: str) -> tuple[Table, bool]:
    """The table, and whether every promise was kept."""
    rows = [("kills while there was work", "0", f"{killed.kills.total()}", killed.kills.total() >= kills),
            *((f"    of {stage}", "", f"{count}", True) for stage, count in sorted(killed.kills.items())),
            ("seconds", f"{calm.took_s:.0f}", f"{killed.took_s:.0f}", True), *compared(calm, killed)]
    table = Table("", "undisturbed", "killed", "as promised", title=title)
    for what, wanted, found, kept in rows:
        table.add_row(what, wanted, found, "yes" if kept else "NO")
    return table, all(kept for *_, kept in rows)


def main() -> int:
    """Run both, and print the table; 1 where a promise broke."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=40.0, help="of media, for each camera")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", default="starter")
    asked, console = parser.parse_args(), Console()
    chance = random.Random(asked.seed)  # noqa: S311 - reproducible, not secret
    with running_broker() as address, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = sources_of(asked.data, asked.minutes, folder)
        segments = dict(map(segments_of, sources))

        def run(disturb: Callable[[Run], Counter[str]]) -> Result:
            with Receiver() as receiver:
                cluster = Cluster(address, Path(tempfile.mkdtemp(dir=folder)), model=asked.model,
                                  log={"partitions": PARTITIONS}, webhooks=[webhook_to(receiver)])
                try:
                    return Run(cluster, receiver, segments).play(sources, disturb)
                finally:
                    cluster.close()

        calm = run(leaving_alone)
        console.print(f"undisturbed: {calm.took_s:.0f} s")
        killed = run(killing(asked.kills, LASTING * calm.took_s, chance, console))
    table, kept = table_of(calm, killed, asked.kills, f"{len(sources)} cameras, {sum(segments.values())} segments, "
                                                      f"model {Path(asked.model).name}, seed {asked.seed}")
    console.print(table)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
