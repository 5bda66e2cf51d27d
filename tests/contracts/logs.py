"""Every log that the contract's tests run against: adding one is adding an entry to LOGS."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from pipeline.topics.base import Consumer, Log, Message, partition_of
from pipeline.topics.embedded_log import EmbeddedLog
from pipeline.topics.kafka_log import KafkaLog
from pipeline.topics.kafka_settings import KafkaSettings

if TYPE_CHECKING:  # the other processes do without pytest
    from pytest import FixtureRequest

PATIENCE_S = 30.0  # for what may take a log a while, such as sharing out partitions


@dataclass(frozen=True)
class LogUnderTest:
    """One kind of log: how a test gets an empty one, and how any process opens it."""

    fresh: Callable[[FixtureRequest], str]  # an address nobody has used
    open: Callable[[str, float], Log]  # address, session timeout in seconds
    session_timeout_s: float = 2.0  # the shortest that is safe to test with


def open_kafka(address: str, session_timeout_s: float) -> Log:
    server, prefix = address.split("/")
    return KafkaLog(KafkaSettings(servers=(server,), prefix=prefix, session_timeout_s=session_timeout_s,
                                  batch_timeout_s=session_timeout_s, transaction_timeout_s=2 * session_timeout_s))


LOGS = {
    "embedded": LogUnderTest(
        fresh=lambda request: str(request.getfixturevalue("tmp_path") / "log"),
        open=lambda address, timeout_s: EmbeddedLog(Path(address), session_timeout_s=timeout_s)),
    "kafka": LogUnderTest(
        fresh=lambda request: f"{request.getfixturevalue('kafka')}/test-{uuid4().hex}.",
        open=open_kafka, session_timeout_s=4.0),
}


def key_in(partition: int, partitions: int, which: int = 0) -> str:
    """A key that lies in `partition`; another one for each `which`."""
    keys = (f"cam{number}" for number in range(10_000))
    return [key for key, _ in zip((key for key in keys if partition_of(key, partitions) == partition),
                                  range(which + 1), strict=False)][which]


def everything(log: Log, topic: str) -> list[Message]:
    """All committed records of `topic`, partition after partition."""
    return [message for partition, (first, end) in log.ends(topic).items()
            for message in log.read(topic, partition, first, end)]


def poll_until(done: Callable[[], bool], consumers: Sequence[Consumer], into: list[Message] | None = None) -> None:
    """Poll all `consumers` in turn, as their processes would, until `done`."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline_s, "the log never got there"
        for consumer in consumers:
            messages = consumer.poll(100, 0.02)
            if into is not None:
                into.extend(messages)


def commit_all(log: Log, consumer: Consumer, messages: Sequence[Message], writer: str = "reader") -> None:
    """Commit that `messages`, polled by `consumer`, are done."""
    with log.transaction(writer) as tx:
        tx.commit(consumer, {message.partition: message.offset + 1 for message in messages})


def append(log: Log, topic: str, records: Sequence[tuple[str, bytes]], writer: str = "writer") -> None:
    with log.transaction(writer) as tx:
        for key, value in records:
            tx.append(topic, key, value)


def values(messages: Sequence[Message]) -> list[bytes]:
    return [message.value for message in messages]
