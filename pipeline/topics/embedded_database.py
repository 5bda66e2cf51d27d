"""The SQLite file of the embedded log: a connection per thread, write transactions, who waits for commits."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from operators.errors import LogError, LogUnavailable, SettingsError
from pipeline.topics.embedded_presence import Presence, opening
from pipeline.topics.embedded_schema import prepare

logger = logging.getLogger(__name__)

FILE_NAME = "log.sqlite3"
BUSY_TIMEOUT_S = 10.0  # how long a write waits for other processes before LogUnavailable
OTHER_PROCESS_POLL_S = 0.025  # how often a waiting consumer asks whether another process has committed
WAL_BYTES = 64 * 2**20  # above this the write-ahead log is folded into the file and cut
_CHECKPOINT_PAGES = 1024  # 16 MiB: rare enough to be cheap, small enough not to be felt

_PRAGMAS = (
    # Commits are not flushed one by one: a killed process loses nothing, since the kernel has them; a power
    # loss may lose the newest transactions, but each is there wholly or not at all, outputs with offsets.
    "PRAGMA synchronous = NORMAL",
    "PRAGMA secure_delete = OFF",  # overwriting with zeros would read and write every deleted segment once more
    f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}",
    f"PRAGMA journal_size_limit = {WAL_BYTES}",
)

_AGAIN = {  # primary result codes that can pass by themselves or by an administrator's hand
    sqlite3.SQLITE_BUSY: "is busy",
    sqlite3.SQLITE_LOCKED: "is busy",
    sqlite3.SQLITE_FULL: "cannot grow: no space left",
    sqlite3.SQLITE_IOERR: "cannot be read or written",
}
_DENIED = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
_PRIMARY = 0xFF  # SQLite's extended codes carry the primary one in their low byte


class _Session:
    """One thread's connection; the lock is held while it is used, so that `close` waits for that."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.lock = threading.Lock()


class Database:
    """One opening of the file, shared by the threads of the process that made it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._wal = folder / (FILE_NAME + "-wal")
        self._process = os.getpid()
        self._sessions: dict[threading.Thread, _Session] = {}
        self._sessions_lock = threading.Lock()
        self._write_lock = threading.Lock()  # threads queue here; SQLite's own waiting sleeps and is not fair
        self._committed = threading.Condition()
        self._commits = 0
        self._led = False  # a waiting thread looks for the commits of other processes
        self._closed = False
        _refuse_inherited(self.path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with opening(folder), self.reading() as db:
                prepare(db, self.path)
                self.presence = Presence(folder)
        except OSError as error:
            message = f"log {self.path}: the folder cannot be used: {error.strerror}"
            raise SettingsError(message) from error
        finally:
            if not hasattr(self, "presence"):
                for session in self._sessions.values():
                    session.db.close()
        _opened.add(self)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """This thread's connection, each statement seeing what is committed when it starts.

        Raises:
            LogUnavailable: the file is busy or the disk full; it may pass.
            LogError: the file is no log, damaged, or was opened before a fork.
            SettingsError: the file may not be opened or written.
        """
        session = self._session()
        with session.lock:
            try:
                yield session.db
            except sqlite3.Error as error:
                raise self._translated(error) from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that nobody else writes in: committed on leaving, undone by an exception.

        Raises:
            as `reading`.
        """
        with self._write_lock, self.reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
        with self._committed:
            self._commits += 1
            self._committed.notify_all()

    def version(self) -> tuple[int, int]:
        """Two numbers, of which one changes with every commit: of this process, and of the others."""
        commits = self._commits
        with self.reading() as db:
            row: tuple[int] = db.execute("PRAGMA data_version").fetchone()
        return commits, row[0]

    def wait(self, seen: tuple[int, int], timeout_s: float) -> None:
        """Sleep until `version` is not `seen` any more or the time is over.

        Commits of this process wake everybody at once. One of the waiting threads looks for those of other
        processes and wakes the rest, so that many waiting threads cost no more than one.
        """
        deadline_s = time.monotonic() + timeout_s
        leading = False
        with self._committed:
            try:
                while self._commits == seen[0] and not self._closed and (left_s := deadline_s - time.monotonic()) > 0:
                    if self._led and not leading:
                        self._committed.wait(left_s)
                        continue
                    self._led = leading = True
                    self._committed.wait(min(left_s, OTHER_PROCESS_POLL_S))
                    if self._commits == seen[0] and self.version()[1] != seen[1]:
                        self._commits += 1
                        self._committed.notify_all()
            finally:
                if leading:
                    self._led = False
                    self._committed.notify()  # one of those still waiting leads now

    def bound_wal(self) -> None:
        """Cut the write-ahead log where readers have kept it from starting over; never fails, as it can wait."""
        try:
            if self._wal.stat().st_size > WAL_BYTES:
                with self._write_lock, self.reading() as db:
                    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except (OSError, LogError) as error:
            logger.warning("log %s: its write-ahead log could not be cut: %s", self.path, error)

    def close(self) -> None:
        """Close every thread's connection, each when it is not in use."""
        if os.getpid() != self._process:
            return
        with self._sessions_lock:
            if self._closed:
                return
            self._closed = True
            sessions = list(self._sessions.values())
            self._sessions.clear()
        with self._committed:
            self._committed.notify_all()
        for session in sessions:
            with session.lock:
                session.db.close()
        self.presence.close()
        _opened.discard(self)

    def _session(self) -> _Session:
        if os.getpid() != self._process:
            message = f"log {self.path}: opened before a fork; the child process cannot use it"
            raise LogError(message)
        thread = threading.current_thread()
        if (session := self._sessions.get(thread)) is not None:
            return session
        with self._sessions_lock:
            if self._closed:
                message = f"log {self.path}: closed"
                raise LogError(message)
            for ended in [other for other in self._sessions if not other.is_alive()]:
                self._sessions.pop(ended).db.close()
            session = self._sessions[thread] = _Session(self._connect())
            return session

    def _connect(self) -> sqlite3.Connection:
        try:
            db = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
            for pragma in _PRAGMAS:
                db.execute(pragma)
        except sqlite3.Error as error:
            raise self._translated(error) from error
        return db

    def _translated(self, error: sqlite3.Error) -> LogError | SettingsError:
        """SQLite's error as ours, naming the file."""
        if self._closed:
            return LogError(f"log {self.path}: closed")
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY
        if code in _AGAIN:
            return LogUnavailable(f"log {self.path} {_AGAIN[code]}: {error}")
        if code in _DENIED:
            return SettingsError(f"log {self.path}: the file cannot be used: {error}")
        return LogError(f"log {self.path}: {error}")


# SQLite cannot be carried over a fork: its locks belong to the parent, and its list of open files, copied
# into the child, makes even a fresh connection there take them for its own. So the child is refused both,
# and what it inherited is kept for ever, because closing it would be as bad.

_opened: weakref.WeakSet[Database] = weakref.WeakSet()
_inherited: list[Database] = []


def _after_fork() -> None:
    for database in list(_opened):
        _inherited.append(database)
        database.presence.disown()
    _opened.clear()


def _refuse_inherited(path: Path) -> None:
    if any(path.resolve() == other.path.resolve() for other in _inherited):
        message = f"log {path}: open in the parent process before a fork; start the process by spawn instead"
        raise LogError(message)


os.register_at_fork(after_in_child=_after_fork)
