"""Alerts in, deliveries out: kept until every receiver that wants an alert has it or can never have it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, Never

import msgspec
from typing_extensions import override

from operators.base import Operator, Rejected
from operators.clock import Clock, SystemClock, ns_to_seconds, seconds_to_ns
from operators.errors import DeliveryRefused
from operators.notify.backlog import MAX_PENDING, Backlog, Pending
from operators.notify.retry import MAX_RETRY_AFTER_S, RETRIES, delay_ns
from operators.notify.sender import Attempt, Sender
from operators.notify.sink import Sink
from operators.records import Alert

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 5.0  # how long closing waits for deliveries under way
Result = Literal["delivered", "retried", "dead"]  # `retried`: failed, and will be tried again


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to deliver, for whoever counts them."""

    sink: str
    alert: Alert
    result: Result
    ended_ns: int
    took_ns: int


class Outbox(Operator[Alert, Never]):
    """Keeps alerts in its state and hands them to the receivers, in order per camera and receiver.

    `process` only notes an alert; an `advance` that comes after the next `snapshot`, and so after the
    transaction that commits it, sends it. Nothing is sent that a crash could make unsaid, and what a
    crash interrupts is sent again under the same id: every receiver gets every alert at least once.

    A failed alert holds back the later ones of its camera for the same receiver, and no others. It is
    tried again by the table in `retry`, and also as soon as a newer one queues behind it, so that a
    receiver that has come back need not wait for the table. What is given up comes as `Rejected`;
    its error names the receiver.
    """

    def __init__(self, sinks: Sequence[Sink], routes: Mapping[str, Sequence[str]] | None = None, *,
                 clock: Clock | None = None, on_delivery: Callable[[Delivery], None] = lambda _: None) -> None:
        """Start one thread per sink.

        Args:
            sinks: the receivers; closed by `close`.
            routes: a rule's name -> names of the sinks that get its alerts; none or no entry: all of them.
            clock: for what is not told by `advance`.
            on_delivery: told of every attempt, in the worker's thread.
        """
        self._clock = clock or SystemClock()
        self._routes = routes or {}
        self._on_delivery = on_delivery
        self._ending = threading.Condition()  # guards `_ended`, `_in_flight` and `_quiet`
        self._ended: deque[Attempt] = deque()  # filled by the senders' threads, emptied by `advance`
        self._senders = {sink.name: Sender(sink, self._on_ended, self._clock) for sink in sinks}
        self._backlog = Backlog()
        self._woken: set[tuple[str, str]] = set()  # (camera, sink) whose first alert may be sent before it is due
        self._in_flight: dict[str, bool] = {}  # sink -> whether what it delivers was sent before it was due
        self._held_until_ns: dict[str, int] = {}  # sink -> until when it asked to be left alone
        self._quiet = False

    @property
    def pending(self) -> int:
        """Deliveries not made yet: alerts waiting or under way, once for every receiver. Any thread may ask."""
        return len(self._backlog)

    @override
    def process(self, batch: Sequence[Alert]) -> Iterator[Rejected[Alert]]:
        for alert in batch:
            for sink in self._routes.get(alert.rule) or self._senders:
                yield from self._enqueue(alert, sink)

    @override
    def advance(self, now_ns: int) -> Sequence[Rejected[Alert]]:
        rejected = [_rejected(stranger, "is not configured")
                    for stranger in self._backlog.drop_strangers(self._senders)]
        with self._ending:
            while self._ended:
                rejected.extend(self._settle(self._ended.popleft(), now_ns))
            if not self._quiet:
                self._send_due(now_ns)
            self._ending.notify_all()
        return rejected

    @override
    def snapshot(self) -> Mapping[str, bytes]:
        return self._backlog.snapshot()

    @override
    def restore(self, state: Mapping[str, bytes]) -> None:
        self._backlog.restore(state)
        self._woken.clear()

    def wait_idle(self, timeout_s: float) -> bool:
        """Block until no delivery is under way; whether that came true in time. `advance` then notes how they ended."""
        with self._ending:
            return self._ending.wait_for(lambda: len(self._ended) == len(self._in_flight), timeout_s)

    def quiesce(self, timeout_s: float) -> bool:
        """Send nothing more, and `wait_idle`.

        For a graceful stop, from any thread: one more `advance` then notes what arrived, so that it is
        committed and the next process does not send it again.
        """
        with self._ending:
            self._quiet = True
        return self.wait_idle(timeout_s)

    @override
    def close(self) -> None:
        deadline_s = time.monotonic() + CLOSE_TIMEOUT_S
        for sender in self._senders.values():
            sender.close(max(0.0, deadline_s - time.monotonic()))

    def _on_ended(self, attempt: Attempt) -> None:
        with self._ending:
            self._ended.append(attempt)
            self._ending.notify_all()

    def _enqueue(self, alert: Alert, sink: str) -> Iterator[Rejected[Alert]]:
        pending = Pending(sink=sink, alert=alert, due_ns=self._clock.now_ns())
        if self._backlog.full(pending.camera, sink):
            yield _rejected(self._backlog.drop_first(pending.camera, sink), f"leaves {MAX_PENDING} newer ones waiting")
        if self._backlog.add(pending) and self._backlog.first(pending.camera, sink) is not pending:
            self._woken.add((pending.camera, sink))

    def _send_due(self, now_ns: int) -> None:
        """Give every idle receiver the alert that has been due for longest, of those first in their queues."""
        for name, sender in self._senders.items():
            if name in self._in_flight or self._held_until_ns.get(name, 0) > now_ns:
                continue
            due = [pending for pending in self._backlog.firsts(name) if self._backlog.saved(pending.camera)
                   and (pending.due_ns <= now_ns or (pending.camera, name) in self._woken)]
            if due:
                chosen = min(due, key=lambda pending: pending.due_ns)
                self._woken.discard((chosen.camera, name))
                self._in_flight[name] = chosen.due_ns > now_ns
                sender.send(chosen.alert)

    def _settle(self, attempt: Attempt, now_ns: int) -> Iterator[Rejected[Alert]]:
        """Note how a delivery ended: it is done, tried again later, or given up."""
        early = self._in_flight.pop(attempt.sink)
        first = self._backlog.first(attempt.alert.event.camera, attempt.sink)
        if first is None or first.alert.id != attempt.alert.id:
            return  # `restore` has taken the alert away; whoever has it now sends it
        result = _result(attempt, last=not early and first.failures == RETRIES)
        self._on_delivery(Delivery(sink=attempt.sink, alert=attempt.alert, result=result,
                                   ended_ns=attempt.ended_ns, took_ns=attempt.took_ns))
        if result == "retried":
            self._postpone(first, attempt, early, now_ns)
            return
        self._backlog.drop_first(first.camera, first.sink)
        if result == "dead":
            log.error("%s: alert %s given up: %s", first.sink, first.alert.id, attempt.error)
            yield _rejected(first, f"given up after {first.failures} retries: {attempt.error}")

    def _postpone(self, first: Pending, attempt: Attempt, early: bool, now_ns: int) -> None:
        retry_after_s = attempt.error.retry_after_s if attempt.error is not None else None
        if retry_after_s is not None:
            held_ns = seconds_to_ns(min(retry_after_s, MAX_RETRY_AFTER_S))
            self._held_until_ns[first.sink] = now_ns + held_ns
        if not early:
            first.failures += 1
            first.due_ns = now_ns + delay_ns(first.alert.id, first.failures, retry_after_s)
            self._backlog.touch(first.camera)
        log.warning("%s: alert %s failed: %s; next try in %.0f s", first.sink, first.alert.id, attempt.error,
                    ns_to_seconds(first.due_ns - now_ns))


def _result(attempt: Attempt, last: bool) -> Result:
    if attempt.error is None:
        return "delivered"
    return "retried" if attempt.error.retriable and not last else "dead"


def _rejected(pending: Pending, reason: str) -> Rejected[Alert]:
    return Rejected(pending.alert, DeliveryRefused(f"{pending.sink}: {reason}"))
