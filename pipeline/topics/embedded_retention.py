"""What the embedded log lets go: old or surplus records that no group needs any more, and their space."""

from __future__ import annotations

import heapq
import sqlite3
from collections import Counter
from contextlib import ExitStack, closing
from itertools import islice

from operators.clock import seconds_to_ns
from pipeline.topics.embedded_schema import OFFSET_BITS, PAGE_BYTES, offset_of, record_id

REPLAY_MARGIN = 256  # records kept behind what is committed, for operators that read the newest again on a restart
TRIM_EVERY_RECORDS = 32  # appended to a topic between two looks at what may go
_TRIM_RECORDS = 4 * TRIM_EVERY_RECORDS  # deleted at once: faster than appended, yet no long transaction
_FREE_PAGES = 64 * 2**20 // PAGE_BYTES  # unused space the file may keep for what comes next
_VACUUM_PAGES = 8 * 2**20 // PAGE_BYTES  # given back to the file system at once


class Retention:
    """Looks now and then, as records are appended, at what may go."""

    def __init__(self) -> None:
        self._appended: Counter[str] = Counter()

    def appended(self, db: sqlite3.Connection, topic: str, records: int, now_ns: int) -> None:
        """Count `records` appended to `topic` in the caller's write transaction, and trim it when due."""
        if topic not in self._appended or self._appended[topic] + records >= TRIM_EVERY_RECORDS:
            self._appended[topic] = 0
            _trim(db, topic, now_ns)
        else:
            self._appended[topic] += records


def _trim(db: sqlite3.Connection, topic: str, now_ns: int) -> None:
    """Delete some of the records beyond the topic's limits, the oldest first, in the caller's transaction.

    Never one that a group has not committed, nor one of the `REPLAY_MARGIN` before that: a group that
    does not come back lets its topic grow.
    """
    retention_s, retention_bytes, kept_bytes = db.execute(
        """SELECT retention_s, retention_bytes, sum(bytes) FROM topics JOIN partitions ON topic = name
           WHERE name = ?""", (topic,)).fetchone()
    kept_after_ns = now_ns - seconds_to_ns(retention_s)
    expired: list[tuple[int, int]] = []  # record, its size
    with ExitStack() as cursors:
        removable = [cursors.enter_context(closing(cursor)) for cursor in _removable(db, topic)]
        for timestamp_ns, record, size in islice(heapq.merge(*removable), _TRIM_RECORDS):
            if timestamp_ns >= kept_after_ns and kept_bytes <= retention_bytes:
                break
            kept_bytes -= size
            expired.append((record, size))
    db.executemany("DELETE FROM records WHERE id = ?", [(record,) for record, _ in expired])
    db.executemany("UPDATE partitions SET first_offset = ?, bytes = bytes - ? WHERE id = ?",
                   [(offset_of(record) + 1, size, record >> OFFSET_BITS) for record, size in expired])
    (free_pages,) = db.execute("PRAGMA freelist_count").fetchone()
    for _ in range(min(_VACUUM_PAGES, free_pages - _FREE_PAGES)):
        db.execute("PRAGMA incremental_vacuum(1)")  # Python runs one step of this statement, which is one page


def _removable(db: sqlite3.Connection, topic: str) -> list[sqlite3.Cursor]:
    """For each partition when its records were appended, their ids and sizes, oldest first."""
    ranges = db.execute(
        """SELECT id, first_offset, coalesce(min(committed) - ?, next_offset) FROM partitions
           LEFT JOIN claims ON partition_id = id WHERE topic = ? GROUP BY id""", (REPLAY_MARGIN, topic)).fetchall()
    return [db.execute("SELECT timestamp_ns, id, bytes FROM records WHERE id >= ? AND id < ? ORDER BY id",
                       (record_id(partition, first), record_id(partition, max(first, stop))))
            for partition, first, stop in ranges]
