"""The spool: in order, bounded, across restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cluster.spool import Spool

HEADERS = {"type": b"segment", "empty": b""}


def put(spool: Spool, *values: bytes) -> int:
    return sum(spool.put(value, HEADERS) for value in values)


def everything(spool: Spool) -> list[bytes]:
    return [spooled.value for spooled in spool.take(1000, 2**40)]


def test_it_gives_what_was_put_in_order_until_it_is_dropped(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "gate", 1000)
    assert put(spool, b"a", b"b", b"", b"c") == 0
    taken = spool.take(2, 1000)
    assert [spooled.value for spooled in taken] == [b"a", b"b"]
    assert taken[0].headers == HEADERS
    assert everything(spool) == [b"a", b"b", b"", b"c"]
    assert len(spool.take(10, 2)) == 2  # up to the one that reaches so many bytes
    spool.drop(taken[-1].number)
    assert everything(spool) == [b"", b"c"]
    assert spool.size_bytes == 1
    spool.close()


def test_another_one_goes_on_with_it_and_numbers_never_come_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "gate", 1000)
    put(spool, b"a", b"b")
    [_, last] = spool.take(2, 1000)
    spool.drop(last.number)
    put(spool, b"c")
    again, other = Spool(tmp_path, "gate", 1000), Spool(tmp_path, "yard", 1000)  # the first one was not closed
    [kept] = again.take(10, 1000)
    assert kept.value == b"c"
    assert kept.number > last.number
    assert again.id == spool.id != other.id
    assert everything(other) == []
    again.drop(kept.number)
    again.close()
    third = Spool(tmp_path, "gate", 1000)
    put(third, b"d")
    assert third.take(1, 1)[0].number > kept.number
    for one in (spool, other, third):
        one.close()


def test_beyond_the_bound_the_oldest_go_but_not_those_under_way(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "gate", 30)
    assert put(spool, b"a" * 10, b"b" * 10, b"c" * 10) == 0
    assert put(spool, b"d" * 15) == 2
    assert [value[:1] for value in everything(spool)] == [b"c", b"d"]  # taken: may be in the log already
    assert put(spool, b"e" * 10) == 1  # itself
    assert [value[:1] for value in everything(spool)] == [b"c", b"d"]
    spool.close()


def test_a_damaged_file_is_put_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "gate.sqlite3").write_bytes(b"no database " * 1000)
    spool = Spool(tmp_path, "gate", 1000)
    put(spool, b"a")
    assert everything(spool) == [b"a"]
    assert (tmp_path / "gate.sqlite3.damaged").read_bytes().startswith(b"no database")
    assert "put aside" in caplog.text
    spool.close()
