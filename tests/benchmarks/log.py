"""What the embedded log costs: media records through it, against the same blobs into a plain SQLite table.

    python -m tests.benchmarks.log [--records 2000] [--folder DIR]

Both write on one disk in one run, in turn, three times, and the best of each is shown: `plain` is one table, WAL
mode, the same page size and `synchronous`, one transaction for as many records, and reading them back in lists
of as many. What the log does besides, it has to do: partitions, offsets, fences and a commit of what was consumed.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.topics.base import Log, TopicSettings
from pipeline.topics.embedded_log import EmbeddedLog
from pipeline.topics.embedded_schema import PAGE_BYTES

RECORD_BYTES = 150_000
CAMERAS = 16
ROUNDS = 3
MEDIA = os.urandom(RECORD_BYTES)


def plain(folder: Path, records: int, batch: int) -> tuple[float, float]:
    """Seconds to insert and to read back with nothing but SQLite."""
    with closing(sqlite3.connect(folder / "plain.sqlite3", isolation_level=None)) as db:
        for statement in (f"PRAGMA page_size = {PAGE_BYTES}", "PRAGMA journal_mode = WAL",
                          "PRAGMA synchronous = NORMAL", "CREATE TABLE blobs (id INTEGER PRIMARY KEY, value BLOB)"):
            db.execute(statement)
        start_s = time.perf_counter()
        for _ in range(records // batch):
            db.execute("BEGIN IMMEDIATE")
            for _ in range(batch):
                db.execute("INSERT INTO blobs (value) VALUES (?)", (MEDIA,))
            db.execute("COMMIT")
        written_s = time.perf_counter()
        rows, read = db.execute("SELECT id, value FROM blobs"), 0
        while found := rows.fetchmany(batch):
            read += len(found)
        assert read == records // batch * batch
        return written_s - start_s, time.perf_counter() - written_s


def logged(folder: Path, records: int, batch: int) -> tuple[float, float]:
    """Seconds to append and to consume, committing each batch, through the log."""
    with closing(EmbeddedLog(folder)) as log:
        log.ensure([TopicSettings(name="segments")])
        start_s = time.perf_counter()
        for _ in range(records // batch):
            with log.transaction("capture") as tx:
                for camera in range(batch):
                    tx.append("segments", f"cam{camera % CAMERAS}", MEDIA, {"lookout-type": b"segment"})
        written_s = time.perf_counter()
        consumer = log.consumer("perceive", "segments")
        read = 0
        while read < records // batch * batch:
            messages = consumer.poll(batch, 1.0)
            read += len(messages)
            with log.transaction("perceive") as tx:
                tx.commit(consumer, {message.partition: message.offset + 1 for message in messages})
        return written_s - start_s, time.perf_counter() - written_s


def latency(opened: Callable[[], Log], rounds: int = 200) -> list[float]:
    """Milliseconds from the start of a capture's transaction until the record has made three hops, sorted.

    Every hop is a thread with a log that it has opened for itself.
    """
    names = ["segments", "embeddings", "events", "alerts"]
    took_ms: list[float] = []
    arrived = threading.Semaphore(0)
    with closing(opened()) as log:
        log.ensure([TopicSettings(name=name) for name in names])
        stop = threading.Event()

        def stage(source: str, target: str | None) -> None:
            with closing(opened()) as own, closing(own.consumer(f"after-{source}", source)) as consumer:
                while not consumer.assignment:
                    consumer.poll(1, 0.2)
                arrived.release()
                while not stop.is_set():
                    if not (messages := consumer.poll(32, 0.2)):
                        continue
                    with own.transaction(f"after-{source}") as tx:
                        for message in messages:
                            if target:
                                tx.append(target, message.key, message.value[:10_000])
                        tx.commit(consumer, {message.partition: message.offset + 1 for message in messages})
                    if target is None:
                        arrived.release()

        threads = [threading.Thread(target=stage, args=pair) for pair in zip(names, [*names[1:], None], strict=True)]
        for thread in threads:
            thread.start()
            arrived.acquire()
        for _ in range(rounds):
            start_s = time.perf_counter()
            with log.transaction("capture") as tx:
                tx.append("segments", "cam", MEDIA)
            arrived.acquire()
            took_ms.append(1e3 * (time.perf_counter() - start_s))
        stop.set()
        for thread in threads:
            thread.join()
    return sorted(took_ms)


def best(measure: Callable[[Path, int, int], tuple[float, float]], parent: Path, records: int, batch: int,
         into: dict[str, tuple[float, float]]) -> None:
    """Run `measure` in a folder of its own, keeping the shortest times seen so far."""
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        times = measure(Path(folder), records, batch)
    before = into.get(measure.__name__, times)
    into[measure.__name__] = min(times[0], before[0]), min(times[1], before[1])


def main() -> None:
    parser = argparse.ArgumentParser(description="the embedded log against plain SQLite")
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    asked = parser.parse_args()
    table = Table("records a\ntransaction", "", "plain SQLite\nrecords/s", "\nMB/s",
                  "embedded log\nrecords/s", "\nMB/s", "ratio",
                  title=f"Records of {RECORD_BYTES // 1000} kB through the embedded log")
    for batch in (1, 8, 32):
        times: dict[str, tuple[float, float]] = {}
        for _ in range(ROUNDS):
            for measure in (plain, logged):
                best(measure, asked.folder, asked.records, batch, times)
        count = asked.records // batch * batch
        for what, plain_s, logged_s in (("append", times["plain"][0], times["logged"][0]),
                                        ("consume", times["plain"][1], times["logged"][1]),
                                        ("both", sum(times["plain"]), sum(times["logged"]))):
            rates = [f"{amount / seconds:,.0f}" for seconds in (plain_s, logged_s)
                     for amount in (count, count * RECORD_BYTES / 1e6)]
            table.add_row(str(batch), what, *rates, f"{plain_s / logged_s:.2f}")
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        took_ms = latency(lambda: EmbeddedLog(Path(folder)))
    console = Console()
    console.print(table)
    console.print(f"camera to alert, four threads, no work in them: "
                  f"{took_ms[len(took_ms) // 2]:.1f} ms median, {took_ms[len(took_ms) * 95 // 100]:.1f} ms p95")


if __name__ == "__main__":
    main()
