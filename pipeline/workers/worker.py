"""One stage at work: poll, process, and commit outputs, state and offsets in one transaction.

A worker that dies at any instant leaves nothing half done: the next one restores the state of the
last transaction, sees again the few records that state leaves out, and goes on behind them. A record
that it dies of, again and again, goes to the dead-letter topic: see `in_hand`.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from operators.base import Operator, Rejected
from operators.clock import NS_PER_S, Clock
from operators.errors import CodecError, Fenced, LethalRecord, LogError, LogUnavailable, LookoutError
from operators.records import Embedding
from pipeline import codec
from pipeline.logs import about
from pipeline.topics.base import Consumer, Log, Message, Transaction, partition_of
from pipeline.topology import Lane
from pipeline.tracing.base import UNTRACED, Batch, Tracing
from pipeline.watcher import Account, Watcher
from pipeline.workers.in_hand import InHand
from pipeline.workers.operator_state import OperatorState
from pipeline.workers.refused import Refused, camera_of, reason

log = logging.getLogger(__name__)

POLL_S = 0.2  # how long an idle worker waits for records before it looks at the time
RETRY_S = 0.5  # how long a worker waits before it tries a log that did not answer again
LAG_EVERY_NS = NS_PER_S  # between two looks at what waits for the stage
TRIES = 3  # of one record, where its error says that trying again may help


class Worker:
    """Runs one operator over the partitions that its consumer group gives to it."""

    def __init__(self, lane: Lane, operator: Operator[Any, Any], log_: Log, clock: Clock, watcher: Watcher,
                 tracing: Tracing = UNTRACED) -> None:
        """Prepare to run `operator`; nothing is read before `run`."""
        self._lane, self._operator, self._log, self._clock, self._watcher = lane, operator, log_, clock, watcher
        self._tracing, self._traced = tracing, Batch()
        self._partitions = log_.partitions(lane.consumes)
        self._writer = f"{lane.stage}-{secrets.token_hex(8)}"  # of this worker alone: another must not fence it
        self._in_hand = InHand(log_, lane.stage)
        self._state = OperatorState(lane, operator, log_, self._in_hand)
        self._most = lane.max_records
        self._fenced = False
        self._rebuild_needed, self._rewind_needed, self._moved = True, False, False
        self._stop = threading.Event()
        self._beat_ns = clock.monotonic_ns()
        self._lag_due_ns = self._beat_ns

    def beat_ns(self) -> int:
        """Monotonic time of the loop's last turn: a stage that hangs stops beating."""
        return self._beat_ns

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; the batch under way is finished and committed first."""
        with about(stage=self._lane.stage):
            self._run(stop)

    def _run(self, stop: threading.Event) -> None:
        self._stop = stop

        def moved(partitions: frozenset[int]) -> None:
            self._rebuild_needed = self._moved = True

        consumer = self._join(stop, moved)
        try:
            last = False
            while not last:
                self._beat_ns = self._clock.monotonic_ns()
                last = stop.is_set()  # then nothing more is read, but what became due meanwhile is committed
                try:
                    self._turn(consumer, 0 if last else self._most)
                except Fenced as error:
                    self._watcher.on_retry(self._lane.stage, Fenced.__name__)
                    log.info("%s: %s; going on with what is still ours", self._lane.stage, error)
                    self._rewind_needed = True
                    self._most = max(1, self._most // 2)  # it may have taken too long for the group's patience
                    if self._fenced:  # not once and by the group: a log that was long out of reach gave the name up
                        self._log.release(self._writer)
                    self._fenced = True
                except LogUnavailable as error:
                    self._watcher.on_retry(self._lane.stage, LogUnavailable.__name__)
                    log.warning("%s: %s; trying again", self._lane.stage, error)
                    self._rewind_needed = True
                    stop.wait(RETRY_S)
        except LogError:  # which is no fault of the records in hand
            with suppress(LogError):
                self._in_hand.withdraw(self._writer)
            raise
        finally:
            self._operator.close()
            consumer.close()

    def _join(self, stop: threading.Event, moved: Callable[[frozenset[int]], None]) -> Consumer:
        """Join the group as soon as the log answers."""
        while True:
            try:
                return self._log.consumer(self._lane.stage, self._lane.consumes, on_assigned=moved, on_revoked=moved)
            except LogUnavailable as error:
                log.warning("%s: %s; trying again", self._lane.stage, error)
                self._beat_ns = self._clock.monotonic_ns()
                if stop.wait(RETRY_S):
                    raise

    def _turn(self, consumer: Consumer, max_records: int) -> None:
        """One poll and, as a rule, at most one transaction."""
        if self._rewind_needed:
            self._log.transaction(self._writer)  # gives none before it is known whether the last one was kept
            consumer.seek_to_committed()
            self._rewind_needed, self._rebuild_needed = False, True
        messages = consumer.poll(max_records, POLL_S) if max_records else ()
        self._tell_place(consumer)
        if self._rebuild_needed:
            self._in_hand.begin(consumer)
            self._state.rebuild(consumer)
            self._rebuild_needed = False
        for batch in self._in_hand.batches(messages):
            with self._tracing.batch(self._lane.stage, batch) as self._traced:
                self._take(consumer, batch)

    def _take(self, consumer: Consumer, messages: Sequence[Message]) -> None:
        """Process a batch, maybe an empty one, and commit what came of it."""
        started_ns = self._clock.monotonic_ns()
        self._in_hand.note(self._writer, consumer, messages)
        outputs, dead = self._process(consumer, messages)
        due, given_up = _sorted_out(self._operator.advance(self._clock.now_ns()), {})
        outputs, dead = outputs + due, dead + given_up
        state = self._operator.snapshot()
        if not (messages or outputs or dead or state):
            return
        offsets = {partition: consumer.committed(partition) for camera in (*map(camera_of, outputs), *state)
                   if (partition := partition_of(camera, self._partitions)) in consumer.assignment}
        offsets |= {message.partition: message.offset + 1 for message in messages}
        committing_ns = self._clock.monotonic_ns()
        with self._log.transaction(self._writer) as transaction:
            self._write(transaction, outputs, dead)
            self._state.write(transaction, state)
            self._in_hand.keep(transaction, [item.message for item in dead if item.message])
            transaction.commit(consumer, offsets)  # refuses a worker that lost its place, also if nothing was read
        self._in_hand.came_back(offsets)
        self._fenced, self._most = False, min(2 * self._most, self._lane.max_records)
        self._watcher.on_transaction(self._lane.stage, self._seconds_since(committing_ns))
        self._tell(messages, outputs, dead, started_ns)

    def _process(self, consumer: Consumer, messages: Sequence[Message]) -> tuple[list[Any], list[Refused]]:
        records, dead = self._decode(messages)
        if not records:
            return [], dead
        try:
            outputs, refused = self._call(records)
        except (Fenced, LogUnavailable):
            raise
        except Exception as error:  # whatever it is, the records of this batch are tried one by one
            log.warning("%s: %s in a batch of %d; trying its records one by one", self._lane.stage,
                        reason(error), len(records))
            outputs, refused = self._one_by_one(consumer, records)
        self._state.processed([message for message, _ in records])
        return outputs, sorted(dead + refused, key=lambda item: item.offset)  # in the order they came

    def _decode(self, messages: Sequence[Message]) -> tuple[list[tuple[Message, Any]], list[Refused]]:
        records: list[tuple[Message, Any]] = []
        dead: list[Refused] = []
        for message in messages:
            try:
                self._in_hand.check(message)
                records.append((message, codec.decode(message)))
            except (CodecError, LethalRecord) as error:
                dead.append(Refused(error, message))
        return records, dead

    def _call(self, records: Sequence[tuple[Message, Any]]) -> tuple[list[Any], list[Refused]]:
        results = self._operator.process([record for _, record in records])
        return _sorted_out(results, {id(record): message for message, record in records})

    def _one_by_one(self, consumer: Consumer,
                    records: Sequence[tuple[Message, Any]]) -> tuple[list[Any], list[Refused]]:
        """Find the record that fails: the state is rebuilt, and each is given alone."""
        self._state.rebuild(consumer)
        outputs: list[Any] = []
        dead: list[Refused] = []
        for record in records:
            try:
                made, refused = self._tried(record)
            except (Fenced, LogUnavailable):
                raise
            except Exception as error:  # counted, logged and dead-lettered with its traceback
                dead.append(Refused(error, record[0]))
            else:
                outputs += made
                dead += refused
        return outputs, dead

    def _tried(self, record: tuple[Message, Any]) -> tuple[list[Any], list[Refused]]:
        """Give a record alone, several times where its error says that this may help."""
        for pause_s in [RETRY_S] * (TRIES - 1):
            try:
                return self._call([record])
            except LookoutError as error:
                if not error.retriable or isinstance(error, LogError):
                    raise
                log.warning("%s: %s; trying again", self._lane.stage, error)
                self._stop.wait(pause_s)
        return self._call([record])

    def _write(self, transaction: Transaction, outputs: Iterable[Any], dead: Iterable[Refused]) -> None:
        for output in outputs:
            if topic := self._lane.topic_of(output):
                value, headers = codec.encode(output)
                transaction.append(topic, camera_of(output), value, {**headers, **self._traced.headers(output)})
        for item in dead:
            transaction.append(self._lane.dead_letters, *item.stored())

    def _tell(self, messages: Sequence[Message], outputs: Sequence[Any], dead: Sequence[Refused],
              started_ns: int) -> None:
        stage = self._lane.stage
        if messages:
            took_s = self._seconds_since(started_ns)
            self._watcher.on_batch(stage, len(messages), took_s)
            self._watcher.on_account(stage, _account(messages, outputs, dead, self._clock.now_ns(), took_s))
        for output in outputs:
            self._watcher.on_output(stage, output)
        for item in dead:
            traced = self._traced.about(item.message) if item.message else {}
            log.warning("%s: dead letter: %s", stage, item, extra={**item.about, **traced})
            self._watcher.on_dead(stage, type(item.error).__name__)

    def _tell_place(self, consumer: Consumer) -> None:
        """What is ours, if that has changed, and every now and then what waits there."""
        if self._moved:
            self._moved = False
            self._watcher.on_assigned(self._lane.stage, consumer.assignment)
        if self._clock.monotonic_ns() >= self._lag_due_ns:
            self._lag_due_ns = self._clock.monotonic_ns() + LAG_EVERY_NS
            lag = self._log.lag(self._lane.stage, self._lane.consumes)
            self._watcher.on_lag(self._lane.stage, self._lane.consumes,
                                 {partition: lag[partition] for partition in consumer.assignment})

    def _seconds_since(self, monotonic_ns: int) -> float:
        return (self._clock.monotonic_ns() - monotonic_ns) / NS_PER_S


def _account(messages: Sequence[Message], outputs: Iterable[Any], dead: Iterable[Refused], now_ns: int,
             took_s: float) -> Account:
    skipped = Counter(output.health.skipped for output in outputs
                      if isinstance(output, Embedding) and output.health.skipped)
    gone = sum(item.message is not None for item in dead)  # others were taken in by an earlier batch
    queued_s = (now_ns - min(message.timestamp_ns for message in messages)) / NS_PER_S
    arrivals = [arrived_ns for message in messages if (arrived_ns := codec.arrived_ns(message.headers))]
    age_s = max(0.0, (now_ns - min(arrivals)) / NS_PER_S) if arrivals else None
    return Account(len(messages) - skipped.total() - gone, skipped, gone, max(0.0, queued_s - took_s), age_s)


def _sorted_out(results: Iterable[Any], origin: Mapping[int, Message]) -> tuple[list[Any], list[Refused]]:
    """Outputs apart from rejected records, each with the message it came in where that is one of `origin`."""
    outputs: list[Any] = []
    dead: list[Refused] = []
    for item in results:
        if isinstance(item, Rejected):
            dead.append(Refused(item.error, origin.get(id(item.record)), item.record))
        else:
            outputs.append(item)
    return outputs, dead
