"""The SQLite file: opened by several at once, refused when it is not ours, sound after every kill."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from operators.errors import LogError, LogUnavailable, SettingsError
from pipeline.topics import embedded_database
from pipeline.topics.embedded_database import FILE_NAME
from pipeline.topics.embedded_log import EmbeddedLog
from pipeline.topics.embedded_presence import opening
from pipeline.topics.embedded_schema import PAGE_BYTES
from tests.pipeline.topics.embedded import PARTITION, TOPIC, Child, append, ends


def test_it_opens_again_with_everything(tmp_path: Path) -> None:
    for number in range(3):
        with closing(EmbeddedLog(tmp_path / "new" / "folder")) as log:
            log.ensure([TOPIC])
            assert ends(log) == (0, number)
            append(log, "in", 1)


def test_several_processes_may_make_it_together(tmp_path: Path) -> None:
    children = [Child(tmp_path, "append(log, 'in', 1, writer=str(os.getpid()))") for _ in range(6)]
    for child in children:
        child.finish()
    with closing(EmbeddedLog(tmp_path)) as log:
        assert ends(log) == (0, 6)


def test_one_opens_it_after_the_other(tmp_path: Path) -> None:
    opened = threading.Thread(target=lambda: EmbeddedLog(tmp_path).close())
    with opening(tmp_path):
        opened.start()
        opened.join(0.2)
        assert not (tmp_path / FILE_NAME).exists()
    opened.join()
    assert (tmp_path / FILE_NAME).exists()


@pytest.mark.parametrize("content", [b"not a database at all" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(LogError, match=FILE_NAME):
        EmbeddedLog(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == content


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        db.execute("CREATE TABLE cookies (a)")
    with pytest.raises(LogError, match=f"{FILE_NAME}.*another program"):
        EmbeddedLog(tmp_path)


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    EmbeddedLog(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(LogError, match=f"{FILE_NAME}.*99.*version 1"):
        EmbeddedLog(tmp_path)


def test_damage_inside_is_told(tmp_path: Path) -> None:
    with closing(EmbeddedLog(tmp_path)) as log:
        log.ensure([TOPIC])
        for _ in range(5):
            append(log, "in", 10, b"x" * 50_000)
    with (tmp_path / FILE_NAME).open("r+b") as file:
        for page in range(1, (tmp_path / FILE_NAME).stat().st_size // PAGE_BYTES):
            file.seek(page * PAGE_BYTES)
            file.write(b"\xff" * 200)
    with pytest.raises(LogError, match=FILE_NAME), closing(EmbeddedLog(tmp_path)) as log:
        list(log.read("in", PARTITION, 0, 100))


def test_headers_that_the_disk_has_changed_spoil_nothing_else(tmp_path: Path, log: EmbeddedLog) -> None:
    append(log, "in", 3, b"value")
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db, db:
        db.execute("UPDATE records SET headers = x'c1'")
    assert [(message.value, message.headers) for message in log.read("in", PARTITION, 0, 9)] == [(b"value", {})] * 3


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"file/log/log\.sqlite3"):
        EmbeddedLog(tmp_path / "file" / "log")


def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    said = Child(tmp_path, """if True:
        denied = folder / "denied"
        denied.mkdir(mode=0o500)
        if os.geteuid() == 0:  # to whom nothing is denied
            os.setuid(65534)
        try:
            EmbeddedLog(denied)
        except SettingsError as error:
            print(error)""").finish()
    assert str(tmp_path / "denied" / FILE_NAME) in said


def test_a_folder_in_the_files_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(SettingsError, match=FILE_NAME):
        EmbeddedLog(tmp_path)


def test_a_full_disk_is_told_and_survived(tmp_path: Path) -> None:
    said = Child(tmp_path, """if True:
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, resource.RLIM_INFINITY))
        count = 0
        try:
            while True:
                append(log, "in", 2, b"x" * 100_000)
                count += 2
        except LogError as error:
            print(type(error).__name__, error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert ends(log) == (0, count)
        append(log, "in", 1, b"after")
        assert [message.value for message in log.read("in", PARTITION, count, count + 9)] == [b"after"]
        log.close()""").finish()
    assert said.startswith(f"LogUnavailable log {tmp_path / FILE_NAME}")


def test_a_lock_that_another_program_holds_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_database, "BUSY_TIMEOUT_S", 0.05)
    with closing(EmbeddedLog(tmp_path)) as log, closing(sqlite3.connect(tmp_path / FILE_NAME)) as other:
        log.ensure([TOPIC])
        append(log, "in", 1)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LogUnavailable, match=f"{FILE_NAME} is busy"):
            append(log, "in", 1)
        other.execute("ROLLBACK")
        append(log, "in", 1)
        assert ends(log) == (0, 2)


def test_a_closed_log_says_so(log: EmbeddedLog) -> None:
    log.close()
    log.close()
    with pytest.raises(LogError, match="closed"):
        log.ends("in")


def test_a_reader_that_pauses_holds_nothing_back(tmp_path: Path, log: EmbeddedLog) -> None:
    append(log, "in", 100)
    reading = log.read("in", PARTITION, 0, 100)
    next(reading)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as other:
        busy, _, _ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert busy == 0
    assert len(list(reading)) == 99


def test_the_write_ahead_log_is_cut_after_a_reader_has_let_it_grow(
        tmp_path: Path, log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    wal = tmp_path / (FILE_NAME + "-wal")
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as reader:
        append(log, "in", 1)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM records").fetchone()
        for _ in range(40):
            append(log, "in", 10, b"x" * 100_000)
    assert wal.stat().st_size > 2 * 2**24
    append(log, "in", 1)
    monkeypatch.setattr(embedded_database, "WAL_BYTES", 2**20)
    append(log, "in", 1)
    assert wal.stat().st_size <= 2**20


def test_a_killed_writer_leaves_whole_transactions_and_a_sound_file(tmp_path: Path) -> None:
    chance = random.Random(3)  # noqa: S311
    for _ in range(20):
        child = Child(tmp_path, """if True:
            from dataclasses import replace
            log.ensure([replace(TOPIC, retention_bytes=2**21)])
            print("ready", flush=True)
            while True:
                with log.transaction("writer") as tx:
                    for key in (KEY, OTHER_KEY, KEY):
                        tx.append("in", key, b"x" * 60_000)
                    count = int(log.state("stage", 0).get("count", b"0"))
                    tx.put_state("stage", 0, "count", b"%d" % (count + 1))""")
        assert child.line() == "ready"
        threading.Event().wait(chance.uniform(0, 0.15))  # the instant of the kill is what is varied
        child.kill()
        with closing(EmbeddedLog(tmp_path)) as log:
            count = int(log.state("stage", 0).get("count", b"0"))
            assert [end for _, end in log.ends("in").values()] == (
                [2 * count, count] if PARTITION == 0 else [count, 2 * count])
    assert count > 20
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_forked_child_is_refused_and_the_parent_goes_on(tmp_path: Path) -> None:
    said = Child(tmp_path, """if True:
        if (child := os.fork()) == 0:
            for attempt in (lambda: log.ends("in"), lambda: EmbeddedLog(folder)):
                try:
                    attempt()
                except LogError as error:
                    print("refused:", error, flush=True)
            log.close()
            del log
            os._exit(0)
        os.waitpid(child, 0)
        append(log, "in", 1)
        assert ends(log) == (0, 1)
        log.close()""").finish()
    assert said.count("refused:") == 2
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_many_threads_share_one_log(log: EmbeddedLog) -> None:
    def work(number: int) -> None:
        for _ in range(20):
            append(log, "in", 1, b"%d" % number, writer=f"writer{number}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [int(message.value) for message in log.read("in", PARTITION, 0, 1000)]
    assert sorted(found) == sorted(list(range(8)) * 20)


def test_ended_threads_leave_no_open_files(log: EmbeddedLog) -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    counts = []
    for _ in range(30):
        thread = threading.Thread(target=log.ends, args=("in",))
        thread.start()
        thread.join()
        counts.append(open_files())
    assert counts[-1] <= counts[3]
