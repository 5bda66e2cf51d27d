"""A member of a consumer group on Kafka: cooperative rebalancing, fair batches, bounded buffers."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import ConsumerGroupMetadata, MemberState
from typing_extensions import override

from operators.errors import Fenced, LogError
from pipeline.topics.base import Consumer, Message
from pipeline.topics.fair_shares import fair_shares
from pipeline.topics.kafka_client import connected
from pipeline.topics.kafka_errors import translating
from pipeline.topics.kafka_joining import Joining
from pipeline.topics.kafka_reader import reading_options, to_message
from pipeline.topics.kafka_settings import KafkaSettings

log = logging.getLogger(__name__)

BUFFER_BYTES = 32 * 2**20  # over a member's partitions; one that has its share is paused
JOIN_POLL_S = 0.05  # waited at least by a member that is joining its group

_FETCHED_RECORDS = 256  # taken over from the client at once
_BEATS = 4  # signs of life within one session timeout
_CLOSE_S = 5.0
_FILL_S = 0.002  # waited for more records where a batch has some


class KafkaMember(Consumer):
    """One member. Its client beats in a thread of its own; everything else happens inside `poll`."""

    def __init__(self, settings: KafkaSettings, group: str, topic: str, *,
                 on_assigned: Callable[[frozenset[int]], None], on_revoked: Callable[[frozenset[int]], None]) -> None:
        self.group, self.topic = group, topic
        self._full_topic = settings.prefix + topic
        self._what = f"Kafka at {', '.join(settings.servers)}: group {group}"
        self._timeout_ms = settings.request_timeout_s * 1000
        self._on_assigned, self._on_revoked = on_assigned, on_revoked
        self._moves = _Moves()
        self._owned: frozenset[int] = frozenset()
        self._buffers: dict[int, deque[Message]] = {}
        self._committed: dict[int, int] = {}
        self._membership: ConsumerGroupMetadata | None = None
        self._rewind = False
        self._turn = 0
        session_ms = round(settings.session_timeout_s * 1000)
        with translating(self._what):
            self._client = connected(KafkaConsumer, reading_options(settings) | {
                "group_id": settings.prefix + group, "partition_assignment_strategy": [CooperativeStickyAssignor],
                "session_timeout_ms": session_ms, "heartbeat_interval_ms": session_ms // _BEATS,
                "max_poll_interval_ms": round(settings.batch_timeout_s * 1000)})
            self._joining = Joining(self._client)
            self._client.subscribe([self._full_topic], listener=self._moves)
            self._client.partitions_for_topic(self._full_topic)  # known before it is shared out, not after

    @property
    @override
    def assignment(self) -> frozenset[int]:
        return self._owned

    @property
    def buffered_bytes(self) -> int:
        """How much is fetched and not given out yet."""
        return sum(len(message.value) for buffer in self._buffers.values() for message in buffer)

    @override
    def poll(self, max_records: int, timeout_s: float, max_bytes: int = 64 * 2**20) -> Sequence[Message]:
        deadline_s = time.monotonic() + timeout_s
        with translating(self._what):
            while True:
                left_s = max(0.0, deadline_s - time.monotonic())
                self._fetch(min(left_s, self._patience_s(max_records)) if self._membership else JOIN_POLL_S)
                messages = self._take(max_records, max_bytes) if self._membership else []
                if messages or time.monotonic() >= deadline_s:
                    return messages

    @override
    def committed(self, partition: int) -> int:
        if partition not in self._committed:
            at = self._at(partition)
            with translating(self._what):
                committed = self._client.committed(at, timeout_ms=self._timeout_ms)
                if committed is None:
                    committed = self._client.beginning_offsets([at], self._timeout_ms)[at]
            self._committed[partition] = committed
        return self._committed[partition]

    @override
    def seek_to_committed(self) -> None:
        self._buffers = {partition: deque() for partition in self._buffers}
        self._committed.clear()
        self._rewind = True  # in the next `poll`, which may say that the cluster does not answer

    @override
    def close(self) -> None:
        self._owned, self._membership = frozenset(), None
        try:
            with translating(self._what):
                self._client.close(autocommit=False, timeout_ms=_CLOSE_S * 1000)
        except LogError as error:
            log.info("%s; the group will notice by itself", error)

    def check_owned(self, partitions: Iterable[int]) -> ConsumerGroupMetadata:
        """What tells the cluster on whose behalf a transaction commits.

        Raises:
            Fenced: the last `poll` told that one of `partitions` is not this member's, or that it is none now.
        """
        for partition in partitions:
            if partition not in self._owned or self._membership is None:
                message = f"group {self.group}: partition {partition} of {self.topic} belongs to another member now"
                raise Fenced(message)
        return self._membership

    def has_committed(self, offsets: Mapping[int, int] | None) -> None:
        """A transaction with these offsets was kept; None: one may have been."""
        if offsets is None:
            self._committed.clear()
        else:
            self._committed.update(offsets)

    def _patience_s(self, max_records: int) -> float:
        """How long the client may wait for more than what is buffered."""
        waiting = sum(len(self._buffers[partition]) for partition in self._owned)
        if not waiting:
            return math.inf
        return 0.0 if waiting >= max_records else _FILL_S

    def _fetch(self, timeout_s: float) -> None:
        """Let the client do its work for a moment: join, beat, fetch; then learn what has changed."""
        if self._rewind:
            for partition in self._owned:
                self._client.seek(self._at(partition), self.committed(partition))
            self._rewind = False
        with self._joining.waiting():
            records = self._client.poll(timeout_ms=timeout_s * 1000, max_records=_FETCHED_RECORDS)
        self._adopt({at.partition: fetched for at, fetched in records.items()})
        self._press_back()
        membership = self._client.group_metadata()
        # While the group is being rebalanced nothing is given out and nothing can be committed: the client may
        # have learnt of a new generation, but not yet what is ours in it.
        stable = membership.state is MemberState.STABLE and membership.generation_id >= 0 and membership.member_id
        self._membership = membership if stable else None

    def _adopt(self, records: Mapping[int, Sequence[Any]]) -> None:
        """Take over what the client brought, and tell what this member lost and gained in its turn."""
        there, lost_meanwhile = frozenset(at.partition for at in self._client.assignment()), self._moves.taken()
        kept = self._owned & there - lost_meanwhile
        lost, gained = self._owned - kept, there - kept
        for partition in lost_meanwhile | (self._buffers.keys() - there):
            self._buffers.pop(partition, None)
            self._committed.pop(partition, None)
        for partition in there:
            self._buffers.setdefault(partition, deque()).extend(
                to_message(self.topic, record) for record in records.get(partition, ()))
        self._owned = kept
        if lost:
            self._on_revoked(lost)
        self._owned = there
        if gained:
            try:
                self._on_assigned(gained)
            except BaseException:
                self._owned = kept  # not taken over yet: the next poll tells it again
                raise

    def _press_back(self) -> None:
        """Pause the partitions that have their share of the buffer, and let the others go on."""
        share = BUFFER_BYTES // max(1, len(self._owned))
        full = {self._at(partition) for partition in self._owned
                if sum(len(message.value) for message in self._buffers[partition]) >= share}
        paused = self._client.paused() & {self._at(partition) for partition in self._owned}
        self._client.resume(*(paused - full))
        self._client.pause(*(full - paused))

    def _take(self, max_records: int, max_bytes: int) -> list[Message]:
        """Each partition's share of a batch, one after the other; the first one differs each time."""
        self._turn += 1
        waiting = {partition: len(self._buffers[partition]) for partition in self._owned if self._buffers[partition]}
        messages: list[Message] = []
        for partition, share in fair_shares(waiting, max_records, self._turn).items():
            for _ in range(share):
                messages.append(message := self._buffers[partition].popleft())
                max_bytes -= len(message.value)
                if max_bytes <= 0:
                    return messages
        return messages

    def _at(self, partition: int) -> TopicPartition:
        return TopicPartition(self._full_topic, partition)


class _Moves(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    """Notes what the client lost, also where it won it back: told from its own thread, while `poll` waits for it."""

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
