"""A transaction on the embedded log: collected in memory, then written in one short SQLite transaction."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from typing_extensions import override

from operators.clock import Clock
from operators.errors import Fenced, LogError, RecordTooLarge
from pipeline.topics.base import Consumer, Transaction, partition_of
from pipeline.topics.embedded_consumer import EmbeddedConsumer
from pipeline.topics.embedded_database import Database
from pipeline.topics.embedded_retention import Retention
from pipeline.topics.embedded_schema import partition_end, record_id, topic_limits

_encoder = msgspec.msgpack.Encoder()


@dataclass(frozen=True)
class _Append:
    key: str
    headers: bytes
    value: bytes
    size: int


class EmbeddedTransaction(Transaction):
    """Takes the log's write lock only on leaving, so that one which is filled slowly holds up nobody."""

    def __init__(self, database: Database, retention: Retention, clock: Clock, writer: str, epoch: int) -> None:
        super().__init__()
        self._database = database
        self._retention = retention
        self._clock = clock
        self._writer = writer
        self._epoch = epoch
        self._limits: dict[str, tuple[int, int]] = {}  # topic -> partitions, largest record
        self._appends: defaultdict[tuple[str, int], list[_Append]] = defaultdict(list)
        self._commits: list[tuple[EmbeddedConsumer, Mapping[int, int]]] = []

    @override
    def append(self, topic: str, key: str, value: bytes, headers: Mapping[str, bytes] | None = None) -> None:
        self._check_open()
        if topic not in self._limits:
            with self._database.reading() as db:
                self._limits[topic] = topic_limits(db, self._database.path, topic)
        partitions, max_bytes = self._limits[topic]
        packed = _encoder.encode(headers or {})
        if (size := len(key.encode()) + len(packed) + len(value)) > max_bytes:
            message = f"topic {topic}: the record of {key!r} has {size} bytes, at most {max_bytes} are taken"
            raise RecordTooLarge(message)
        self._appends[topic, partition_of(key, partitions)].append(_Append(key, packed, value, size))

    @override
    def commit(self, consumer: Consumer, offsets: Mapping[int, int]) -> None:
        self._check_open()
        if not isinstance(consumer, EmbeddedConsumer):
            message = f"log {self._database.path}: cannot commit for a {type(consumer).__name__}"
            raise LogError(message)
        consumer.check_owned(offsets)
        self._commits.append((consumer, dict(offsets)))

    @override
    def _write(self) -> None:
        if not (self._appends or self._states or self._commits):
            return
        with self._database.writing() as db:
            self._check_writer(db)
            for consumer, offsets in self._commits:
                consumer.apply_commit(db, offsets)
            for (topic, partition), appends in self._appends.items():
                self._write_records(db, topic, partition, appends)
            self._write_states(db)
        self._database.bound_wal()

    def _check_writer(self, db: sqlite3.Connection) -> None:
        if db.execute("SELECT epoch FROM writers WHERE name = ?", (self._writer,)).fetchone() != (self._epoch,):
            message = f"writer {self._writer}: a newer process writes under this name"
            raise Fenced(message)

    def _write_records(self, db: sqlite3.Connection, topic: str, partition: int, appends: list[_Append]) -> None:
        partition_id, offset = partition_end(db, self._database.path, topic, partition)
        now_ns = self._clock.now_ns()
        db.executemany(
            "INSERT INTO records (id, timestamp_ns, bytes, key, headers, value) VALUES (?, ?, ?, ?, ?, ?)",
            ((record_id(partition_id, offset + count), now_ns, one.size, one.key, one.headers, one.value)
             for count, one in enumerate(appends)))
        db.execute("UPDATE partitions SET next_offset = ?, bytes = bytes + ? WHERE id = ?",
                   (offset + len(appends), sum(one.size for one in appends), partition_id))
        self._retention.appended(db, topic, len(appends), now_ns)

    def _write_states(self, db: sqlite3.Connection) -> None:
        for name, value in self._states.items():
            if value is None:
                db.execute("DELETE FROM states WHERE store = ? AND partition = ? AND key = ?", name)
            else:
                db.execute("INSERT OR REPLACE INTO states (store, partition, key, value) VALUES (?, ?, ?, ?)",
                           (*name, value))
