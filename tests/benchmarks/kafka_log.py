"""What the log on Kafka costs: segments through it, against kafka-python's plain produce and consume.

    python -m tests.benchmarks.kafka_log [--segments 2000] [--cameras 1 4 16] [--rounds 3]

Both use one broker in one run, in turn, a few times, and the best of each is shown: one process gives the segments
of some cameras as fast as they are taken, another one reads them, and the time is from the first one given to the
last one read. `plain` is the client with its own settings. `lookout` is capture and a worker as they are, but that
the cameras' media lies in memory and the operator only counts: transactions, positions, checksums, commits.

Then the same hops through either log, one record at a time: what Kafka adds to the way from camera to alert.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from multiprocessing.synchronize import Event
from pathlib import Path
from uuid import uuid4

from kafka import KafkaConsumer, KafkaProducer
from rich.console import Console
from rich.table import Table
from typing_extensions import override

from operators.base import Operator
from operators.capture.camera import Camera, CameraSettings
from operators.clock import SystemClock
from operators.records import Embedding, Segment, VideoTrack
from pipeline import codec
from pipeline.background import in_background
from pipeline.settings import LogSettings
from pipeline.topics.embedded_log import EmbeddedLog
from pipeline.topics.kafka_log import KafkaLog
from pipeline.topics.kafka_settings import KafkaSettings
from pipeline.topology import SEGMENTS, STAGES, topics
from pipeline.watcher import Watcher
from pipeline.workers.capture import CaptureWorker
from pipeline.workers.worker import Worker
from tests.benchmarks.log import MEDIA, RECORD_BYTES, latency
from tests.kafka.broker import running_broker

LIMITS = LogSettings(partitions=8, max_segments_ahead=10_000)
CLOCK = SystemClock()


def settings_of(address: str, prefix: str) -> KafkaSettings:
    """A cluster with topics of its own."""
    return KafkaSettings(servers=(address,), prefix=prefix)


class Memory(Camera):
    """Gives the same media over and over."""

    def __init__(self, settings: CameraSettings, count: int) -> None:
        super().__init__(settings, clock=CLOCK, stop=threading.Event())
        self._count = count

    @override
    def segments(self) -> Iterator[Segment]:  # type: ignore[override]
        for number in range(self._count):
            yield Segment(camera=self.name, session="memory", sequence=number, start_ns=number, duration_ns=1,
                          media_start_ns=number, video=VideoTrack("h264", 640, 360), audio=None, media=MEDIA)


class Counting(Operator[Segment, Embedding]):
    """Counts."""

    def __init__(self) -> None:
        self.seen, self.more = 0, threading.Condition()

    @override
    def process(self, batch: Sequence[Segment]) -> Iterator[Embedding]:
        with self.more:
            self.seen += len(batch)
            self.more.notify()
        return iter(())


def give_plain(address: str, prefix: str, cameras: int, count: int, there: Event, go: Event) -> None:
    """All cameras' records by one producer."""
    producer = KafkaProducer(bootstrap_servers=address)
    producer.partitions_for(prefix + SEGMENTS)
    there.set()
    go.wait()
    sent = [producer.send(prefix + SEGMENTS, MEDIA, f"cam{number % cameras}".encode(), [("lookout-type", b"segment")])
            for number in range(count * cameras)]
    producer.close()
    for future in sent:
        future.get(0)


def give_lookout(address: str, prefix: str, cameras: int, count: int, there: Event, go: Event) -> None:
    """Every camera captured by a worker of its own, as in `lookout run capture`."""
    with closing(KafkaLog(settings_of(address, prefix))) as log:
        workers = []
        for number in range(cameras):
            settings = CameraSettings(source=f"cam{number}={__file__}")  # a file that is there, and never opened
            workers.append(CaptureWorker(settings, LIMITS, log, CLOCK, Watcher(), threading.Event()))
            workers[-1].camera = Memory(settings, count)
        there.set()
        go.wait()
        for _, result in [in_background("capture", worker.run) for worker in workers]:
            result.result()


def take_plain(address: str, prefix: str, first: int, records: int, there: Event) -> None:
    """A consumer in a group, which commits now and then; `there` says that it has read the `first` ones."""
    consumer = KafkaConsumer(prefix + SEGMENTS, bootstrap_servers=address, group_id=f"{prefix}plain",
                             auto_offset_reset="earliest")
    seen = 0
    while seen < first + records:
        seen += sum(map(len, consumer.poll(1000).values()))
        if seen >= first:
            there.set()
    consumer.close()


def take_lookout(address: str, prefix: str, first: int, records: int, there: Event) -> None:
    """The worker of `lookout run perceive` with an operator that only counts."""
    with closing(KafkaLog(settings_of(address, prefix))) as log:
        stop, counting = threading.Event(), Counting()
        lane = next(stage.lane for stage in STAGES if stage.lane.consumes == SEGMENTS)
        _, result = in_background("perceive", Worker(lane, counting, log, CLOCK, Watcher()).run, stop)
        with counting.more:
            counting.more.wait_for(lambda: counting.seen >= first)
            there.set()
            counting.more.wait_for(lambda: counting.seen >= first + records)
        stop.set()
        result.result()


def through(address: str, give: Callable[..., None], take: Callable[..., None], cameras: int, count: int) -> float:
    """Seconds from the first record given to the last one read, by processes that are up and share the topic out."""
    prefix = f"bench-{uuid4().hex}."
    with closing(KafkaLog(settings_of(address, prefix))) as log:
        log.ensure(topics(LIMITS))
        with log.transaction("first") as transaction:
            for number in range(cameras):
                for segment in Memory(CameraSettings(source=f"cam{number}={__file__}"), 1).segments():
                    value, headers = codec.encode(segment)
                    transaction.append(SEGMENTS, segment.camera, value, headers)
    spawn = multiprocessing.get_context("spawn")
    go, giving, taking = spawn.Event(), spawn.Event(), spawn.Event()
    giver = spawn.Process(target=give, args=(address, prefix, cameras, count, giving, go))
    taker = spawn.Process(target=take, args=(address, prefix, cameras, cameras * count, taking))
    giver.start()
    taker.start()
    giving.wait()
    taking.wait()
    started_s = time.perf_counter()
    go.set()
    giver.join()
    if giver.exitcode:
        taker.terminate()
        sys.exit("not everything was taken: is the machine too busy?")
    taker.join()
    return time.perf_counter() - started_s


def added_ms(address: str) -> tuple[list[float], list[float]]:
    """Milliseconds through the hops, sorted: on the embedded log, and on Kafka."""
    with tempfile.TemporaryDirectory() as folder:
        embedded = latency(lambda: EmbeddedLog(Path(folder)))
    prefix = f"bench-{uuid4().hex}."
    return embedded, latency(lambda: KafkaLog(settings_of(address, prefix)))


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=2000)
    parser.add_argument("--cameras", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--rounds", type=int, default=3)
    asked, console = parser.parse_args(), Console()
    table = Table("cameras", "plain\nMB/s", "\nsegments/s", "lookout\nMB/s", "\nsegments/s", "ratio",
                  title=f"capture → perceive input on Kafka, segments of {RECORD_BYTES // 1000} kB")
    with running_broker() as address:
        for cameras in asked.cameras:
            count = asked.segments // cameras
            took_s = {"plain": float("inf"), "lookout": float("inf")}
            for _ in range(asked.rounds):
                took_s["plain"] = min(took_s["plain"], through(address, give_plain, take_plain, cameras, count))
                took_s["lookout"] = min(took_s["lookout"], through(address, give_lookout, take_lookout, cameras, count))
            console.print(f"{cameras} cameras:", *(f"{who} {seconds:.1f} s" for who, seconds in took_s.items()))
            rates = [f"{amount / seconds:,.0f}" for seconds in took_s.values()
                     for amount in (count * cameras * RECORD_BYTES / 1e6, count * cameras)]
            table.add_row(str(cameras), *rates, f"{took_s['plain'] / took_s['lookout']:.2f}")
        console.print(table)
        embedded, kafka = added_ms(address)
    table = Table("camera to alert, no work in between", "embedded", "Kafka", "added")
    for what, share in (("median", 0.5), ("95th percentile", 0.95)):
        there, here = (took[int(len(took) * share)] for took in (embedded, kafka))
        table.add_row(what, f"{there:.1f} ms", f"{here:.1f} ms", f"{here - there:.1f} ms")
    console.print(table)


if __name__ == "__main__":
    main()
