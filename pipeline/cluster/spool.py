"""What a live camera captured and the log does not have yet, on disk: in order, bounded, across restarts."""

from __future__ import annotations

import logging
import secrets
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

log = logging.getLogger(__name__)

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL; -- a killed process loses nothing; a power loss may take the newest segments
CREATE TABLE IF NOT EXISTS spool (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS segments (
    number INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice
    size_bytes INTEGER NOT NULL, headers BLOB NOT NULL, value BLOB NOT NULL);
"""


@dataclass(frozen=True)
class Spooled:
    """One segment, as it is to lie in the log."""

    number: int  # counts upwards; gaps are allowed
    value: bytes
    headers: Mapping[str, bytes]


class Spool:
    """One camera's file. One thread puts, another one takes.

    Beyond the bound the oldest go, except those that were taken and may be in the log already.
    """

    def __init__(self, folder: Path, camera: str, bound_bytes: int) -> None:
        """Go on with what is in the file; a damaged one is put aside.

        Raises:
            OSError, sqlite3.Error: the file cannot be used.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._bound_bytes = bound_bytes
        self._lock = threading.Lock()
        self._taken = 0  # the newest that may be in the log already
        path = folder / f"{camera}.sqlite3"
        try:
            self._db, self.id = _opened(path)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            log.error("spool %s: %s; it is put aside as %s.damaged", path, error, path.name)
            path.rename(path.with_name(f"{path.name}.damaged"))
            self._db, self.id = _opened(path)

    @property
    def size_bytes(self) -> int:
        """Media that waits."""
        with self._lock:
            return self._size_bytes()

    def put(self, value: bytes, headers: Mapping[str, bytes]) -> int:
        """Keep one more segment; returns how many older ones had to go for it.

        Raises:
            sqlite3.Error: the disk does not take it.
        """
        with self._lock, self._db:
            self._db.execute("INSERT INTO segments (size_bytes, headers, value) VALUES (?, ?, ?)",
                             (len(value), msgspec.msgpack.encode(headers), value))
            excess_bytes, shed = self._size_bytes() - self._bound_bytes, 0
            for number, size_bytes in self._db.execute(
                    "SELECT number, size_bytes FROM segments WHERE number > ? ORDER BY number", (self._taken,)):
                if excess_bytes <= 0:
                    break
                self._db.execute("DELETE FROM segments WHERE number = ?", (number,))
                excess_bytes, shed = excess_bytes - size_bytes, shed + 1
        return shed

    def take(self, count: int, max_bytes: int) -> list[Spooled]:
        """The oldest, at most `count`, up to the one that reaches `max_bytes`; they stay until `drop`."""
        taken = []
        with self._lock:
            for number, headers, value in self._db.execute(
                    "SELECT number, headers, value FROM segments ORDER BY number LIMIT ?", (count,)):
                taken.append(Spooled(number, value, msgspec.msgpack.decode(headers, type=dict[str, bytes])))
                max_bytes -= len(value)
                if max_bytes <= 0:
                    break
            if taken:
                self._taken = taken[-1].number
        return taken

    def drop(self, number: int) -> None:
        """The log has everything up to `number`."""
        with self._lock, self._db:
            self._db.execute("DELETE FROM segments WHERE number <= ?", (number,))

    def close(self) -> None:
        """Close the file; what is in it waits for the next one who opens it."""
        with self._lock:
            self._db.close()

    def _size_bytes(self) -> int:
        size_bytes: int = self._db.execute("SELECT coalesce(sum(size_bytes), 0) FROM segments").fetchone()[0]
        return size_bytes


def _opened(path: Path) -> tuple[sqlite3.Connection, str]:
    """The file and what tells it from every other one."""
    db = sqlite3.connect(path, check_same_thread=False)
    try:
        db.executescript(_SCHEMA)
        with db:
            db.execute("INSERT INTO spool SELECT ? WHERE NOT EXISTS (SELECT * FROM spool)", (secrets.token_hex(8),))
        return db, db.execute("SELECT id FROM spool").fetchone()[0]
    except BaseException:
        db.close()
        raise
