"""Alerts in, evidence out: what is noted here is made when the event is over, while the alert is long on its way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Never

import msgspec
from typing_extensions import override

from operators.base import Operator
from operators.clock import NS_PER_S, Clock, SystemClock, ns_to_seconds
from operators.errors import LogUnavailable, StorageError
from operators.evidence.store import Store
from operators.records import Alert, Event
from pipeline.evidence.footage import Footage
from pipeline.evidence.making import LETHAL, LOG, OVERLOAD, PARTS, STORAGE, Made, Maker
from pipeline.metrics.evidence import Making

log = logging.getLogger(__name__)

LOOK_EVERY_NS = NS_PER_S  # between two looks at whether an event's media has come
RETRY_NS = 15 * NS_PER_S  # after the storage failed
TRIES = 4
SWEEP_EVERY_NS = 600 * NS_PER_S
MAX_PENDING = 500  # events waited for; of more, evidence is not made


class Pending(msgspec.Struct):
    """An event whose evidence is still to be made; plain data, so that a snapshot holds it as it is."""

    event: Event
    tries: int = 0  # begun so often
    failure: str = LETHAL  # why it came to nothing; a process that died could not say

    @property
    def camera(self) -> str:
        """Whose event it is."""
        return self.event.camera


class EvidenceKeeper(Operator[Alert, Never]):
    """Makes evidence of every event that is told, once however many alerts tell of it.

    `process` only notes the event. `advance` looks, at most once a second for each, whether it is over and its media
    there; notes in the state that making begins, and makes it when that is committed: of what a process dies of,
    the next ones try it `TRIES` times in all, and then never again. One is made at a time, and none while alerts
    are in hand.
    """

    def __init__(self, store: Store, maker: Maker, follow: Callable[[Event], Footage], *, clock: Clock | None = None,
                 on_making: Callable[[Making], None] = lambda _: None) -> None:
        """Make nothing yet.

        Args:
            store: where evidence is kept.
            maker: makes it.
            follow: finds an event in the log.
            clock: for how long things take, and the age of evidence.
            on_making: told of every event for which something was made or given up, in the worker's thread.
        """
        self._store, self._maker, self._follow = store, maker, follow
        self._clock, self._on_making = clock or SystemClock(), on_making
        self._pending: dict[str, Pending] = {}  # by the event's id
        self._footage: dict[str, Footage] = {}
        self._due_ns: dict[str, int] = {}
        self._changed: set[str] = set()  # cameras
        self._begun: str | None = None  # the event whose making is about to be committed as begun
        self._busy = False  # alerts are in hand
        self._sweep_ns = 0

    @property
    def pending(self) -> int:
        """Events whose evidence is still to be made. Any thread may ask."""
        return len(self._pending)

    @override
    def process(self, batch: Sequence[Alert]) -> Iterator[Never]:
        for alert in batch:
            self._busy = True
            event = alert.event
            if event.id in self._pending or alert.replayed:
                continue
            if len(self._pending) >= MAX_PENDING:
                self._on_making(Making((), dict.fromkeys(PARTS, OVERLOAD), 0.0))
                continue
            self._pending[event.id] = Pending(event)
            self._changed.add(event.camera)
        yield from ()

    @override
    def advance(self, now_ns: int) -> Sequence[Never]:
        if self._busy:  # a death now would be put down to the alerts in hand
            self._busy = False
        elif self._begun:
            self._make(self._pending[self._begun], now_ns)
        else:
            self._look(now_ns)
            self._sweep(now_ns)
        return ()

    @override
    def snapshot(self) -> Mapping[str, bytes]:
        states: dict[str, list[Pending]] = {camera: [] for camera in self._changed}
        for pending in self._pending.values():
            if pending.camera in states:
                states[pending.camera].append(pending)
        self._changed.clear()
        return {camera: msgspec.msgpack.encode(waiting) if waiting else b"" for camera, waiting in states.items()}

    @override
    def restore(self, state: Mapping[str, bytes]) -> None:
        kept = (pending for value in state.values() for pending in msgspec.msgpack.decode(value, type=list[Pending]))
        self._pending = {pending.event.id: pending for pending in kept}
        for known in (self._footage, self._due_ns):
            for event_id in known.keys() - self._pending.keys():
                del known[event_id]
        self._changed.clear()
        self._begun, self._busy = None, False

    def _look(self, now_ns: int) -> None:
        """Look after the event that was not looked after for longest, if it is time to."""
        if not self._pending:
            return
        event_id = min(self._pending, key=lambda one: self._due_ns.get(one, 0))
        if self._due_ns.get(event_id, 0) > now_ns:
            return
        self._due_ns[event_id] = now_ns + LOOK_EVERY_NS
        pending = self._pending[event_id]
        footage = self._footage.get(event_id) or self._follow(pending.event)
        self._footage[event_id] = footage
        if not footage.look(now_ns):
            return
        if pending.tries == TRIES:
            self._end(pending, Made(failed=dict.fromkeys(PARTS, pending.failure)))
            return
        pending.tries, pending.failure = pending.tries + 1, LETHAL
        self._begun = event_id
        self._changed.add(pending.camera)

    def _make(self, pending: Pending, now_ns: int) -> None:
        event_id, self._begun = pending.event.id, None
        started_ns = self._clock.monotonic_ns()
        self._changed.add(pending.camera)
        try:
            made = Made() if self._store.has(event_id) else self._maker.make(self._footage[event_id])
        except (StorageError, LogUnavailable) as error:
            log.warning("evidence of event %s: %s; trying again", event_id, error)
            pending.failure = STORAGE if isinstance(error, StorageError) else LOG
            self._due_ns[event_id] = now_ns + RETRY_NS
            return
        self._end(pending, made, self._clock.monotonic_ns() - started_ns)
        if self._store.full:
            self._sweep_ns = 0

    def _end(self, pending: Pending, made: Made, took_ns: int = 0) -> None:
        event_id = pending.event.id
        del self._pending[event_id]
        self._footage.pop(event_id, None)
        self._due_ns.pop(event_id, None)
        self._changed.add(pending.camera)
        if made.files or made.failed:  # else it was there already
            self._on_making(Making(tuple(made.files), dict(made.failed.items()), ns_to_seconds(took_ns)))

    def _sweep(self, now_ns: int) -> None:
        """Let go what is kept for too long or is too much, every now and then."""
        if now_ns < self._sweep_ns:
            return
        self._sweep_ns = now_ns + SWEEP_EVERY_NS
        try:
            if gone := self._store.sweep(now_ns):
                log.info("evidence of %d events was let go", gone)
        except StorageError as error:
            log.warning("evidence is not swept: %s; trying again in a while", error)
