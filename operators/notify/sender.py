"""A few threads per receiver, so that a slow or dead one delays no other and never the worker."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

import msgspec

from operators.clock import Clock
from operators.errors import DeliveryError, ReceiverGone
from operators.notify.sink import Sink
from operators.records import Alert

log = logging.getLogger(__name__)


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """How handing one alert to one receiver ended."""

    sink: str
    alert: Alert
    error: DeliveryError | None  # None: the receiver has it
    last: bool  # of its run
    ended_ns: int
    took_ns: int


class Sender:
    """Delivers runs: alerts of one camera, one after the other until one fails; `sink.parallel` runs at a time.

    Tells `on_ended`, in its own threads, of every attempt; the last one of a run says that it is. A receiver that
    asks to be left alone, or is gone, ends all its runs.
    """

    def __init__(self, sink: Sink, on_ended: Callable[[Attempt], None], clock: Clock) -> None:
        self._sink, self._on_ended, self._clock = sink, on_ended, clock
        self._runs: SimpleQueue[tuple[tuple[Alert, ...], threading.Event] | None] = SimpleQueue()
        self._enough = threading.Event()  # for the runs that were given so far
        self._open = sink.parallel  # threads at work
        self._closing = threading.Lock()  # guards `_open`
        # Daemons: a receiver that hangs must not keep the process from ending.
        self._threads = [threading.Thread(target=self._work, name=f"sender-{sink.name}-{number}", daemon=True)
                         for number in range(sink.parallel)]
        for thread in self._threads:
            thread.start()

    @property
    def parallel(self) -> int:
        """Runs that may be under way together."""
        return self._sink.parallel

    def send(self, run: tuple[Alert, ...]) -> None:
        """Deliver `run` soon; does not block."""
        self._runs.put((run, self._enough))

    def halt(self) -> None:
        """Let the runs given so far end with the attempt under way; any thread may ask."""
        self._enough.set()
        self._enough = threading.Event()

    def close(self) -> None:
        """End after the runs under way; does not wait for them."""
        for _ in self._threads:
            self._runs.put(None)

    def join(self, timeout_s: float) -> None:
        """Wait for one thread's end, at most."""
        for thread in self._threads:
            thread.join(timeout_s / len(self._threads))

    def _work(self) -> None:
        while (given := self._runs.get()) is not None:
            self._run(*given)
        with self._closing:
            self._open -= 1
            last = not self._open
        if last:
            self._sink.close()

    def _run(self, run: tuple[Alert, ...], enough: threading.Event) -> None:
        for number, alert in enumerate(run, 1):
            started_ns = self._clock.monotonic_ns()
            error = self._deliver(alert)
            took_ns = self._clock.monotonic_ns() - started_ns
            if isinstance(error, ReceiverGone) or (error is not None and error.retry_after_s is not None):
                self.halt()
            last = error is not None or number == len(run) or enough.is_set()
            self._on_ended(Attempt(sink=self._sink.name, alert=alert, error=error, last=last,
                                   ended_ns=self._clock.now_ns(), took_ns=took_ns))
            if last:
                return

    def _deliver(self, alert: Alert) -> DeliveryError | None:
        try:
            self._sink.deliver(alert)
        except DeliveryError as error:
            return error
        except Exception as error:  # a defect of one sink: the alert is retried and counted like any failure
            log.exception("%s: alert %s: delivering it broke", self._sink.name, alert.id)
            return DeliveryError(f"{type(error).__name__} while delivering")
        return None
