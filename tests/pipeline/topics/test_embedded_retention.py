"""What the embedded log keeps, and that its file neither grows for ever nor stays large."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from operators.clock import ManualClock
from pipeline.topics import embedded_retention
from pipeline.topics.base import Log, TopicSettings
from pipeline.topics.embedded_database import FILE_NAME
from pipeline.topics.embedded_log import EmbeddedLog
from pipeline.topics.embedded_retention import REPLAY_MARGIN, TRIM_EVERY_RECORDS
from tests.pipeline.topics.embedded import KEY, OTHER_KEY, OTHER_PARTITION, PARTITION, append, commit, ends

HOUR_S = 3600.0
VALUE = b"x" * 1000
RECORD_BYTES = len(KEY) + len(VALUE) + 1  # one byte says that there are no headers
SETTLED = 20 * TRIM_EVERY_RECORDS


def limit(log: Log, *, records: int = 10**6, age_s: float = HOUR_S) -> None:
    log.ensure([TopicSettings(name="in", partitions=2, retention_bytes=records * RECORD_BYTES, retention_s=age_s)])


def settle(log: Log) -> None:
    """Append SETTLED records, so that all the looks at what may go are had that were due."""
    for _ in range(SETTLED // TRIM_EVERY_RECORDS):
        append(log, "in", TRIM_EVERY_RECORDS, VALUE)


def test_size(log: EmbeddedLog) -> None:
    limit(log, records=100)
    settle(log)
    first, end = ends(log)
    assert (first, end) == (SETTLED - 100, SETTLED)
    assert [message.offset for message in log.read("in", PARTITION, 0, end)] == list(range(first, end))


def test_age(log: EmbeddedLog, clock: ManualClock) -> None:
    limit(log, age_s=60)
    append(log, "in", 50, b"old")
    clock.sleep(59)
    append(log, "in", 50, b"young")
    clock.sleep(2)
    settle(log)
    assert ends(log)[0] == 50


def test_the_oldest_go_first_whatever_their_partition(log: EmbeddedLog, clock: ManualClock) -> None:
    limit(log, records=200)
    append(log, "in", 100, VALUE, key=OTHER_KEY)
    clock.sleep(1)
    settle(log)
    assert log.ends("in")[OTHER_PARTITION] == (100, 100)


def test_another_topic_is_left_alone(log: EmbeddedLog) -> None:
    append(log, "out", 50, VALUE)
    limit(log, records=10)
    settle(log)
    assert ends(log, "out") == (0, 50)


def test_what_a_group_has_not_committed_stays(log: EmbeddedLog, clock: ManualClock) -> None:
    consumer = log.consumer("slow", "in")
    consumer.poll(1, 0)
    limit(log, records=10, age_s=1)
    clock.sleep(HOUR_S)
    settle(log)
    assert ends(log) == (0, SETTLED)
    assert log.lag("slow", "in")[PARTITION] == SETTLED


def test_it_stays_also_while_the_group_is_away(tmp_path: Path, log: EmbeddedLog) -> None:
    log.consumer("slow", "in").close()
    limit(log, records=10)
    with closing(EmbeddedLog(tmp_path)) as other:
        settle(other)
    assert ends(log) == (0, SETTLED)


def test_some_that_were_committed_stay_for_operators_that_look_back(log: EmbeddedLog) -> None:
    limit(log, records=10)
    consumer = log.consumer("group", "in")
    consumer.poll(1, 0)
    settle(log)
    commit(log, consumer, 600)
    settle(log)
    assert ends(log)[0] == 600 - REPLAY_MARGIN


def test_the_slowest_group_decides(log: EmbeddedLog) -> None:
    limit(log, records=10)
    consumers = [log.consumer(name, "in") for name in ("slow", "fast")]
    settle(log)
    for consumer, offset in zip(consumers, (300, 600), strict=True):
        consumer.poll(1, 0)
        commit(log, consumer, offset)
    settle(log)
    assert ends(log)[0] == 300 - REPLAY_MARGIN


def test_a_group_that_comes_late_starts_at_what_is_kept(log: EmbeddedLog) -> None:
    limit(log, records=100)
    settle(log)
    consumer = log.consumer("late", "in")
    [message] = consumer.poll(1, 0)
    assert message.offset == consumer.committed(PARTITION) == ends(log)[0] == SETTLED - 100
    assert log.lag("late", "in")[PARTITION] == 100


def test_the_file_stops_growing(tmp_path: Path, log: EmbeddedLog) -> None:
    log.ensure([TopicSettings(name="in", partitions=2, retention_bytes=2 * 2**20)])
    sizes = []
    for _ in range(12):
        for _ in range(10):
            append(log, "in", 2, b"x" * 100_000)
        sizes.append((tmp_path / FILE_NAME).stat().st_size)
    assert sizes[-1] <= max(sizes[:6])
    assert sizes[-1] < 2 * (2 * 2**20 + TRIM_EVERY_RECORDS * 100_000)


def test_the_file_shrinks_after_a_backlog(tmp_path: Path, log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_retention, "_FREE_PAGES", 64)  # 1 MiB
    for _ in range(20):
        append(log, "in", 10, b"x" * 100_000)
    log.ensure([TopicSettings(name="in", partitions=2, retention_bytes=2**20)])
    settle(log)
    log.close()
    assert (tmp_path / FILE_NAME).stat().st_size < 4 * 2**20
