"""A member of a consumer group on Kafka: cooperative rebalancing, fair batches, bounded buffers."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import ConsumerGroupMetadata
from typing_extensions import override

from operators.errors import Fenced, LogError
from pipeline.background import in_background
from pipeline.topics.base import Consumer, Message
from pipeline.topics.kafka_buffers import Buffers
from pipeline.topics.kafka_client import connected
from pipeline.topics.kafka_errors import translating
from pipeline.topics.kafka_joining import JOIN_POLL_S, Joining
from pipeline.topics.kafka_reader import reading_options, to_message
from pipeline.topics.kafka_settings import KafkaSettings

log = logging.getLogger(__name__)

KEEP_S = 0.1  # how often the membership is looked after while the caller is busy with a batch
SETTLE_S = 1.0  # how long a commit waits to learn what is ours in a generation that has just begun

_FETCHED_RECORDS = 256  # taken over from the client at once
_BEATS = 8  # signs of life within one session timeout; with the next one a member learns that others come or go
_CLOSE_S = 5.0
_FILL_S = 0.002  # waited for more records where a batch has some


class KafkaMember(Consumer):
    """One member.

    Its client beats in a thread of its own. While the caller is busy with a batch, another thread takes part in
    rebalances, so that the group waits for nobody's batch; what has moved is told by the next `poll`, and what
    was lost before is refused at once where it is to be committed.
    """

    def __init__(self, settings: KafkaSettings, group: str, topic: str, *,
                 on_assigned: Callable[[frozenset[int]], None], on_revoked: Callable[[frozenset[int]], None]) -> None:
        self.group, self.topic = group, topic
        self._full_topic = settings.prefix + topic
        self._what = f"Kafka at {', '.join(settings.servers)}: group {group}"
        self._timeout_ms = settings.request_timeout_s * 1000
        self._on_assigned, self._on_revoked = on_assigned, on_revoked
        self._moves = _Moves()
        self._owned: frozenset[int] = frozenset()  # as the caller was told
        self._lost: frozenset[int] = frozenset()  # of these, what others may have had since
        self._there: frozenset[int] = frozenset()  # as the client knows
        self._rewound: frozenset[int] = frozenset()  # of these, what is to be read from the committed offset on
        self._failure: BaseException | None = None
        self._buffers = Buffers()
        self._committed: dict[int, int] = {}
        session_ms = round(settings.session_timeout_s * 1000)
        # A group waits so long for a member to join again: one whose thread does not get to it in that time is dead.
        rejoin_ms = min(session_ms, round(settings.batch_timeout_s * 1000))
        self._kept_s = settings.batch_timeout_s - rejoin_ms / 1000  # then the client counts the rest
        with translating(self._what):
            self._client = connected(KafkaConsumer, reading_options(settings) | {
                "group_id": settings.prefix + group, "partition_assignment_strategy": [CooperativeStickyAssignor],
                "session_timeout_ms": session_ms, "heartbeat_interval_ms": session_ms // _BEATS,
                "max_poll_interval_ms": rejoin_ms})
            self._joining = Joining(self._client)
            self._client.subscribe([self._full_topic], listener=self._moves)
            self._client.partitions_for_topic(self._full_topic)  # known before it is shared out, not after
        self._lock = threading.Lock()  # held while the client is used
        self._left_s = time.monotonic()  # when the caller was last here
        self._closed = threading.Event()
        self._keeper: threading.Thread | None = None

    @property
    @override
    def assignment(self) -> frozenset[int]:
        return self._owned

    @property
    def buffered_bytes(self) -> int:
        """How much is fetched and not given out yet."""
        return self._buffers.size_bytes

    @override
    def poll(self, max_records: int, timeout_s: float, max_bytes: int = 64 * 2**20) -> Sequence[Message]:
        if self._keeper is None and self._kept_s > 0:
            self._keeper, _ = in_background(f"keeper {self.group}", self._keep)
        deadline_s = time.monotonic() + timeout_s
        with translating(self._what):
            while True:
                left_s = max(0.0, deadline_s - time.monotonic())
                with self._lock:
                    self._fetch(min(left_s, self._patience_s(max_records)) if self._joining.membership else JOIN_POLL_S)
                    lost, gained = self._moved()
                self._tell(lost, gained)
                messages = self._take(max_records, max_bytes)
                if messages or time.monotonic() >= deadline_s:
                    self._left_s = time.monotonic()
                    return messages

    @override
    def committed(self, partition: int) -> int:
        with translating(self._what), self._lock:
            return self._committed_in(partition)

    @override
    def seek_to_committed(self) -> None:
        with self._lock:
            self._buffers.clear()
            self._committed.clear()
            self._rewound = self._there  # when the client is next used: the cluster may not answer now

    @override
    def close(self) -> None:
        self._closed.set()
        with self._lock:
            self._owned = self._there = frozenset()
            try:
                with translating(self._what):
                    self._client.close(autocommit=False, timeout_ms=_CLOSE_S * 1000)
            except LogError as error:
                log.info("%s; the group will notice by itself", error)

    def check_owned(self, partitions: Iterable[int]) -> ConsumerGroupMetadata:
        """What tells the cluster on whose behalf a transaction commits.

        Raises:
            Fenced: one of `partitions` is not this member's, or was not for a while since the last `poll`.
        """
        partitions, deadline_s = frozenset(partitions), time.monotonic() + SETTLE_S
        with translating(self._what), self._lock:
            while (partitions and partitions <= self._held() and not self._joining.membership
                   and time.monotonic() < deadline_s):
                self._fetch(0.0)  # a new generation has begun, and what is ours in it comes with the next answer
            if not partitions or (partitions <= self._held() and self._joining.membership):
                return self._joining.membership
        message = f"group {self.group}: of {self.topic}, {sorted(partitions)} are not all ours: another member has them"
        raise Fenced(message)

    def beyond_marks(self, offsets: Mapping[int, int]) -> dict[int, int]:
        """The same places, behind Kafka's marks of transactions where nothing else follows: they are no lag."""
        with translating(self._what), self._lock:
            return {partition: max(offset, self._client.position(self._at(partition), self._timeout_ms) or 0)
                    if self._buffers.is_drained(partition, offset) else offset
                    for partition, offset in offsets.items()}

    def has_committed(self, offsets: Mapping[int, int] | None) -> None:
        """A transaction with these offsets was kept; None: one may have been."""
        with self._lock:
            if offsets is None:
                self._committed.clear()
            else:  # others may have moved on where a partition was lost meanwhile
                self._committed |= {partition: offsets[partition] for partition in offsets.keys() & self._held()}

    def _keep(self) -> None:
        """Look after the membership while the caller is busy, unless it is so for too long."""
        while not self._closed.wait(KEEP_S):
            with self._lock:
                away_s = time.monotonic() - self._left_s
                if self._failure is None and not self._closed.is_set() and KEEP_S < away_s < self._kept_s:
                    try:
                        self._fetch(0.0)
                    except Exception as error:  # raised by whatever uses the client next
                        self._failure = error

    def _held(self) -> frozenset[int]:
        """What the caller was told to own, and has owned without a break since."""
        return self._owned & self._there - self._lost

    def _patience_s(self, max_records: int) -> float:
        """How long the client may wait for more than what is buffered."""
        if not (waiting := self._buffers.count(self._held())):
            return math.inf
        return 0.0 if waiting >= max_records else _FILL_S

    def _fetch(self, timeout_s: float) -> None:
        """Let the client do its work for a moment: join, beat, fetch; then learn what has changed."""
        for partition in self._rewound & self._there:
            self._client.seek(self._at(partition), self._committed_in(partition))
        self._rewound = frozenset()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        records = self._client.poll(timeout_ms=timeout_s * 1000, max_records=_FETCHED_RECORDS)
        before, self._there = self._there, frozenset(at.partition for at in self._client.assignment())
        broke = self._joining.broke()  # then what looks kept may have been elsewhere, and read on there
        lost = self._moves.taken() | (before if broke else before - self._there)
        self._buffers.forget(lost)
        for partition in lost:
            self._committed.pop(partition, None)
        self._lost |= lost & self._owned
        self._rewound = before & self._there if broke else frozenset()
        for at, fetched in records.items():
            if at.partition in self._there - self._rewound:
                self._buffers.add(at.partition, (to_message(self.topic, record) for record in fetched))
        self._press_back()

    def _moved(self) -> tuple[frozenset[int], frozenset[int]]:
        """What the caller is to be told as lost and as gained; nothing while the group is not settled."""
        if not self._joining.membership:
            return frozenset(), frozenset()
        kept, before = self._held(), self._owned
        self._owned, self._lost = self._there, frozenset()
        return before - kept, self._owned - kept

    def _tell(self, lost: frozenset[int], gained: frozenset[int]) -> None:
        try:
            if lost:
                self._on_revoked(lost)
            if gained:
                self._on_assigned(gained)
        except BaseException:
            with self._lock:
                self._owned -= gained  # not taken over yet: the next poll tells it again
            raise

    def _take(self, max_records: int, max_bytes: int) -> list[Message]:
        with self._lock:
            return self._buffers.take(self._held(), max_records, max_bytes) if self._joining.membership else []

    def _press_back(self) -> None:
        """Pause the partitions that have their share of the buffer, and let the others go on."""
        full = {self._at(partition) for partition in self._buffers.full(self._there)}
        paused = self._client.paused() & {self._at(partition) for partition in self._there}
        self._client.resume(*(paused - full))
        self._client.pause(*(full - paused))

    def _committed_in(self, partition: int) -> int:
        if partition not in self._committed:
            at = self._at(partition)
            self._joining.forget_offsets()
            committed = self._client.committed(at, timeout_ms=self._timeout_ms)
            if committed is None:
                committed = self._client.beginning_offsets([at], self._timeout_ms)[at]
            self._committed[partition] = committed
        return self._committed[partition]

    def _at(self, partition: int) -> TopicPartition:
        return TopicPartition(self._full_topic, partition)


class _Moves(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    """Notes what the client lost, also where it won it back: told from its own thread, while a poll waits for it."""

    def __init__(self) -> None:
        self._lost: set[int] = set()

    @override
    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        self._lost.update(at.partition for at in revoked)

    @override
    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        pass

    def taken(self) -> frozenset[int]:
        """What was lost since the last time."""
        lost = frozenset(self._lost)
        self._lost.clear()
        return lost
