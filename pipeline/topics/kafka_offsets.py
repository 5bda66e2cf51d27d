"""Where groups stand, asked from outside of them."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from kafka import KafkaConsumer, TopicPartition

from pipeline.topics.kafka_client import connected
from pipeline.topics.kafka_errors import translating
from pipeline.topics.kafka_reader import reading_options
from pipeline.topics.kafka_settings import KafkaSettings
from pipeline.topics.kafka_topics import KafkaTopics


class KafkaOffsets:
    """Asks through a client for every group, which never joins; kafka-python's admin does not wait for transactions."""

    def __init__(self, settings: KafkaSettings, topics: KafkaTopics) -> None:
        """Nothing is connected before it is needed."""
        self._settings, self._topics = settings, topics
        self._lock = threading.Lock()
        self._clients: dict[str, KafkaConsumer] = {}

    def committed(self, group: str, topic: str) -> Mapping[int, int]:
        """The offsets that a group has committed, by partition; waits for transactions that are about to."""
        at = [TopicPartition(self._settings.prefix + topic, partition)
              for partition in range(self._topics.partitions(topic))]
        with translating(f"Kafka at {', '.join(self._settings.servers)}: group {group}"), self._lock:
            if group not in self._clients:
                self._clients[group] = connected(
                    KafkaConsumer, {**reading_options(self._settings), "group_id": self._settings.prefix + group})
            # The client's own `committed` asks for one partition at a time, and files ask how far they are ahead.
            coordinator = self._clients[group]._coordinator
            offsets = coordinator.fetch_committed_offsets(at, timeout_ms=self._settings.request_timeout_s * 1000)
        return {one.partition: committed.offset for one, committed in offsets.items()}

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            for client in self._clients.values():
                client.close(autocommit=False)
            self._clients.clear()
