"""A reader in a thread of its own, watched: what hangs in native code is noticed and left behind."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

from operators.capture.camera_settings import CameraSettings
from operators.capture.packet import Packet
from operators.capture.reader import Header, Reader
from operators.capture.source import Source
from operators.clock import Clock, seconds_to_ns
from operators.errors import LookoutError, SourceError, SourceTimeout

MAX_WAITING_PACKETS = 1024
MAX_WAITING_BYTES = 32 * 2**20
LOOK_S = 0.1  # how often a silent source is looked at


class Connection:
    """Opens a source and reads it in a thread; gives its packets in the caller's.

    FFmpeg's timeouts end most hangs, but not all of them (name resolution, a file on a dead network
    disk; PyAV issues 584, 700, 1112). So the thread is given up after the timeout, whatever it is
    doing. It closes the source when it comes back, and is a daemon in case it never does.
    """

    def __init__(self, source: Source, settings: CameraSettings, clock: Clock, stop: threading.Event) -> None:
        self._source, self._settings, self._clock, self._stop = source, settings, clock, stop
        self._changed = threading.Condition()
        self._waiting: deque[Packet] = deque()
        self._waiting_bytes = 0
        self._header: Header | None = None
        self._outcome: LookoutError | None = None
        self._ended = False
        self._closed = False
        self._moved_ns = clock.monotonic_ns()  # when something last came or was taken
        self._thread = threading.Thread(target=self._run, name=f"capture-{source.name}", daemon=True)
        self._thread.start()

    @property
    def stuck(self) -> bool:
        """Whether the thread is still there after it has been given up."""
        return self._closed and self._thread.is_alive()

    def open(self) -> Header | None:
        """Wait until the source is open; None if stopped meanwhile.

        Raises:
            SourceError: it cannot be opened.
            SourceTimeout: it did not answer within `open_timeout_s`.
        """
        with self._changed:
            self._wait_for_news(self._settings.open_timeout_s, lambda: self._header is not None)
            return self._header

    def packets(self) -> Iterator[Packet]:
        """Packets until the source ends or the stop event is set.

        Raises:
            SourceError: reading failed.
            SourceTimeout: nothing came for `read_timeout_s`.
        """
        while True:
            with self._changed:
                self._wait_for_news(self._settings.read_timeout_s, lambda: bool(self._waiting))
                if not self._waiting or self._stop.is_set():
                    return
                taken, self._waiting, self._waiting_bytes = self._waiting, deque(), 0
                self._move()
            yield from taken

    def close(self) -> None:
        """Give the source up. The thread ends as soon as it comes back from what it is doing."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        self._thread.join(LOOK_S)

    def _wait_for_news(self, timeout_s: float, arrived: Callable[[], bool]) -> None:
        """Wait until `arrived`, the end of the source, or the stop event; the lock is held."""
        while not (arrived() or self._stop.is_set()):
            if self._ended:
                if self._outcome is not None:
                    raise self._outcome
                return
            if self._clock.monotonic_ns() - self._moved_ns > seconds_to_ns(timeout_s):
                message = f"sent nothing for {timeout_s:g} s"
                raise SourceTimeout(message)
            self._changed.wait(LOOK_S)

    def _run(self) -> None:
        outcome: LookoutError | None = None
        try:
            self._read()
        except LookoutError as error:
            outcome = error
        except Exception as error:  # the thread's last words: the caller counts and logs them
            outcome = SourceError(f"cannot be read: {type(error).__name__}")
            outcome.__cause__ = error
        with self._changed:
            self._ended, self._outcome = True, outcome
            self._changed.notify_all()

    def _read(self) -> None:
        reader = Reader(self._source, self._settings, self._clock)
        try:
            with self._changed:
                self._header = reader.header
                self._move()
            for packet in reader.packets():
                if not self._put(packet):
                    return
        finally:
            reader.close()

    def _put(self, packet: Packet) -> bool:
        """Hand a packet over; waits while too much is waiting. False: the source has been given up."""
        with self._changed:
            while not self._closed and self._is_full():
                self._changed.wait()
            self._waiting.append(packet)
            self._waiting_bytes += len(packet.data)
            self._move()
            return not self._closed

    def _is_full(self) -> bool:
        return len(self._waiting) >= MAX_WAITING_PACKETS or self._waiting_bytes >= MAX_WAITING_BYTES

    def _move(self) -> None:
        self._moved_ns = self._clock.monotonic_ns()
        self._changed.notify_all()
