"""A member of a consumer group on the embedded log."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from uuid import uuid4

import msgspec
from typing_extensions import override

from operators.clock import Clock, ns_to_seconds, seconds_to_ns
from pipeline.topics.base import Consumer, Message
from pipeline.topics.embedded_database import Database
from pipeline.topics.embedded_group import Claim, Group
from pipeline.topics.embedded_presence import is_present
from pipeline.topics.embedded_schema import offset_of, record_id
from pipeline.topics.fair_shares import fair_shares

_BEATS = 4  # signs of life within one session timeout

Row = tuple[int, str, bytes, bytes, int]
_headers = msgspec.msgpack.Decoder(dict[str, bytes])


class EmbeddedConsumer(Consumer):
    """One member; joins when made, shows life whenever it is polled."""

    def __init__(self, database: Database, group: Group, *, clock: Clock, session_timeout_s: float,
                 on_assigned: Callable[[frozenset[int]], None], on_revoked: Callable[[frozenset[int]], None]) -> None:
        self.group = group.name
        self.topic = group.topic
        self.member = uuid4().hex
        self._database = database
        self._group = group
        self._clock = clock
        self._timeout_ns = seconds_to_ns(session_timeout_s)
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._owned: dict[int, Claim] = {}
        self._positions: dict[int, int] = {}
        self._turn = 0
        self._beat()

    @property
    @override
    def assignment(self) -> frozenset[int]:
        return frozenset(self._owned)

    @override
    def poll(self, max_records: int, timeout_s: float, max_bytes: int = 64 * 2**20) -> Sequence[Message]:
        deadline_s = time.monotonic() + timeout_s
        while True:
            seen = self._database.version()
            if self._clock.monotonic_ns() >= self._next_beat_ns:
                self._beat()
            self._adopt()
            messages = self._fetch(max_records, max_bytes)
            left_s = deadline_s - time.monotonic()
            if messages or left_s <= 0:
                return messages
            self._database.wait(seen, min(left_s, ns_to_seconds(self._timeout_ns // _BEATS)))

    @override
    def committed(self, partition: int) -> int:
        with self._database.reading() as db:
            return {claim.partition: claim.committed for claim in self._group.claims(db)}[partition]

    @override
    def seek_to_committed(self) -> None:
        with self._database.reading() as db:
            committed = {claim.partition: claim.committed for claim in self._group.claims(db)}
        self._positions = {partition: committed[partition] for partition in self._owned}

    @override
    def close(self) -> None:
        with self._database.writing() as db:
            self._group.leave(db, self.member)
            self._group.share_out(db)
        self._owned.clear()

    def check_owned(self, offsets: Mapping[int, int]) -> None:
        """Raise Fenced if the last `poll` told that one of these partitions is not this member's."""
        for partition in offsets:
            if partition not in self._owned:
                raise self._group.fenced(partition)

    def apply_commit(self, db: sqlite3.Connection, offsets: Mapping[int, int]) -> None:
        """Set the group's next offsets inside the write transaction `db`; Fenced as `Transaction.commit`."""
        self._group.commit(db, self.member, self._owned, offsets)

    def _beat(self) -> None:
        """Join or stay in the group, and take over from members that are gone."""
        now_ns = self._clock.monotonic_ns()
        folder = self._database.path.parent
        with self._database.writing() as db:
            self._group.create(db)
            self._group.beat(db, self.member, self._database.presence.name, now_ns)
            self._group.expire(db, lambda presence: is_present(folder, presence), now_ns - self._timeout_ns)
            self._group.share_out(db)
        self._next_beat_ns = now_ns + self._timeout_ns // _BEATS

    def _adopt(self) -> None:
        """Learn what this member owns now, and tell what it lost and gained since the last time."""
        with self._database.reading() as db:
            owned = {claim.partition: claim for claim in self._group.claims(db) if claim.owner == self.member}
        kept = {partition: claim for partition, claim in owned.items()
                if partition in self._owned and self._owned[partition].generation == claim.generation}
        lost = self._owned.keys() - kept.keys()
        gained = owned.keys() - kept.keys()
        self._owned = kept
        self._positions = {partition: self._positions[partition] for partition in kept}
        if lost:
            self._on_revoked(frozenset(lost))
        self._owned = owned
        self._positions |= {partition: owned[partition].committed for partition in gained}
        if gained:
            try:
                self._on_assigned(frozenset(gained))
            except BaseException:
                self._owned = kept  # not taken over yet: the next poll tells it again
                raise

    def _fetch(self, max_records: int, max_bytes: int) -> list[Message]:
        """What can be had now, each partition's share after the other; the first one differs each time."""
        waiting = {partition: claim.next_offset - self._positions[partition]
                   for partition, claim in self._owned.items() if claim.next_offset > self._positions[partition]}
        self._turn += 1
        messages: list[Message] = []
        for partition, share in fair_shares(waiting, max_records, self._turn).items():
            claim = self._owned[partition]
            start = record_id(claim.partition_id, self._positions[partition])
            stop = record_id(claim.partition_id, claim.next_offset)
            with self._database.reading() as db, closing(select(db, start, stop, share)) as rows:
                for row in rows:
                    messages.append(message := to_message(self.topic, partition, row))
                    self._positions[partition] = message.offset + 1
                    max_bytes -= len(message.value)
                    if max_bytes <= 0:
                        return messages
        return messages


def select(db: sqlite3.Connection, start: int, stop: int, limit: int) -> sqlite3.Cursor:
    """The rows with `start` <= id < `stop`; the caller closes the cursor, for as long as it is open it reads."""
    return db.execute("SELECT id, key, value, headers, timestamp_ns FROM records"
                      " WHERE id >= ? AND id < ? ORDER BY id LIMIT ?", (start, stop, limit))


def to_message(topic: str, partition: int, row: Row) -> Message:
    """A row as the contract's record."""
    record, key, value, packed, timestamp_ns = row
    try:
        headers = _headers.decode(packed)
    except msgspec.DecodeError:
        headers = {}  # the disk has changed them: let the reader refuse this one record and go on
    return Message(topic, partition, offset_of(record), key, value, headers, timestamp_ns)
