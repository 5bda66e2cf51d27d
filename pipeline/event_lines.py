"""Events as lines of CloudEvents JSON, to standard output or to a file."""

from __future__ import annotations

import hashlib
import logging
import sys
import threading
from pathlib import Path
from typing import BinaryIO

import msgspec

from operators.cloudevent import event_to_cloudevent
from operators.errors import LogUnavailable, SettingsError
from operators.records import Event
from pipeline import codec
from pipeline.topics.base import Log, Message, Transaction
from pipeline.topology import EVENTS
from pipeline.workers.worker import POLL_S, RETRY_S

log = logging.getLogger(__name__)

BATCH = 256


class EventLines:
    """A reader of the events topic with offsets of its own, so that a second run goes on where the first stopped.

    A file gets every event exactly once: its length is committed together with the offsets, and what
    a killed run wrote beyond that is cut off. Standard output cannot be cut: a kill between writing
    and committing repeats the last lines, which have the same id, type and time.
    """

    def __init__(self, log_: Log, path: Path | None) -> None:
        """Write to `path`, or to standard output.

        Raises:
            SettingsError: the file cannot be written.
        """
        self._log, self._path = log_, path
        self.group = "lines" if path is None else f"lines-{_short_hash(str(path.resolve()))}"
        self._out: BinaryIO = sys.stdout.buffer if path is None else self._opened(path)

    def run(self, stop: threading.Event) -> None:
        """Write until `stop` is set."""
        consumer = self._log.consumer(self.group, EVENTS)
        try:
            while not stop.is_set():
                messages = consumer.poll(BATCH, POLL_S)
                if not messages:
                    continue
                self._out.write(b"".join(_line(message) for message in messages))
                self._out.flush()
                try:
                    with self._log.transaction(self.group) as transaction:
                        if self._path:
                            self._keep_length(transaction)
                        transaction.commit(consumer, {message.partition: message.offset + 1 for message in messages})
                except LogUnavailable as error:
                    log.warning("events: %s; trying again", error)
                    consumer.seek_to_committed()
                    self._cut()
                    stop.wait(RETRY_S)
        finally:
            consumer.close()
            if self._path:
                self._out.close()

    def _opened(self, path: Path) -> BinaryIO:
        try:
            self._out = path.open("ab")
        except OSError as error:
            message = f"--events {path}: {error.strerror}"
            raise SettingsError(message) from error
        self._cut()
        if self._out.tell() != self._length():  # ours from here on; else what a first run wrote could not be told
            with self._log.transaction(self.group) as transaction:
                self._keep_length(transaction)
        return self._out

    def _cut(self) -> None:
        """Remove what was written but not committed."""
        length = self._length()
        if self._path and length is not None and self._out.seek(0, 2) > length:
            self._out.truncate(length)
            self._out.seek(0, 2)

    def _keep_length(self, transaction: Transaction) -> None:
        transaction.put_state(self.group, 0, "length", str(self._out.tell()).encode())

    def _length(self) -> int | None:
        """How long the file was when it was last committed."""
        length = self._log.state(self.group, 0).get("length")
        return None if length is None else int(length)


def _line(message: Message) -> bytes:
    record = codec.decode(message)
    return msgspec.json.encode(event_to_cloudevent(record)) + b"\n" if isinstance(record, Event) else b""


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
