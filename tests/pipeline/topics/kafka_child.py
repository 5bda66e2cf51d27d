"""Another process on Kafka: `python -m tests.pipeline.topics.kafka_child ACTION SERVER PREFIX`; then it waits."""

from __future__ import annotations

import sys
import time

from kafka.structs import TopicPartition

from pipeline.topics.base import Message
from pipeline.topics.kafka_consumer import KafkaMember
from pipeline.topics.kafka_log import KafkaLog
from pipeline.topics.kafka_settings import KafkaSettings
from pipeline.topics.kafka_writer import Commit, Entry, KafkaWriter, fill

SESSION_S = 4.0
TRANSACTION_S = 3.0


def settings_of(server: str, prefix: str) -> KafkaSettings:
    """Those of this process and of the tests that start it."""
    return KafkaSettings(servers=(server,), prefix=prefix, session_timeout_s=SESSION_S,
                         transaction_timeout_s=TRANSACTION_S)


def owning(settings: KafkaSettings) -> None:
    """Be a member that owns partitions."""
    consumer = KafkaLog(settings).consumer("group", "in")
    while not consumer.assignment:
        consumer.poll(1, 1.0)


def committing(settings: KafkaSettings) -> None:
    """Be inside a commit: everything is written, and nothing is decided."""
    consumer, messages = KafkaLog(settings).consumer("group", "in"), list[Message]()
    assert isinstance(consumer, KafkaMember)
    while not messages:
        messages += consumer.poll(1, 1.0)
    [message] = messages
    commit = Commit(consumer.check_owned([message.partition]), {
        TopicPartition(f"{settings.prefix}in", message.partition): message.offset + 1})
    writer = KafkaWriter(settings, "dying")
    assert (producer := writer._producer)
    producer.begin_transaction()
    fill(producer, [Entry(f"{settings.prefix}out", 0, "cam", b"never")], [commit],
         time.monotonic() + settings.transaction_timeout_s)


if __name__ == "__main__":
    {"owning": owning, "committing": committing}[sys.argv[1]](settings_of(*sys.argv[2:]))
    print("there", flush=True)
    sys.stdin.read()
