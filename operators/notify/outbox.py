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
from operators.errors import DeliveryRefused, ReceiverGone
from operators.notify.backlog import MAX_PENDING, Backlog, Pending
from operators.notify.endpoints import Endpoints, Wish
from operators.notify.retry import MAX_RETRY_AFTER_S, RETRIES, delay_ns
from operators.notify.sender import Attempt, Sender
from operators.notify.sink import Sink
from operators.records import Alert

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 5.0  # how long closing waits for deliveries under way
MAX_RUN = 64  # alerts of one camera handed out at once; a crash may repeat as many
Result = Literal["delivered", "retried", "dead"]  # `retried`: failed, and will be tried again


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to deliver, for whoever counts them."""

    sink: str
    alert: Alert
    result: Result
    ended_ns: int
    took_ns: int


class Kept(msgspec.Struct, omit_defaults=True):
    """A camera's state: what is still to be delivered, and what receivers have asked for."""

    waiting: list[Pending] = []
    wishes: dict[str, Wish] = {}


class Outbox(Operator[Alert, Never]):
    """Keeps alerts in its state and hands them to the receivers, in order per camera and receiver.

    `process` only notes an alert; an `advance` that comes after the next `snapshot`, and so after the
    transaction that commits it, sends it. Nothing is sent that a crash could make unsaid, and what a
    crash interrupts is sent again under the same id: every receiver gets every alert at least once.

    A failed alert holds back the later ones of its camera for the same receiver, and no others. It is
    tried again by the table in `retry`, and also as soon as a newer one queues behind it, so that a
    receiver that has come back need not wait for the table. A receiver that is gone is disabled until an
    alert that was replayed by hand reaches it. What is given up comes as `Rejected`: the alert for that
    receiver alone, and an error that names it.
    """

    def __init__(self, sinks: Sequence[Sink], *, clock: Clock | None = None,
                 on_delivery: Callable[[Delivery], None] = lambda _: None) -> None:
        """Start the threads of every sink.

        Args:
            sinks: the receivers; closed by `close`.
            clock: for what is not told by `advance`.
            on_delivery: told of every attempt, in the worker's thread.
        """
        self._clock = clock or SystemClock()
        self._on_delivery = on_delivery
        self._ending = threading.Condition()  # guards `_ended`, `_running` and `_quiet`
        self._ended: deque[Attempt] = deque()  # filled by the senders' threads, emptied by `advance`
        self._running = 0  # runs whose last attempt has not ended
        self._senders = {sink.name: Sender(sink, self._on_ended, self._clock) for sink in sinks}
        self._backlog, self._endpoints = Backlog(), Endpoints()
        self._woken: set[tuple[str, str]] = set()  # (sink, camera) whose first alert may be sent before it is due
        self._in_flight: dict[tuple[str, str], bool] = {}  # -> whether the next to end was sent before it was due
        self._quiet = False

    @property
    def pending(self) -> int:
        """Deliveries not made yet: alerts waiting or under way, once for every receiver. Any thread may ask."""
        return len(self._backlog)

    @override
    def process(self, batch: Sequence[Alert]) -> Iterator[Rejected[Alert]]:
        for alert in batch:
            for sink in alert.sinks or self._senders:
                yield from self._enqueue(alert, sink)

    @override
    def advance(self, now_ns: int) -> Sequence[Rejected[Alert]]:
        rejected: list[Rejected[Alert]] = []
        with self._ending:
            while self._ended:
                rejected.extend(self._settle(self._ended.popleft(), now_ns))
            self._endpoints.expire(now_ns, self._senders)
            rejected += self._give_up()
            if not self._quiet:
                self._send_due(now_ns)
            self._ending.notify_all()
        return rejected

    @override
    def snapshot(self) -> Mapping[str, bytes]:
        changed = self._backlog.changed | self._endpoints.changed
        kept = {camera: Kept(list(self._backlog.waiting(camera)), dict(self._endpoints.wishes(camera)))
                for camera in changed}
        self._backlog.mark_saved()
        self._endpoints.changed.clear()
        return {camera: msgspec.msgpack.encode(one) if one.waiting or one.wishes else b""
                for camera, one in kept.items()}

    @override
    def restore(self, state: Mapping[str, bytes]) -> None:
        kept = {camera: read(encoded) for camera, encoded in state.items()}
        self._backlog.restore(pending for one in kept.values() for pending in one.waiting)
        self._endpoints.restore({camera: one.wishes for camera, one in kept.items()})
        self._woken.clear()

    def wait_idle(self, timeout_s: float) -> bool:
        """Block until no delivery is under way; whether that came true in time. `advance` then notes how they ended."""
        with self._ending:
            return self._ending.wait_for(lambda: not self._running, timeout_s)

    def quiesce(self, timeout_s: float) -> bool:
        """Send nothing more, and `wait_idle`.

        For a graceful stop, from any thread: one more `advance` then notes what arrived, so that it is
        committed and the next process does not send it again.
        """
        with self._ending:
            self._quiet = True
            for sender in self._senders.values():
                sender.halt()
        return self.wait_idle(timeout_s)

    @override
    def close(self) -> None:
        deadline_s = time.monotonic() + CLOSE_TIMEOUT_S
        for sender in self._senders.values():
            sender.close()
        for sender in self._senders.values():
            sender.join(max(0.0, deadline_s - time.monotonic()))

    def _on_ended(self, attempt: Attempt) -> None:
        with self._ending:
            self._ended.append(attempt)
            self._running -= attempt.last
            self._ending.notify_all()

    def _enqueue(self, alert: Alert, sink: str) -> Iterator[Rejected[Alert]]:
        pending = Pending(sink=sink, alert=alert, due_ns=self._clock.now_ns())
        if self._backlog.full(pending.camera, sink):
            yield _rejected(self._backlog.drop_first(pending.camera, sink), f"leaves {MAX_PENDING} newer ones waiting")
        if self._backlog.add(pending) and self._backlog.first(pending.camera, sink) is not pending:
            self._woken.add((sink, pending.camera))

    def _give_up(self) -> list[Rejected[Alert]]:
        """What waits for receivers that there are not, or that are gone."""
        hopeless = {sink: f"is disabled: {reason}" for sink, reason in self._endpoints.gone().items()}

        def unwanted(pending: Pending) -> bool:
            return pending.sink not in self._senders or (
                pending.sink in hopeless and not pending.alert.replayed
                and (pending.sink, pending.camera) not in self._in_flight)

        return [_rejected(pending, hopeless.get(pending.sink, "is not configured"))
                for pending in self._backlog.drop(self._senders.keys() - hopeless.keys(), unwanted)]

    def _send_due(self, now_ns: int) -> None:
        """Give every receiver as much as it takes at once, of what has been due for longest."""
        for name, sender in self._senders.items():
            free = sender.parallel - sum(sink == name for sink, _ in self._in_flight)
            if free <= 0 or self._endpoints.held(name, now_ns):
                continue
            due = [pending for pending in self._backlog.firsts(name) if (name, pending.camera) not in self._in_flight
                   and (pending.due_ns <= now_ns or (name, pending.camera) in self._woken)]
            for chosen in sorted(due, key=lambda pending: pending.due_ns)[:free]:
                self._woken.discard((name, chosen.camera))
                self._in_flight[name, chosen.camera] = chosen.due_ns > now_ns
                self._running += 1
                sender.send(self._backlog.saved(chosen.camera, name, MAX_RUN))

    def _settle(self, attempt: Attempt, now_ns: int) -> Iterator[Rejected[Alert]]:
        """Note how a delivery ended: it is done, tried again later, or given up."""
        camera = attempt.alert.event.camera
        early = self._in_flight.pop((attempt.sink, camera))
        if not attempt.last:
            self._in_flight[attempt.sink, camera] = False
        first = self._backlog.first(camera, attempt.sink)
        if first is None or first.alert.id != attempt.alert.id:
            return  # `restore` has taken the alert away; whoever has it now sends it
        result = _result(attempt, last=not early and first.failures == RETRIES)
        self._on_delivery(Delivery(sink=attempt.sink, alert=attempt.alert, result=result,
                                   ended_ns=attempt.ended_ns, took_ns=attempt.took_ns))
        self._heed(attempt, now_ns)
        if result == "retried":
            self._postpone(first, attempt, early, now_ns)
            return
        self._backlog.drop_first(first.camera, first.sink)
        if result == "dead":
            log.error("%s: alert %s given up: %s", first.sink, first.alert.id, attempt.error)
            yield _rejected(first, f"given up after {first.failures} retries: {attempt.error}")

    def _heed(self, attempt: Attempt, now_ns: int) -> None:
        """Remember what the receiver asked for."""
        camera, error = attempt.alert.event.camera, attempt.error
        if error is None and attempt.alert.replayed and attempt.sink in self._endpoints.gone():
            log.warning("%s takes alerts again", attempt.sink)
            self._endpoints.enable(attempt.sink)
        if error is not None and error.retry_after_s is not None:
            held_ns = seconds_to_ns(min(error.retry_after_s, MAX_RETRY_AFTER_S))
            self._endpoints.hold(camera, attempt.sink, now_ns + held_ns)
        if isinstance(error, ReceiverGone):
            log.error("%s is disabled: %s; replaying an alert to it enables it again", attempt.sink, error)
            self._endpoints.disable(camera, attempt.sink, str(error))

    def _postpone(self, first: Pending, attempt: Attempt, early: bool, now_ns: int) -> None:
        if not early:
            retry_after_s = attempt.error.retry_after_s if attempt.error is not None else None
            first.failures += 1
            first.due_ns = now_ns + delay_ns(first.alert.id, first.failures, retry_after_s)
            self._backlog.changed.add(first.camera)
        log.warning("%s: alert %s failed: %s; next try in %.0f s", first.sink, first.alert.id, attempt.error,
                    ns_to_seconds(first.due_ns - now_ns))


def read(state: bytes) -> Kept:
    """A camera's state, also as versions before 0.2 wrote it."""
    kept = msgspec.msgpack.decode(state, type=Kept | list[Pending])
    return kept if isinstance(kept, Kept) else Kept(waiting=kept)


def _result(attempt: Attempt, last: bool) -> Result:
    if attempt.error is None:
        return "delivered"
    return "retried" if attempt.error.retriable and not last else "dead"


def _rejected(pending: Pending, reason: str) -> Rejected[Alert]:
    alert = msgspec.structs.replace(pending.alert, sinks=(pending.sink,))
    return Rejected(alert, DeliveryRefused(f"{pending.sink}: {reason}"))
