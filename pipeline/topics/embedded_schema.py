"""The tables of the embedded log, and the check that a file holds them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from operators.errors import LogError

SCHEMA_VERSION = 1
APPLICATION_ID = 0x4C4F4F4B  # "LOOK": tells our files from other SQLite databases
OFFSET_BITS = 40  # a record's id is its partition's id and its offset in one integer

PAGE_BYTES = 16 * 1024  # a segment of 150 KB is ten pages; a transaction without media still writes only a few

_TABLES = """
CREATE TABLE topics (
    name TEXT PRIMARY KEY,
    partitions INTEGER NOT NULL,
    retention_s REAL NOT NULL,
    retention_bytes INTEGER NOT NULL,
    max_record_bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE partitions (
    id INTEGER PRIMARY KEY,
    topic TEXT NOT NULL REFERENCES topics,
    partition INTEGER NOT NULL,
    first_offset INTEGER NOT NULL DEFAULT 0,
    next_offset INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,  -- sum over its records
    UNIQUE (topic, partition)
);
CREATE TABLE records (
    id INTEGER PRIMARY KEY,  -- see record_id
    timestamp_ns INTEGER NOT NULL,
    bytes INTEGER NOT NULL,  -- of key, value and headers
    key TEXT NOT NULL,
    headers BLOB NOT NULL,  -- msgpack; before the value, so that reading them does not walk over it
    value BLOB NOT NULL
);
CREATE TABLE members (  -- of consumer groups
    id TEXT PRIMARY KEY,
    "group" TEXT NOT NULL,
    topic TEXT NOT NULL,
    presence TEXT NOT NULL,
    polled_ns INTEGER NOT NULL  -- monotonic
) WITHOUT ROWID;
CREATE TABLE claims (  -- a group's place in each partition, and which member may move it
    "group" TEXT NOT NULL,
    partition_id INTEGER NOT NULL REFERENCES partitions,
    committed INTEGER NOT NULL,
    owner TEXT,
    generation INTEGER NOT NULL DEFAULT 0,  -- counts the changes of owner
    PRIMARY KEY ("group", partition_id)
) WITHOUT ROWID;
CREATE TABLE states (
    store TEXT NOT NULL,
    partition INTEGER NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (store, partition, key)
);
CREATE TABLE writers (
    name TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL
) WITHOUT ROWID;
"""


def record_id(partition_id: int, offset: int) -> int:
    """Where a record lies: one key for both, so that a partition is one run of the table."""
    return partition_id << OFFSET_BITS | offset


def offset_of(record: int) -> int:
    """The offset that `record_id` put into an id."""
    return record & (1 << OFFSET_BITS) - 1


def prepare(db: sqlite3.Connection, path: Path) -> None:
    """Create the tables in an empty file, or check that the file is a log of this version.

    Called by one process at a time, outside of a transaction.

    Raises:
        LogError: the database is not a log, or one of another version.
    """
    if db.execute("PRAGMA page_count").fetchone() == (0,):
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # so that the file can shrink after a backlog
        db.execute("PRAGMA journal_mode = WAL")
    found: tuple[int] = db.execute("PRAGMA application_id").fetchone()
    version: tuple[int] = db.execute("PRAGMA user_version").fetchone()
    if found == (0,) and db.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,):
        db.executescript(f"""BEGIN IMMEDIATE; {_TABLES}
            PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT""")
    elif found != (APPLICATION_ID,):
        message = f"log {path}: is another program's SQLite database"
        raise LogError(message)
    elif version != (SCHEMA_VERSION,):
        message = f"log {path}: has schema version {version[0]}; this Lookout reads version {SCHEMA_VERSION}"
        raise LogError(message)


def topic_limits(db: sqlite3.Connection, path: Path, topic: str) -> tuple[int, int]:
    """How many partitions `topic` has, and how many bytes its largest record may have.

    Raises:
        LogError: the topic does not exist.
    """
    limits: tuple[int, int] | None = db.execute(
        "SELECT partitions, max_record_bytes FROM topics WHERE name = ?", (topic,)).fetchone()
    if limits is None:
        message = f"log {path}: there is no topic {topic!r}"
        raise LogError(message)
    return limits


def partition_end(db: sqlite3.Connection, path: Path, topic: str, partition: int) -> tuple[int, int]:
    """The id of a partition and the offset its next record gets.

    Raises:
        LogError: the topic or its partition does not exist.
    """
    found: tuple[int, int] | None = db.execute(
        "SELECT id, next_offset FROM partitions WHERE topic = ? AND partition = ?", (topic, partition)).fetchone()
    if found is None:
        message = f"log {path}: there is no partition {partition} of topic {topic!r}"
        raise LogError(message)
    return found
