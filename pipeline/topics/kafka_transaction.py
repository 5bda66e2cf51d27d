"""A transaction on Kafka: collected in memory, then written in one short burst."""

from __future__ import annotations

from collections.abc import Mapping

from kafka import TopicPartition
from typing_extensions import override

from operators.errors import Fenced, LogError, LogUnavailable, RecordTooLarge
from pipeline.topics.base import Consumer, Transaction, partition_of
from pipeline.topics.kafka_consumer import KafkaMember
from pipeline.topics.kafka_reader import state_key, state_partition
from pipeline.topics.kafka_settings import KafkaSettings
from pipeline.topics.kafka_topics import STATE, KafkaTopics
from pipeline.topics.kafka_writer import Commit, Entry, KafkaWriter


class KafkaTransaction(Transaction):
    """Opens Kafka's transaction only on leaving, so that one which is filled slowly holds up no reader."""

    def __init__(self, settings: KafkaSettings, topics: KafkaTopics, writer: KafkaWriter) -> None:
        super().__init__()
        self._settings, self._topics, self._writer = settings, topics, writer
        self._entries: list[Entry] = []
        self._commits: list[tuple[KafkaMember, dict[int, int], Commit]] = []

    @override
    def append(self, topic: str, key: str, value: bytes, headers: Mapping[str, bytes] | None = None) -> None:
        self._check_open()
        headers = headers or {}
        size = len(key.encode()) + len(value) + sum(len(name) + len(text) for name, text in headers.items())
        if (size > self._topics.max_record_bytes(topic)
                and size > (most := self._topics.max_record_bytes(topic, asked_again=True))):
            message = f"topic {topic}: the record of {key!r} has {size} bytes, at most {most} are taken"
            raise RecordTooLarge(message)
        self._entries.append(Entry(self._settings.prefix + topic, partition_of(key, self._topics.partitions(topic)),
                                   key, value, headers))

    @override
    def commit(self, consumer: Consumer, offsets: Mapping[int, int]) -> None:
        self._check_open()
        if not isinstance(consumer, KafkaMember):
            message = f"Kafka cannot commit for a {type(consumer).__name__}"
            raise LogError(message)
        membership = consumer.check_owned(offsets)
        at = {TopicPartition(self._settings.prefix + consumer.topic, partition): offset
              for partition, offset in consumer.beyond_marks(offsets).items()}
        self._commits.append((consumer, dict(offsets), Commit(membership, at)))

    @override
    def _write(self) -> None:
        if not (self._entries or self._states or self._commits):
            return
        try:
            self._writer.commit(self._entries + self._state_entries(),
                                [commit for _, offsets, commit in self._commits if offsets])
        except (Fenced, LogUnavailable):
            for consumer, _, _ in self._commits:
                consumer.has_committed(None)
            raise
        for consumer, offsets, _ in self._commits:
            consumer.has_committed(offsets)

    def _state_entries(self) -> list[Entry]:
        if not self._states:
            return []
        topic, partitions = self._settings.prefix + STATE.name, self._topics.partitions(STATE.name)
        return [Entry(topic, state_partition(store, partition, partitions), state_key(store, partition, key), value)
                for (store, partition, key), value in self._states.items()]
