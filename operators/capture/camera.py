"""One camera or file: opened, kept open, and given as segments."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import threading
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from operators.capture.camera_settings import CameraSettings
from operators.capture.connection import Connection
from operators.capture.packet import Packet
from operators.capture.reader import Header
from operators.capture.session import Session
from operators.capture.session_clock import LiveClock, RecordedClock
from operators.capture.source import parse, redact
from operators.clock import NS_PER_S, Clock
from operators.errors import SourceError, SourceTimeout, UnsupportedSource
from operators.records import Segment

__all__ = ["Camera", "CameraSettings", "CameraStatus", "Position"]

log = logging.getLogger(__name__)

MAX_STUCK = 3  # threads that hang in native code; with so many no further connection is tried
EARLIEST_CREATION_NS = 631_152_000 * NS_PER_S  # 1990: files of clocks that were never set say 1904 or 1970
LATEST_CREATION_NS = 24 * 3600 * NS_PER_S  # after the last change: time zones taken for UTC
CUTTING = 1  # raise it when files are cut differently: positions of before then mean nothing
_random = secrets.SystemRandom()


class Position(msgspec.Struct, frozen=True):
    """How far a file has been captured: what comes next."""

    session: str
    sequence: int


@dataclass(frozen=True)
class CameraStatus:
    """A camera at one moment."""

    state: Literal["connecting", "connected", "waiting", "ended", "failed"] = "connecting"
    connected_since_ns: int | None = None  # wall clock; None while there is no connection
    session: str | None = None  # the newest
    reconnects: int = 0  # sessions after the first
    packets: int = 0
    bytes: int = 0
    errors: dict[str, int] = field(default_factory=dict)  # what went wrong with the source, by kind
    dropped: dict[str, int] = field(default_factory=dict)  # packets that are in no segment, by reason
    last_error: str | None = None  # free of credentials


class Camera:
    """Gives the segments of one source: a live one's for ever, a file's until its end.

    A live camera that breaks off is connected again, after a pause that doubles with each failure in
    a row; every connection is a new session. One that cannot be reached gives a segment of nothing once,
    so that whoever asks after cameras knows that it is missed, and another when nobody misses it any more.
    A file always gives the same segments, byte for byte, so it is resumed by cutting it again and leaving
    out what came before.

    Args:
        settings: what to capture.
        clock: where time comes from.
        stop: ends `segments` soon after it is set.
        resume: where a file goes on; nothing of it comes again.
    """

    def __init__(self, settings: CameraSettings, *, clock: Clock, stop: threading.Event,
                 resume: Position | None = None) -> None:
        self._settings, self._clock, self._stop, self._resume = settings, clock, stop, resume
        self._source = parse(settings.source)
        self._status = CameraStatus()
        self._packets = self._bytes = 0
        self._errors: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._left_behind: list[Connection] = []
        self._unsupported: set[str] = set()

    @property
    def name(self) -> str:
        """The camera's name in every record."""
        return self._source.name

    @property
    def status(self) -> CameraStatus:
        """How it is at this moment. Any thread may ask."""
        return replace(self._status, packets=self._packets, bytes=self._bytes, errors=dict(self._errors),
                       dropped=dict(self._dropped))

    def segments(self) -> Generator[Segment]:
        """The source's segments in order; blocks until the next is there. One thread iterates, once.

        Ends after a file's last segment, which is `final`, and when the stop event is set: a live
        session then gives what it has, a file goes on there with `resume`.

        Raises:
            SourceError: a file cannot be opened or read.
            UnsupportedSource: nothing in the source can be seen or heard.
        """
        try:
            yield from self._keep_connected()
        finally:
            if self._status.state != "failed":
                self._set(state="ended")

    def _keep_connected(self) -> Iterator[Segment]:
        failures, missed = 0, False  # the second: by those who know of the camera by what it gave
        while not self._stop.is_set():
            made = 0
            try:
                for segment in self._connect():
                    made, missed = made + 1, not segment.stopped
                    yield segment
                break
            except SourceError as error:
                named = type(error)(redact(f"camera {self.name} ({self._source.safe}): {error}"))
                self._set(last_error=str(named), connected_since_ns=None)
                if not (self._source.live and named.retriable):
                    self._set(state="failed")
                    raise named from error.__cause__
            failures = 1 if made else failures + 1
            delay_s = self._delay_s(failures)
            log.warning("%s; trying again in %.1f s", named, delay_s)
            self._set(state="waiting")
            if not missed:
                missed = True
                yield self._nothing()
            self._stop.wait(delay_s)
        if missed and self._source.live and self._stop.is_set():
            yield self._nothing(stopped=True)

    def _nothing(self, *, stopped: bool = False) -> Segment:
        """A session without any media."""
        now_ns = self._clock.now_ns()
        return Segment(camera=self.name, session=_session_at(now_ns), sequence=0, start_ns=now_ns, duration_ns=0,
                       received_ns=now_ns, final=True, video=None, audio=None, stopped=stopped)

    def _connect(self) -> Iterator[Segment]:
        """One session; returns if it was a recording and has ended, or if stopped."""
        self._left_behind = [connection for connection in self._left_behind if connection.stuck]
        if len(self._left_behind) >= MAX_STUCK:
            self._errors["stuck"] += 1
            message = f"{MAX_STUCK} earlier connections hang and cannot be closed"
            raise SourceError(message)
        self._set(state="connecting")
        connection = Connection(self._source, self._settings, self._clock, self._stop)
        try:
            header = self._open(connection)
            if header is not None:
                session = self._begin(header)
                try:
                    yield from self._read(connection, header, session)
                finally:
                    session.close()
        finally:
            connection.close()
            self._left_behind.append(connection)

    def _open(self, connection: Connection) -> Header | None:
        try:
            header = connection.open()
        except SourceError as error:
            self._errors[_KINDS.get(type(error), "open")] += 1
            raise
        for codec in header.unsupported if header else ():
            if codec not in self._unsupported:
                self._unsupported.add(codec)
                self._errors["unsupported_track"] += 1
                log.warning("camera %s: codec %s is not supported, the track is left out", self.name, codec)
        return header

    def _begin(self, header: Header) -> Session:
        """The session with its name and clock, both of which follow from a file alone."""
        now_ns, skip = self._clock.now_ns(), 0
        if self._source.live:
            name = _session_at(now_ns)
            clock = RecordedClock(now_ns, header.zero_ns) if header.ends else LiveClock()
        else:
            stat = self._stat()
            name = self._file_session(stat.st_size, stat.st_mtime_ns)
            created_ns, latest_ns = header.created_ns or 0, stat.st_mtime_ns + LATEST_CREATION_NS
            sane = EARLIEST_CREATION_NS < created_ns < latest_ns
            clock = RecordedClock(created_ns if sane else stat.st_mtime_ns, header.zero_ns)
            skip = self._resume.sequence if self._resume and self._resume.session == name else 0
        status = self._status
        self._set(session=name, reconnects=status.reconnects + (status.session is not None))
        return Session(self.name, name, self._settings, header, clock, self._clock, skip=skip,
                       errors=self._errors, dropped=self._dropped)

    def _stat(self) -> os.stat_result:
        try:
            return Path(self._source.url).stat()
        except OSError as error:
            self._errors["open"] += 1
            message = f"cannot be opened: {error.strerror}"
            raise SourceError(message) from None

    def _file_session(self, size_bytes: int, mtime_ns: int) -> str:
        cut = (self._settings.segment_s, self._settings.max_segment_s, self._settings.max_leap_s, CUTTING)
        identity = (Path(self._source.url).name, size_bytes, mtime_ns, *cut)
        return hashlib.sha256("\x1f".join(map(str, identity)).encode()).hexdigest()[:16]

    def _read(self, connection: Connection, header: Header, session: Session) -> Iterator[Segment]:
        packets, broken = connection.packets(), None
        while broken is None:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except SourceError as error:
                self._errors[_KINDS.get(type(error), "read")] += 1
                broken = error
            else:
                self._on_packet(packet)
                yield from session.push(packet)
        if not self._source.live and (isinstance(broken, SourceTimeout) or self._stop.is_set()):
            if broken is not None:
                raise broken
            return  # the file goes on here with `resume`
        yield from session.flush(stopped=self._source.live and self._stop.is_set())
        broken = broken or self._missing(header, session)
        if broken is not None and (self._source.live or not session.sequence):
            raise broken
        if broken is not None:  # a damaged file: what came before the damage is good
            self._set(last_error=redact(f"camera {self.name} ({self._source.safe}): {broken}"))
            log.warning("%s", self._status.last_error)

    def _missing(self, header: Header, session: Session) -> SourceError | None:
        """What is wrong with a source that ended without an error."""
        if self._stop.is_set():
            return None
        if not header.ends:
            self._errors["ended"] += 1
            return SourceError("the stream ended")
        if not session.sequence:
            self._errors["empty"] += 1
            return SourceError("there is no packet of picture or sound in it")
        return None

    def _on_packet(self, packet: Packet) -> None:
        self._packets += 1
        self._bytes += len(packet.data)
        if self._status.connected_since_ns is None:
            self._set(state="connected", connected_since_ns=self._clock.now_ns())

    def _delay_s(self, failures: int) -> float:
        """Doubled with each failure in a row, and shortened by up to half, so that cameras do not return in step."""
        longest_s = self._settings.backoff_min_s * 2.0 ** min(failures - 1, 32)
        return min(longest_s, self._settings.backoff_max_s) * _random.uniform(0.5, 1.0)

    def _set(self, **changes: Any) -> None:
        """Only the iterating thread changes the status, and swaps it whole: readers need no lock."""
        self._status = replace(self._status, **changes)


def _session_at(now_ns: int) -> str:
    """The name of a live camera's session."""
    return f"{now_ns:x}-{secrets.token_hex(4)}"


_KINDS: dict[type[SourceError], str] = {SourceTimeout: "timeout", UnsupportedSource: "unsupported"}
