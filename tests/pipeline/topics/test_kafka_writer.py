"""A writer whose cluster does not answer for a while: it says so, goes on later, and leaves nothing behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from operators.errors import LogUnavailable
from pipeline.topics.base import TopicSettings
from pipeline.topics.kafka_settings import KafkaSettings
from pipeline.topics.kafka_topics import KafkaTopics
from pipeline.topics.kafka_writer import Entry, KafkaWriter
from tests.kafka.broker import Broker, missing

PATIENCE_S = 60.0
RECORD = Entry("media", 0, "cam", b"x" * 100_000)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """One of our own, to be stopped in its tracks."""
    if reason := missing():
        pytest.skip(reason)
    broker = Broker(tmp_path)
    broker.start()
    yield broker
    broker.resume()
    broker.kill()


@pytest.mark.slow
def test_what_was_given_up_leaves_no_thread_behind(broker: Broker) -> None:
    settings = KafkaSettings(servers=(broker.address,), request_timeout_s=5, transaction_timeout_s=1)
    topics = KafkaTopics(settings)
    topics.ensure([TopicSettings("media", partitions=1)])
    topics.close()
    writer = KafkaWriter(settings, "writer")
    writer.commit([RECORD], [])
    threads = threading.active_count()
    broker.pause()
    with pytest.raises(LogUnavailable):
        writer.commit([RECORD] * 10, [])
    until(lambda: not any(thread.name == "commit writer" for thread in threading.enumerate()))
    broker.resume()
    until(lambda: kept(writer))
    until(lambda: threading.active_count() <= threads)
    writer.close()


def kept(writer: KafkaWriter) -> bool:
    try:
        writer.check()
        writer.commit([RECORD], [])
    except LogUnavailable:
        return False
    return True


def until(done: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline_s, [thread.name for thread in threading.enumerate()]
        time.sleep(0.05)
