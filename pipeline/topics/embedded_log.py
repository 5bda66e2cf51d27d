"""The default log: one SQLite file in write-ahead mode, which several threads and processes may share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from typing_extensions import override

from operators.clock import Clock, SystemClock
from operators.errors import SettingsError
from pipeline.topics.base import Consumer, Log, Message, TopicSettings, Transaction
from pipeline.topics.embedded_consumer import EmbeddedConsumer, select, to_message
from pipeline.topics.embedded_database import Database
from pipeline.topics.embedded_group import Group
from pipeline.topics.embedded_retention import Retention
from pipeline.topics.embedded_schema import partition_end, record_id, topic_limits
from pipeline.topics.embedded_transaction import EmbeddedTransaction

_READ_RECORDS = 16  # read at once, so that a slow reader keeps no old state of the file alive


class EmbeddedLog(Log):
    """The log in `folder`, which all processes that share it must reach on one machine.

    A commit is there for every process once `transaction` is left, also after `kill -9`; a power loss
    may take the newest ones, each as a whole. A process that forks after opening a log keeps it; the
    child is refused.

    Raises:
        SettingsError: the folder or the file cannot be written.
        LogError: the file is not a log, damaged, or of another version.
    """

    def __init__(self, folder: Path, *, session_timeout_s: float = 10.0, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._session_timeout_s = session_timeout_s
        self._database = Database(folder)
        self._retention = Retention()
        self._epochs: dict[str, int] = {}

    @override
    def ensure(self, topics: Sequence[TopicSettings]) -> None:
        with self._database.writing() as db:
            for topic in topics:
                db.execute("""INSERT INTO topics (name, partitions, retention_s, retention_bytes, max_record_bytes)
                              VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET
                              retention_s = excluded.retention_s, retention_bytes = excluded.retention_bytes,
                              max_record_bytes = excluded.max_record_bytes""",
                           (topic.name, topic.partitions, topic.retention_s, topic.retention_bytes,
                            topic.max_record_bytes))
                found, _ = topic_limits(db, self._database.path, topic.name)
                if found != topic.partitions:
                    message = f"topic {topic.name} has {found} partitions, not {topic.partitions}"
                    raise SettingsError(message)
                db.executemany("INSERT OR IGNORE INTO partitions (topic, partition) VALUES (?, ?)",
                               [(topic.name, partition) for partition in range(topic.partitions)])

    @override
    def partitions(self, topic: str) -> int:
        with self._database.reading() as db:
            return topic_limits(db, self._database.path, topic)[0]

    @override
    def consumer(self, group: str, topic: str, *,
                 on_assigned: Callable[[frozenset[int]], None] | None = None,
                 on_revoked: Callable[[frozenset[int]], None] | None = None) -> Consumer:
        self.partitions(topic)  # refuses a topic that is not there
        return EmbeddedConsumer(self._database, Group(group, topic), clock=self._clock,
                                session_timeout_s=self._session_timeout_s,
                                on_assigned=on_assigned or _ignore, on_revoked=on_revoked or _ignore)

    @override
    def transaction(self, writer: str) -> Transaction:
        if writer not in self._epochs:
            with self._database.writing() as db:
                (self._epochs[writer],) = db.execute(
                    """INSERT INTO writers (name, epoch) VALUES (?, 1)
                       ON CONFLICT (name) DO UPDATE SET epoch = epoch + 1 RETURNING epoch""", (writer,)).fetchone()
        return EmbeddedTransaction(self._database, self._retention, self._clock, writer, self._epochs[writer])

    @override
    def release(self, writer: str) -> None:
        self._epochs.pop(writer, None)

    @override
    def read(self, topic: str, partition: int, start: int, stop: int) -> Iterator[Message]:
        with self._database.reading() as db:
            partition_id, _ = partition_end(db, self._database.path, topic, partition)
        while start < stop:
            with self._database.reading() as db, closing(
                    select(db, record_id(partition_id, start), record_id(partition_id, stop), _READ_RECORDS)) as rows:
                messages = [to_message(topic, partition, row) for row in rows]
            yield from messages
            if len(messages) < _READ_RECORDS:
                return
            start = messages[-1].offset + 1

    @override
    def state(self, store: str, partition: int) -> Mapping[str, bytes]:
        with self._database.reading() as db:
            return dict(db.execute("SELECT key, value FROM states WHERE store = ? AND partition = ?",
                                   (store, partition)).fetchall())

    @override
    def ends(self, topic: str) -> Mapping[int, tuple[int, int]]:
        with self._database.reading() as db:
            return {partition: (first, following) for partition, first, following in db.execute(
                "SELECT partition, first_offset, next_offset FROM partitions WHERE topic = ? ORDER BY partition",
                (topic,)).fetchall()}

    @override
    def lag(self, group: str, topic: str) -> Mapping[int, int]:
        with self._database.reading() as db:
            claims = Group(group, topic).claims(db)
        committed = {claim.partition: claim.committed for claim in claims}
        return {partition: following - committed.get(partition, first)
                for partition, (first, following) in self.ends(topic).items()}

    @override
    def close(self) -> None:
        self._database.close()


def _ignore(partitions: frozenset[int]) -> None:
    """For consumers that do not care which partitions they own."""
