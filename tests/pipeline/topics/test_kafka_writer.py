"""A writer whose producer has come to an end: its error is the log's, the next transaction has another producer."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import Never
from uuid import uuid4

import pytest
from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError
from kafka.producer.transaction_manager import TransactionalRequestResult, TransactionManager

from operators.errors import LogUnavailable, RecordTooLarge
from pipeline.topics.base import TopicSettings
from pipeline.topics.kafka_settings import KafkaSettings
from pipeline.topics.kafka_topics import KafkaTopics
from pipeline.topics.kafka_writer import Entry, KafkaWriter
from tests.contracts.logs import PATIENCE_S
from tests.waiting import until


def give_up(*_: object, timeout: float | None = None) -> Never:
    """What a producer says, now and then, whose broker was busy for too long."""
    raise KafkaTimeoutError


def test_one_that_can_neither_abort_nor_flush_leaves_nothing_behind(kafka: str,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    settings = KafkaSettings(servers=(kafka,), prefix=f"test-{uuid4().hex}.")
    with closing(KafkaTopics(settings)) as topics:
        topics.ensure([TopicSettings("small", partitions=1, max_record_bytes=10_000)])
    fits, large = (Entry(f"{settings.prefix}small", 0, "cam", b"x" * size) for size in (100, 50_000))
    with closing(KafkaWriter(settings, "writer")) as writer:
        writer.commit([fits], [])
        threads = threading.active_count()
        with monkeypatch.context() as patched:
            patched.setattr(TransactionManager, "begin_abort", give_up)
            patched.setattr(KafkaProducer, "flush", give_up)
            with pytest.raises(RecordTooLarge):
                writer.commit([large], [])
        writer.check()
        writer.commit([fits], [])
        until(lambda: threading.active_count() <= threads, PATIENCE_S,
              lambda: [thread.name for thread in threading.enumerate()])


def test_an_answer_that_never_comes_ends_with_the_transactions_time(kafka: str,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    settings = KafkaSettings(servers=(kafka,), prefix=f"test-{uuid4().hex}.", transaction_timeout_s=1,
                             request_timeout_s=5)
    with closing(KafkaTopics(settings)) as topics:
        topics.ensure([TopicSettings("some", partitions=1)])
    entry = Entry(f"{settings.prefix}some", 0, "cam", b"x")
    with closing(KafkaWriter(settings, "writer")) as writer:
        writer.commit([entry], [])
        with monkeypatch.context() as patched:
            patched.setattr(TransactionalRequestResult, "done", lambda *_: None)
            with pytest.raises(LogUnavailable, match="does not answer"):
                writer.commit([entry], [])
        until(lambda: not [thread for thread in threading.enumerate() if thread.name == "commit writer"], PATIENCE_S)
        writer.check()
        writer.commit([entry], [])
