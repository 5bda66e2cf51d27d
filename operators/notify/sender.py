"""One thread per receiver, so that a slow or dead one delays no other and never the worker."""

from __future__ import annotations

import logging
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread

import msgspec

from operators.clock import Clock
from operators.errors import DeliveryError
from operators.notify.sink import Sink
from operators.records import Alert

log = logging.getLogger(__name__)


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """How handing one alert to one receiver ended."""

    sink: str
    alert: Alert
    error: DeliveryError | None  # None: the receiver has it
    ended_ns: int
    took_ns: int


class Sender:
    """Delivers what `send` is given, one alert after the other, and tells `on_ended`, in its own thread, of each."""

    def __init__(self, sink: Sink, on_ended: Callable[[Attempt], None], clock: Clock) -> None:
        self._sink = sink
        self._on_ended = on_ended
        self._clock = clock
        self._alerts: SimpleQueue[Alert | None] = SimpleQueue()
        # A daemon: a receiver that hangs must not keep the process from ending.
        self._thread = Thread(target=self._run, name=f"sender-{sink.name}", daemon=True)
        self._thread.start()

    def send(self, alert: Alert) -> None:
        """Deliver `alert` soon; does not block."""
        self._alerts.put(alert)

    def close(self, timeout_s: float) -> None:
        """End after the deliveries under way; waits no longer than `timeout_s` for them."""
        self._alerts.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (alert := self._alerts.get()) is not None:
            started_ns = self._clock.monotonic_ns()
            error = self._deliver(alert)
            took_ns = self._clock.monotonic_ns() - started_ns
            self._on_ended(Attempt(
                sink=self._sink.name, alert=alert, error=error, ended_ns=self._clock.now_ns(), took_ns=took_ns))
        self._sink.close()

    def _deliver(self, alert: Alert) -> DeliveryError | None:
        try:
            self._sink.deliver(alert)
        except DeliveryError as error:
            return error
        except Exception as error:  # a defect of one sink: the alert is retried and counted like any failure
            log.exception("%s: alert %s: delivering it broke", self._sink.name, alert.id)
            return DeliveryError(f"{type(error).__name__} while delivering")
        return None
