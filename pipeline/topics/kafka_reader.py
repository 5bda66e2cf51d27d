"""Records read outside of any group: ranges of a topic, and the newest state of a store."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from queue import Empty, LifoQueue
from threading import Lock
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from operators.errors import LogUnavailable
from pipeline.topics.base import Message
from pipeline.topics.kafka_client import client_options, connected
from pipeline.topics.kafka_errors import translating
from pipeline.topics.kafka_settings import KafkaSettings
from pipeline.topics.kafka_topics import STATE, KafkaTopics

FETCH_BYTES = 16 * 2**20  # of one answer; a larger record comes alone
PARTITION_FETCH_BYTES = 2 * 2**20
MAX_RECORD_BYTES = 72 * 2**20  # no answer is larger than this and the above

_POLL_MS = 200
_READ_RECORDS = 256


def reading_options(settings: KafkaSettings) -> dict[str, Any]:
    """What every reading client is made with: committed records only, in bounded memory."""
    return {**client_options(settings), "isolation_level": "read_committed", "enable_auto_commit": False,
            "auto_offset_reset": "earliest", "allow_auto_create_topics": False, "metrics_enabled": False,
            "fetch_max_bytes": FETCH_BYTES, "max_partition_fetch_bytes": PARTITION_FETCH_BYTES,
            "receive_message_max_bytes": MAX_RECORD_BYTES + FETCH_BYTES, "fetch_max_wait_ms": _POLL_MS,
            "retry_backoff_ms": 20}


def to_message(topic: str, record: Any) -> Message:
    """kafka-python's record as the contract's; other programs may write what ours never would."""
    return Message(topic, record.partition, record.offset, (record.key or b"").decode(errors="replace"),
                   record.value or b"", {name: value or b"" for name, value in record.headers or ()},
                   max(0, record.timestamp) * 1_000_000)


class KafkaReader:
    """Reads for any number of threads, each with a client of its own that is used again."""

    def __init__(self, settings: KafkaSettings, topics: KafkaTopics) -> None:
        """Nothing is connected before it is needed."""
        self._settings, self._topics = settings, topics
        self._idle: LifoQueue[KafkaConsumer] = LifoQueue()

    def read(self, topic: str, partition: int, start: int, stop: int) -> Iterator[Message]:
        """See `Log.read`."""
        for record in self.records(topic, partition, start, stop):
            yield to_message(topic, record)

    def records(self, topic: str, partition: int, start: int, stop: int) -> Iterator[Any]:
        """As kafka-python gives them, so that a missing value is told from an empty one.

        Waits for transactions that have written before `stop` to end: what another process has committed,
        and is only not marked yet, is not passed over.
        """
        first, end = self._topics.ends(topic, [partition])[partition]
        position, stop = max(start, first), min(stop, end)
        at = TopicPartition(self._settings.prefix + topic, partition)
        with self._client(f"topic {topic}") as client:
            client.assign([at])
            client.seek(at, position)
            deadline_s = time.monotonic() + self._settings.request_timeout_s
            while position < stop:
                for record in client.poll(_POLL_MS, max_records=_READ_RECORDS).get(at, ()):
                    if record.offset >= stop:
                        return
                    yield record
                if (reached := client.position(at, self._settings.request_timeout_s * 1000)) > position:
                    position, deadline_s = reached, time.monotonic() + self._settings.request_timeout_s
                elif time.monotonic() >= deadline_s:
                    message = f"topic {topic}, partition {partition}: no answer at offset {position}"
                    raise LogUnavailable(message)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        while True:
            try:
                self._idle.get_nowait().close(autocommit=False)
            except Empty:
                return

    @contextmanager
    def _client(self, what: str) -> Iterator[KafkaConsumer]:
        with translating(f"Kafka at {', '.join(self._settings.servers)}: {what}"):
            try:
                client = self._idle.get_nowait()
            except Empty:
                client = connected(KafkaConsumer, reading_options(self._settings))
            try:
                yield client
            finally:
                self._idle.put(client)


class KafkaStates:
    """The newest state of every store that was asked for; what is known already is not read again."""

    def __init__(self, reader: KafkaReader, topics: KafkaTopics) -> None:
        self._reader, self._topics = reader, topics
        self._lock = Lock()
        self._known: dict[tuple[str, int], tuple[int, dict[str, bytes]]] = {}

    def get(self, store: str, partition: int) -> Mapping[str, bytes]:
        """See `Log.state`."""
        with self._lock:
            lies_in = state_partition(store, partition, self._topics.partitions(STATE.name))
            prefix = state_key(store, partition, "")
            position, known = self._known.get((store, partition), (0, {}))
            for record in self._reader.records(STATE.name, lies_in, position, 2**62):
                position = record.offset + 1
                if (key := (record.key or b"").decode(errors="replace")).startswith(prefix):
                    known.pop(key.removeprefix(prefix), None)
                    if record.value is not None:
                        known[key.removeprefix(prefix)] = record.value
            self._known[store, partition] = position, known
            return dict(known)


def state_key(store: str, partition: int, key: str) -> str:
    """The key under which a state lies in the state topic."""
    return f"{store}/{partition}/{key}"


def state_partition(store: str, partition: int, partitions: int) -> int:
    """The partition of the state topic where all of a store's partition lies."""
    return zlib.crc32(f"{store}/{partition}".encode()) % partitions
