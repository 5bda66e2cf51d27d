"""What the log on Kafka promises beyond the contract: commits that are seen, bounded memory, topics as wanted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar
from uuid import uuid4

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource

from operators.errors import Fenced
from pipeline.settings import LogSettings
from pipeline.topics.base import Message, TopicSettings
from pipeline.topics.kafka_buffers import BUFFER_BYTES
from pipeline.topics.kafka_client import client_options
from pipeline.topics.kafka_consumer import KafkaMember
from pipeline.topics.kafka_log import KafkaLog
from pipeline.topics.kafka_settings import KafkaSettings
from pipeline.topics.kafka_topics import OVERHEAD_BYTES
from pipeline.topology import topics
from tests.contracts.logs import PATIENCE_S, append, commit_all, everything, poll_until, values
from tests.waiting import until

TOPICS = [TopicSettings("in", partitions=2), TopicSettings("small", partitions=1, max_record_bytes=10_000)]


@pytest.fixture
def settings(kafka: str) -> KafkaSettings:
    return KafkaSettings(servers=(kafka,), prefix=f"test-{uuid4().hex}.")


@pytest.fixture
def log(settings: KafkaSettings) -> Iterator[KafkaLog]:
    log = KafkaLog(settings)
    log.ensure(TOPICS)
    yield log
    log.close()


Found = TypeVar("Found")


def eventually(look: Callable[[], Found]) -> Found:
    """What is seen once the brokers have told each other of a change."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not (found := look()) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return found


def test_records_of_an_aborted_transaction_are_passed_over(log: KafkaLog, settings: KafkaSettings) -> None:
    append(log, "in", [("cam", b"before")])
    producer = KafkaProducer(**client_options(settings), transactional_id=f"{settings.prefix}foreign")
    producer.init_transactions()
    producer.begin_transaction()
    for partition in (0, 1):
        producer.send(f"{settings.prefix}in", b"never", b"cam", partition=partition).get(30)
    producer.abort_transaction()
    producer.close()
    assert values(everything(log, "in")) == [b"before"]  # and reading does not stop at the end of nothing
    append(log, "in", [("cam", b"after")])
    assert values(everything(log, "in")) == [b"before", b"after"]


def test_a_released_name_leaves_no_producer(log: KafkaLog) -> None:
    before = threading.active_count()
    append(log, "in", [("cam", b"1")], writer="capture-0")
    assert threading.active_count() > before
    log.release("capture-0")
    until(lambda: threading.active_count() <= before, PATIENCE_S)


def test_several_records_that_only_together_are_too_large(log: KafkaLog) -> None:
    append(log, "small", [("cam", b"x" * 9_000), ("cam", b"y" * 9_000), ("cam", b"z" * 9_000)])
    assert [message.value[:1] for message in everything(log, "small")] == [b"x", b"y", b"z"]


def test_records_of_other_programs_are_readable(log: KafkaLog, settings: KafkaSettings) -> None:
    producer = KafkaProducer(**client_options(settings))
    producer.send(f"{settings.prefix}in", key=b"\xff", value=None, partition=0).get(30)
    producer.send(f"{settings.prefix}in", value=b"no key", partition=0).get(30)
    producer.close()
    assert [(message.key, message.value) for message in everything(log, "in")] == [("\ufffd", b""), ("", b"no key")]


def test_what_is_fetched_ahead_is_bounded(log: KafkaLog) -> None:
    large = 4 * 2**20
    for _ in range(4):
        append(log, "in", [("cam", b"x" * large) for _ in range(4)])
    consumer = log.consumer("group", "in")
    assert isinstance(consumer, KafkaMember)
    got: list[Message] = []
    while len(got) < 16:
        got += consumer.poll(1, 30.0)
        assert consumer.buffered_bytes <= BUFFER_BYTES // len(consumer.assignment) + 4 * large
    assert [len(message.value) for message in got] == [large] * 16
    consumer.close()


def test_marks_of_transactions_are_no_lag(log: KafkaLog) -> None:
    for number in range(3):
        append(log, "in", [("cam", b"%d" % number)])
    consumer, got = log.consumer("group", "in"), list[Message]()
    poll_until(lambda: len(got) == 3, [consumer], got)
    commit_all(log, consumer, got)
    assert set(log.lag("group", "in").values()) == {0}
    append(log, "in", [("cam", b"next")])
    poll_until(lambda: len(got) == 4, [consumer], got)
    assert got[-1].value == b"next"
    consumer.close()


def test_a_commit_without_membership_is_fenced(log: KafkaLog) -> None:
    """Kafka takes offsets of nobody in particular unchecked: they must not even be sent."""
    append(log, "in", [("cam", b"1")])
    consumer = log.consumer("group", "in")
    got: list[Message] = []
    poll_until(lambda: bool(got), [consumer], got)
    consumer.close()
    with log.transaction("writer") as transaction, pytest.raises(Fenced, match="another member"):
        transaction.commit(consumer, {got[0].partition: got[0].offset + 1})


def test_the_topology_is_created_as_wanted_and_drift_is_told(settings: KafkaSettings) -> None:
    log, wanted = KafkaLog(settings), topics(LogSettings(partitions=3))
    assert {drift.found for drift in log.drift(wanted)} == {"missing"}
    log.ensure(wanted)
    log.ensure(wanted)
    assert log.drift(wanted) == []
    admin = KafkaAdminClient(**client_options(settings))
    admin.alter_configs([ConfigResource("TOPIC", f"{settings.prefix}events", {"retention.ms": "1000"})])
    admin.close()
    [drift] = eventually(lambda: log.drift(wanted))
    assert str(drift) == "events: retention.ms is 1000, wanted 2592000000"
    log.ensure(wanted)
    assert eventually(lambda: not log.drift(wanted))
    [drift, *_] = log.drift(topics(LogSettings(partitions=4)))
    assert (drift.topic, drift.what, drift.wanted, drift.found) == ("cameras", "partitions", "4", "3")
    log.close()


def test_media_is_kept_as_it_comes_and_json_small(settings: KafkaSettings) -> None:
    wanted = KafkaLog(settings).wanted(topics(LogSettings()))
    compression = {name: config["compression.type"] for name, config in wanted.items()}
    json = {"events", "alerts", "suppressed"}
    assert compression == {name: "zstd" if name in json else "uncompressed" for name in wanted}
    assert {"cameras", "segments", "embeddings", "dead.perceive", "state"} | json <= compression.keys()
    assert int(wanted["segments"]["max.message.bytes"]) == 64 * 2**20 + OVERHEAD_BYTES
    assert wanted["state"]["cleanup.policy"] == wanted["cameras"]["cleanup.policy"] == "compact"


def test_compressed_topics_are_read_again(log: KafkaLog) -> None:
    log.ensure([TopicSettings("json", partitions=1, compression="zstd")])
    append(log, "json", [("cam", b'{"a": 1}' * 100)])
    assert values(everything(log, "json")) == [b'{"a": 1}' * 100]
