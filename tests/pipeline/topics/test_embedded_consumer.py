"""Waking up when something was committed, and fair shares between partitions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.errors import LogError
from pipeline.topics import embedded_database
from pipeline.topics.embedded_log import EmbeddedLog
from pipeline.topics.fair_shares import fair_shares
from tests.pipeline.topics.embedded import OTHER_KEY, TOPIC, Child, append

LONG_S = 40.0  # how long a poll takes that is not woken
SOON_S = LONG_S / 2


@given(st.dictionaries(st.integers(0, 20), st.integers(1, 50), max_size=8), st.integers(0, 60), st.integers(0, 9))
def test_fair_shares(waiting: dict[int, int], places: int, turn: int) -> None:
    shares = fair_shares(waiting, places, turn)
    assert sum(shares.values()) == min(places, sum(waiting.values()))
    assert all(0 < share <= waiting[partition] for partition, share in shares.items())
    unsatisfied = [shares.get(partition, 0) for partition in waiting if shares.get(partition, 0) < waiting[partition]]
    assert not unsatisfied or max(shares.values(), default=0) - min(unsatisfied) <= 1


@given(st.dictionaries(st.integers(0, 20), st.integers(1, 50), min_size=1, max_size=8), st.integers(0, 9))
def test_everybodys_turn_comes(waiting: dict[int, int], turn: int) -> None:
    turns = range(turn, turn + len(waiting))
    assert {next(iter(fair_shares(waiting, 1, turn))) for turn in turns} == set(waiting)


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[EmbeddedLog]:
    """A log whose consumers have nothing else to wake up for."""
    with closing(EmbeddedLog(tmp_path, session_timeout_s=10 * LONG_S)) as log:
        log.ensure([TOPIC])
        yield log


def longest_poll_s(log: EmbeddedLog, append_one: Callable[[], object], groups: int) -> float:
    """How long the slowest of several waiting threads took to get the record that is appended meanwhile."""
    took_s: list[float] = []
    ready = threading.Barrier(groups + 1)

    def wait_for_one(group: str) -> None:
        with closing(log.consumer(group, "in")) as consumer:
            consumer.poll(1, 0)
            ready.wait()
            start_s = time.monotonic()
            assert len(consumer.poll(1, LONG_S)) == 1
            took_s.append(time.monotonic() - start_s)

    threads = [threading.Thread(target=wait_for_one, args=(f"group{number}",)) for number in range(groups)]
    for thread in threads:
        thread.start()
    ready.wait()
    append_one()
    for thread in threads:
        thread.join()
    assert len(took_s) == groups
    return max(took_s)


def test_a_commit_of_the_process_wakes_everybody(patient: EmbeddedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_database, "OTHER_PROCESS_POLL_S", LONG_S)
    assert longest_poll_s(patient, lambda: append(patient, "in", 1), groups=3) < SOON_S


def test_a_commit_of_another_process_wakes_everybody(patient: EmbeddedLog, tmp_path: Path) -> None:
    child = Child(tmp_path, """if True:
        sys.stdin.readline()
        append(log, "in", 1)""")
    assert longest_poll_s(patient, lambda: child.finish("go\n"), groups=3) < SOON_S


def test_when_the_thread_that_looks_for_others_goes_another_one_does(patient: EmbeddedLog, tmp_path: Path) -> None:
    looking = threading.Thread(target=patient.consumer("looking", "in").poll, args=(1, 0.3))

    def append_elsewhere() -> None:
        looking.join()
        with closing(EmbeddedLog(tmp_path)) as other:
            append(other, "in", 1)

    looking.start()
    assert longest_poll_s(patient, append_elsewhere, groups=2) < SOON_S


def test_closing_the_log_ends_a_poll(patient: EmbeddedLog) -> None:
    consumer = patient.consumer("group", "in")
    polling = threading.Event()
    errors: list[LogError] = []

    def poll() -> None:
        consumer.poll(1, 0)
        polling.set()
        try:
            consumer.poll(1, LONG_S)
        except LogError as error:
            errors.append(error)

    thread = threading.Thread(target=poll)
    thread.start()
    polling.wait()
    patient.close()
    thread.join(SOON_S)
    assert "closed" in str(*errors)


def test_a_partition_with_much_and_one_with_little_share_a_poll(log: EmbeddedLog) -> None:
    append(log, "in", 50)
    append(log, "in", 2, key=OTHER_KEY)
    messages = log.consumer("group", "in").poll(10, 0)
    assert sum(message.key == OTHER_KEY for message in messages) == 2
    assert len(messages) == 10


def test_lag_is_exact(log: EmbeddedLog) -> None:
    append(log, "in", 10)
    consumer = log.consumer("group", "in")
    messages = consumer.poll(7, 0)
    with log.transaction("reader") as tx:
        tx.commit(consumer, {messages[-1].partition: messages[-1].offset + 1})
    assert sorted(log.lag("group", "in").values()) == [0, 3]
