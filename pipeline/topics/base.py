"""The log's contract: named topics of keyed records, consumer groups, and transactions over both.

`EmbeddedLog` and, on clusters, Kafka keep it; one suite of tests runs against all of them.

    log.ensure([TopicSettings(name="segments", partitions=8, ...)])
    with log.transaction("capture-0") as tx:
        tx.append("segments", key="lobby", value=b"...", headers={})

    consumer = log.consumer("perceive", "segments")
    messages = consumer.poll(max_records=32, timeout_s=0.2)
    with log.transaction("perceive-0") as tx:
        tx.append("embeddings", key="lobby", value=b"...", headers={})
        tx.put_state("perceive", partition=3, key="lobby", value=b"...")
        tx.commit(consumer, {3: messages[-1].offset + 1})
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from operators.errors import LogError


@dataclass(frozen=True)
class TopicSettings:
    """What a topic keeps. Records older than `retention_s` or beyond `retention_bytes` may be deleted.

    When that happens is the log's affair. The embedded log keeps what a group has not committed; Kafka does not.
    """

    name: str
    partitions: int = 8
    retention_s: float = 24 * 3600.0
    retention_bytes: int = 4 * 2**30  # over all partitions
    max_record_bytes: int = 64 * 2**20
    compression: str = ""  # how Kafka keeps it, such as "zstd"; empty: as it comes, for media
    compacted: bool = False  # Kafka keeps the newest record of every key instead of the newest of all


@dataclass(frozen=True)
class Message:
    """One record as it lies in the log."""

    topic: str
    partition: int
    offset: int  # counts a partition's records upwards; gaps are allowed
    key: str  # the camera; a key's records share a partition and keep their order
    value: bytes
    headers: Mapping[str, bytes] = field(default_factory=dict)
    timestamp_ns: int = 0  # wall clock at append


def partition_of(key: str, partitions: int) -> int:
    """The partition that holds `key`."""
    return zlib.crc32(key.encode()) % partitions


class Consumer(ABC):
    """A member of a consumer group over one topic. Used by one thread.

    Partitions are shared among the group's live members and move when a member joins, leaves, or shows
    no life for the log's session timeout: its process has died, or it has not polled. `poll` is where a
    move becomes known: it calls `on_revoked` with partitions lost, then `on_assigned` with partitions
    gained, before it returns; reading goes on from each partition's committed offset. A partition that
    was lost and won back between two polls is in both calls. Others may own what is revoked already, so
    `on_revoked` can commit nothing. An exception from `on_assigned` leaves `poll`, and the next `poll`
    calls it again.
    """

    group: str
    topic: str

    @property
    @abstractmethod
    def assignment(self) -> frozenset[int]:
        """The partitions this member owns, as far as the last `poll` told."""

    @abstractmethod
    def poll(self, max_records: int, timeout_s: float, max_bytes: int = 64 * 2**20) -> Sequence[Message]:
        """The next committed records in order per partition; waits up to `timeout_s` for the first.

        Returns at most `max_records` and stops after the record that reaches `max_bytes`.
        Partitions take turns, so a busy one starves no other.

        Raises:
            LogUnavailable: the log does not answer; call again.
        """

    @abstractmethod
    def committed(self, partition: int) -> int:
        """The offset the group continues from in `partition`; the first kept one if it never committed."""

    @abstractmethod
    def seek_to_committed(self) -> None:
        """Forget what was polled but not committed: the next `poll` starts at the committed offsets."""

    @abstractmethod
    def close(self) -> None:
        """Leave the group at once, so that others take over without waiting for the timeout."""


class Transaction(ABC):
    """Appends, state and offsets that become visible together or not at all.

    Used once, as a context manager: leaving it normally commits, leaving it by an exception aborts. Once
    it is left normally, what it holds survives the death of every process that has the log open.
    Leaving it raises Fenced where a newer process writes under the same name; then nothing was kept. It
    raises LogUnavailable where the log does not answer; then it may yet be kept (not by the embedded log),
    until `Log.transaction` gives another one under the name: from then on the committed offsets and state
    tell whether it was.

    A log's own only collects, and writes everything at once on leaving.
    """

    def __init__(self) -> None:
        self._over = False
        self._states: dict[tuple[str, int, str], bytes | None] = {}  # store, partition, key -> its newest state

    @abstractmethod
    def append(self, topic: str, key: str, value: bytes, headers: Mapping[str, bytes] | None = None) -> None:
        """Add a record to the partition of `key`.

        Raises:
            RecordTooLarge: larger than the topic's `max_record_bytes`; names topic, key and size.
            LogError: the topic does not exist, or the transaction is over.
        """

    def put_state(self, store: str, partition: int, key: str, value: bytes | None) -> None:
        """Keep `value` as the newest state of `key`; None deletes it. `store` is the stage's name.

        Raises:
            LogError: the transaction is over.
        """
        self._check_open()
        self._states[store, partition, key] = value

    @abstractmethod
    def commit(self, consumer: Consumer, offsets: Mapping[int, int]) -> None:
        """Set the group's next offset of each partition, as part of this transaction.

        Raises:
            Fenced: `consumer` does not own one of the partitions any more, or does not own it without a
                break since its last `poll` (here or on leaving). Nothing of the transaction was kept.
                Call `seek_to_committed`, then `poll`.
            LogError: it is not one of this log's, or the transaction is over.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._over = True
        if kind is None:
            self._write()

    @abstractmethod
    def _write(self) -> None:
        """Write what was collected; called at most once, on leaving. It may be nothing."""

    def _check_open(self) -> None:
        """What every method begins with."""
        if self._over:
            message = "this transaction is over"
            raise LogError(message)


class Log(ABC):
    """A durable log. Threads may share one; consumers and transactions belong to one thread each."""

    @abstractmethod
    def ensure(self, topics: Sequence[TopicSettings]) -> None:
        """Create the topics that are missing; those there keep their partitions and take the new limits.

        Raises:
            SettingsError: a topic exists with another number of partitions.
        """

    @abstractmethod
    def partitions(self, topic: str) -> int:
        """How many partitions `topic` has."""

    @abstractmethod
    def consumer(self, group: str, topic: str, *,
                 on_assigned: Callable[[frozenset[int]], None] | None = None,
                 on_revoked: Callable[[frozenset[int]], None] | None = None) -> Consumer:
        """Join `group` as a new member reading `topic`."""

    @abstractmethod
    def transaction(self, writer: str) -> Transaction:
        """Begin a transaction as `writer`, whose transactions follow one another.

        The first one of a log object under a name takes the name: older log objects, here or in any
        process, get Fenced from then on when they leave a transaction under it, for good. So a stage
        that reads no partitions, such as capture, has one writer even if an old process comes to life
        again. Members of a group need not share names: their commits are fenced by ownership.
        """

    @abstractmethod
    def release(self, writer: str) -> None:
        """Hold the name no longer, lost or not; the next transaction under it takes it anew.

        For who is done with it, and for who lost it and has reason to think that nobody else has it. A commit
        that is still under way ends as if its process had died.
        """

    @abstractmethod
    def read(self, topic: str, partition: int, start: int, stop: int) -> Iterator[Message]:
        """Committed records with `start` <= offset < `stop`, outside of any group."""

    @abstractmethod
    def state(self, store: str, partition: int) -> Mapping[str, bytes]:
        """The newest committed state of every key in one partition of `store`."""

    @abstractmethod
    def ends(self, topic: str) -> Mapping[int, tuple[int, int]]:
        """Per partition the first kept offset and the next offset to be written."""

    @abstractmethod
    def lag(self, group: str, topic: str) -> Mapping[int, int]:
        """Per partition how many offsets `group` is behind the end; gaps count, records that expired do not."""

    @abstractmethod
    def close(self) -> None:
        """Close files and connections. Nothing committed is lost without it."""
