"""One name to write under: a transactional producer, whose commits never keep their caller waiting for ever."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.producer.transaction_manager import TransactionalRequestResult
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition

from operators.errors import Fenced, LogError, LogUnavailable
from pipeline.background import in_background
from pipeline.topics.kafka_client import client_options, connected
from pipeline.topics.kafka_errors import is_writer_gone, translating
from pipeline.topics.kafka_reader import MAX_RECORD_BYTES
from pipeline.topics.kafka_settings import KafkaSettings

# kafka-python sends a partition's batches one after the other, so they are to be few and large. This is what topics
# take where nobody says otherwise; it splits them for those that take less.
BATCH_BYTES = 2**20

_RETRY_MS = 5  # also how long a transaction waits where the last one's marks are still being written
_CLOSE_S = 2.0


@dataclass(frozen=True)
class Entry:
    """One record to be written; without a value it deletes what the key had."""

    topic: str
    partition: int
    key: str
    value: bytes | None
    headers: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Commit:
    """Offsets to be committed for a member of a group."""

    membership: ConsumerGroupMetadata
    offsets: Mapping[TopicPartition, int]


class KafkaWriter:
    """Holds a name; used by one thread. A commit that outlives its caller's patience ends in the background."""

    def __init__(self, settings: KafkaSettings, name: str) -> None:
        """Take the name: whoever held it before is fenced.

        Raises:
            LogUnavailable: the cluster does not answer.
        """
        self._settings, self._name = settings, name
        self._what = f"Kafka at {', '.join(settings.servers)}: writer {name}"
        self._fenced: Fenced | None = None
        self._running: Future[None] | None = None
        self._producer: KafkaProducer | None = None
        self._open()

    def check(self) -> None:
        """Wait for a commit that is still under way, and see that the name is still ours.

        Raises:
            LogUnavailable: it still is, or the cluster does not answer.
        """
        if self._running:
            if not wait([self._running], self._settings.request_timeout_s).done:
                message = f"{self._what}: the last commit is still under way"
                raise LogUnavailable(message)
            self._running = None
        if self._producer is None and self._fenced is None:
            self._open()

    def commit(self, entries: Sequence[Entry], commits: Sequence[Commit]) -> None:
        """Write everything in one transaction.

        Raises:
            Fenced: the name or a group has moved on; nothing was kept.
            LogUnavailable: it is not known yet whether it was kept.
            LogError: the cluster refuses; nothing was kept.
        """
        _, result = in_background(f"commit {self._name}", self._commit, entries, commits)
        self._running = result
        if not wait([result], self._settings.request_timeout_s).done:
            message = f"{self._what}: the cluster does not answer"
            raise LogUnavailable(message)
        self._running = None
        result.result()

    def close(self) -> None:
        """Close the connection; a commit under way is left to itself."""
        if self._producer:
            _end(self._producer, _CLOSE_S)
            self._producer = None

    def _open(self) -> None:
        timeout_ms = round(self._settings.request_timeout_s * 1000)
        with translating(self._what):
            producer = connected(KafkaProducer, {
                **client_options(self._settings), "transactional_id": self._settings.prefix + self._name,
                "transaction_timeout_ms": round(self._settings.transaction_timeout_s * 1000),
                "delivery_timeout_ms": 2 * timeout_ms, "max_block_ms": timeout_ms, "retry_backoff_ms": _RETRY_MS,
                "batch_size": BATCH_BYTES, "max_request_size": MAX_RECORD_BYTES, "allow_auto_create_topics": False,
                "metrics_enabled": False})
            try:
                producer.init_transactions()
            except BaseException:
                _end(producer)
                raise
            self._producer = producer

    def _commit(self, entries: Sequence[Entry], commits: Sequence[Commit]) -> None:
        if self._fenced:
            raise Fenced(*self._fenced.args)
        producer = self._producer
        if producer is None:
            raise LogUnavailable(self._what)
        deadline_s = time.monotonic() + self._settings.transaction_timeout_s  # then brokers abort it themselves
        try:
            with translating(self._what):
                _begin(producer)
                fill(producer, entries, commits, deadline_s)
                _finish(producer, producer._transaction_manager.begin_commit(), deadline_s)
        except LogError as error:
            self._recover(producer, error)
            raise

    def _recover(self, producer: KafkaProducer, error: LogError) -> None:
        """Make ready for the next transaction, with another producer where this one has come to an end."""
        gone = is_writer_gone(error.__cause__)
        try:
            _finish(producer, producer._transaction_manager.begin_abort(),
                    time.monotonic() + self._settings.request_timeout_s)
        except KafkaError as fatal:
            gone = gone or is_writer_gone(fatal)
            _end(producer)
            self._producer = None
        if gone and isinstance(error, Fenced):
            self._fenced = error


def _begin(producer: KafkaProducer) -> None:
    """Begin a transaction with nothing in it.

    Offsets that a group refused stay behind in kafka-python 3.0, which would commit them with the next ones: in the
    name of a membership that is valid again, for partitions that others may have by now. Apache's client drops them.
    """
    producer.begin_transaction()  # so the last one has ended, and no answer about its offsets is awaited any more
    producer._transaction_manager._pending_txn_offset_commits.clear()


def fill(producer: KafkaProducer, entries: Sequence[Entry], commits: Sequence[Commit], deadline_s: float) -> None:
    """Put everything into the transaction that has begun.

    Raises:
        KafkaError: not all of it is in there.
    """
    sent = [producer.send(entry.topic, entry.value, entry.key.encode(), list(entry.headers.items()), entry.partition)
            for entry in entries]
    for future in sent:  # kafka-python may commit without a record that failed
        future.get(max(0.0, deadline_s - time.monotonic()))
    for commit in commits:
        offsets = {at: OffsetAndMetadata(offset, "", -1) for at, offset in commit.offsets.items()}
        _finish(producer, producer._transaction_manager.send_offsets_to_transaction(offsets, commit.membership),
                deadline_s)


def _finish(producer: KafkaProducer, result: TransactionalRequestResult, deadline_s: float) -> None:
    """Wait for a step of a transaction. kafka-python's own methods do so without end, and some answers never come.

    Raises:
        KafkaTimeoutError: nobody knows how it ended; whoever takes the name next ends it.
    """
    producer._sender.wakeup()
    if not result.wait(max(0.0, deadline_s - time.monotonic()) * 1000):
        message = "no answer within the transaction's time"
        raise KafkaTimeoutError(message)


def _end(producer: KafkaProducer, timeout_s: float = 0.0) -> None:
    """Close a producer; what is not acknowledged by then is not committed either."""
    try:
        producer.close(timeout=timeout_s)
    except KafkaError:  # kafka-python gives up on closing where something is under way, and its thread would live on
        producer._sender.force_close()
