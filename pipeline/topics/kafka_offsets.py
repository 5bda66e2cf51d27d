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
        partitions, timeout_ms = range(self._topics.partitions(topic)), self._settings.request_timeout_s * 1000
        with translating(f"Kafka at {', '.join(self._settings.servers)}: group {group}"), self._lock:
            if group not in self._clients:
                self._clients[group] = connected(
                    KafkaConsumer, {**reading_options(self._settings), "group_id": self._settings.prefix + group})
            offsets = {partition: self._clients[group].committed(
                TopicPartition(self._settings.prefix + topic, partition), timeout_ms=timeout_ms)
                for partition in partitions}
        return {partition: offset for partition, offset in offsets.items() if offset is not None}

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            for client in self._clients.values():
                client.close(autocommit=False)
            self._clients.clear()
