"""The log on an Apache Kafka cluster: transactions are Kafka's own, and so are groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from typing_extensions import override

from pipeline.topics.base import Consumer, Log, Message, TopicSettings, Transaction
from pipeline.topics.kafka_consumer import KafkaMember
from pipeline.topics.kafka_offsets import KafkaOffsets
from pipeline.topics.kafka_reader import KafkaReader, KafkaStates
from pipeline.topics.kafka_settings import KafkaSettings
from pipeline.topics.kafka_topics import STATE, Drift, KafkaTopics
from pipeline.topics.kafka_transaction import KafkaTransaction
from pipeline.topics.kafka_writer import KafkaWriter


class KafkaLog(Log):
    """The log on a cluster; nothing is connected before it is needed.

    Where the cluster does not answer within the request timeout, every method raises LogUnavailable. A
    transaction that was under way when its process died holds up readers of its partitions until the brokers
    give it up: 20 s at most with their defaults and ours. Whoever takes over its name, as for a camera, ends it
    at once.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._topics = KafkaTopics(settings)
        self._reader = KafkaReader(settings, self._topics)
        self._states = KafkaStates(self._reader, self._topics)
        self._offsets = KafkaOffsets(settings, self._topics)
        self._writers: dict[str, KafkaWriter] = {}

    @override
    def ensure(self, topics: Sequence[TopicSettings]) -> None:
        self._topics.ensure([*topics, STATE])

    def drift(self, topics: Sequence[TopicSettings]) -> Sequence[Drift]:
        """How the cluster's topics differ from `topics` and the log's own."""
        return self._topics.drift([*topics, STATE])

    def wanted(self, topics: Sequence[TopicSettings]) -> Mapping[str, Mapping[str, str]]:
        """What `topics` and the log's own are to be like, by Kafka's names."""
        return {topic.name: self._topics.wanted(topic) for topic in [*topics, STATE]}

    @override
    def partitions(self, topic: str) -> int:
        return self._topics.partitions(topic)

    @override
    def consumer(self, group: str, topic: str, *,
                 on_assigned: Callable[[frozenset[int]], None] | None = None,
                 on_revoked: Callable[[frozenset[int]], None] | None = None) -> Consumer:
        self.partitions(topic)  # refuses a topic that is not there
        return KafkaMember(self._settings, group, topic, on_assigned=on_assigned or _ignore,
                           on_revoked=on_revoked or _ignore)

    @override
    def transaction(self, writer: str) -> Transaction:
        if writer in self._writers:
            self._writers[writer].check()
        else:
            self._writers[writer] = KafkaWriter(self._settings, writer)
        return KafkaTransaction(self._settings, self._topics, self._writers[writer])

    @override
    def release(self, writer: str) -> None:
        if held := self._writers.pop(writer, None):
            held.close()

    @override
    def read(self, topic: str, partition: int, start: int, stop: int) -> Iterator[Message]:
        return self._reader.read(topic, partition, start, stop)

    @override
    def state(self, store: str, partition: int) -> Mapping[str, bytes]:
        return self._states.get(store, partition)

    @override
    def ends(self, topic: str) -> Mapping[int, tuple[int, int]]:
        return self._topics.ends(topic)

    @override
    def lag(self, group: str, topic: str) -> Mapping[int, int]:
        committed = self._offsets.committed(group, topic)
        return {partition: following - max(first, committed.get(partition, first))
                for partition, (first, following) in self.ends(topic).items()}

    @override
    def close(self) -> None:
        for writer in list(self._writers):
            self.release(writer)
        self._offsets.close()
        self._reader.close()
        self._topics.close()


def _ignore(partitions: frozenset[int]) -> None:
    """For consumers that do not care which partitions they own."""
