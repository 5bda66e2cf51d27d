"""The contract of pipeline/topics/base.py, against every log in LOGS: polling, and groups of processes.

As in test_log.py, nothing here asks for more than Kafka can give.
"""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from operators.errors import Fenced
from pipeline.topics.base import Log, Message, partition_of
from tests.contracts.conftest import Child
from tests.contracts.logs import PATIENCE_S, append, commit_all, everything, key_in, poll_until, values
from tests.waiting import until

OpenLog = Callable[[], Log]
Start = Callable[..., Child]


def followed(told: Sequence[tuple[str, frozenset[int]]]) -> set[int]:
    """What one must own who was told of these moves."""
    owned: set[int] = set()
    for what, partitions in told:
        assert owned.isdisjoint(partitions) if what == "gained" else owned >= partitions
        owned ^= partitions
    return owned


class TestPolling:
    def test_a_new_group_starts_at_the_first_kept_record(self, log: Log) -> None:
        append(log, "in", [("cam", b"%d" % number) for number in range(30)])
        consumer = log.consumer("group", "in")
        got: list[Message] = []
        poll_until(lambda: len(got) >= 30, [consumer], got)
        assert values(got) == [b"%d" % number for number in range(30)]
        assert consumer.committed(partition_of("cam", 4)) == got[0].offset

    def test_it_returns_at_most_max_records(self, log: Log) -> None:
        append(log, "in", [(f"cam{number % 7}", b"") for number in range(50)])
        consumer = log.consumer("group", "in")
        poll_until(lambda: len(consumer.assignment) == 4, [consumer])
        consumer.seek_to_committed()
        got = 0
        while got < 50:
            messages = consumer.poll(8, PATIENCE_S)
            assert 1 <= len(messages) <= 8
            got += len(messages)

    def test_it_stops_after_the_record_that_reaches_max_bytes(self, log: Log) -> None:
        append(log, "in", [("cam", b"x" * 40_000) for _ in range(10)])
        consumer = log.consumer("group", "in")
        assert sum(len(message.value) for message in consumer.poll(100, PATIENCE_S, max_bytes=100_000)) == 120_000
        assert len(consumer.poll(100, PATIENCE_S, max_bytes=1)) == 1

    def test_it_waits_for_the_first_record_no_longer_than_told(self, log: Log) -> None:
        consumer = log.consumer("group", "in")
        poll_until(lambda: len(consumer.assignment) == 4, [consumer])
        start_s = time.monotonic()
        assert consumer.poll(10, 0.3) == []
        assert time.monotonic() - start_s >= 0.3

    def test_a_busy_partition_starves_no_other(self, log: Log) -> None:
        append(log, "in", [(key_in(0, 4), b"busy") for _ in range(2_000)])
        append(log, "in", [(key_in(partition, 4), b"quiet") for partition in (1, 2, 3)])
        consumer = log.consumer("group", "in")
        got: list[Message] = []
        while Counter(values(got))[b"quiet"] < 3:
            got += consumer.poll(10, PATIENCE_S)
        assert len(got) <= 1_000

    def test_the_busiest_starve_no_other_even_one_by_one(self, log: Log) -> None:
        append(log, "in", [(key_in(partition, 4), b"") for partition in range(4) for _ in range(200)])
        consumer = log.consumer("group", "in")
        poll_until(lambda: len(consumer.assignment) == 4, [consumer])
        consumer.seek_to_committed()
        seen: set[int] = set()
        for _ in range(400):
            seen |= {message.partition for message in consumer.poll(1, PATIENCE_S)}
        assert seen == {0, 1, 2, 3}

    def test_a_batch_is_filled_where_there_is_enough(self, log: Log) -> None:
        append(log, "in", [(key_in(0, 4), b"") for _ in range(100)] + [(key_in(1, 4), b"")])
        consumer = log.consumer("group", "in")
        poll_until(lambda: len(consumer.assignment) == 4, [consumer])
        consumer.seek_to_committed()
        assert len(consumer.poll(40, PATIENCE_S)) == 40

    def test_seek_to_committed_forgets_what_was_polled(self, log: Log) -> None:
        append(log, "in", [("cam", b"%d" % number) for number in range(10)])
        consumer = log.consumer("group", "in")
        got: list[Message] = []
        poll_until(lambda: len(got) >= 10, [consumer], got)
        commit_all(log, consumer, got[:4])
        consumer.seek_to_committed()
        again: list[Message] = []
        poll_until(lambda: len(again) >= 6, [consumer], again)
        assert again == got[4:]

    def test_lag_counts_what_is_not_committed(self, log: Log) -> None:
        key, partition = key_in(2, 4), 2
        append(log, "in", [(key, b"%d" % number) for number in range(10)])
        assert log.lag("never joined", "in")[partition] >= 10
        consumer = log.consumer("group", "in")
        got: list[Message] = []
        poll_until(lambda: len(got) >= 10, [consumer], got)
        assert log.lag("group", "in")[partition] >= 10
        commit_all(log, consumer, got[:7])
        assert 3 <= log.lag("group", "in")[partition] <= 4  # a log may put a mark at the transaction's end
        commit_all(log, consumer, got)
        lag = log.lag("group", "in")
        assert lag[partition] <= 1
        assert all(lag[other] == 0 for other in (0, 1, 3))


class TestGroups:
    def test_members_share_the_partitions(self, log: Log, open_log: OpenLog) -> None:
        consumers = [log.consumer("group", "in"), open_log().consumer("group", "in")]
        poll_until(lambda: sorted(len(consumer.assignment) for consumer in consumers) == [2, 2], consumers)
        assert consumers[0].assignment | consumers[1].assignment == {0, 1, 2, 3}
        append(log, "in", [(key_in(partition, 4), b"%d" % partition) for partition in range(4)])
        got: list[Message] = []
        poll_until(lambda: len(got) >= 4, consumers, got)
        assert sorted(values(got)) == [b"0", b"1", b"2", b"3"]

    def test_more_members_than_partitions_wait(self, log: Log) -> None:
        consumers = [log.consumer("group", "small") for _ in range(3)]
        poll_until(lambda: sorted(len(consumer.assignment) for consumer in consumers) == [0, 1, 1], consumers)

    def test_groups_read_on_their_own(self, log: Log) -> None:
        consumers = {name: log.consumer(name, "in") for name in ("one", "two")}
        append(log, "in", [("cam", b"1")])
        for name, consumer in consumers.items():
            got: list[Message] = []
            poll_until(lambda got=got: bool(got), [consumer], got)  # type: ignore[misc]
            assert values(got) == [b"1"], name
        commit_all(log, consumers["one"], got)
        partition = partition_of("cam", 4)
        assert consumers["one"].committed(partition) != consumers["two"].committed(partition)

    def test_one_that_leaves_is_replaced_at_its_committed_offsets(self, log: Log, open_log: OpenLog) -> None:
        append(log, "in", [(key_in(partition, 4), b"%d" % number) for partition in range(4) for number in range(5)])
        leaving, got = log.consumer("group", "in"), list[Message]()
        poll_until(lambda: len(got) >= 20, [leaving], got)
        done = [message for message in got if message.value in (b"0", b"1")]
        commit_all(log, leaving, done)
        leaving.close()
        staying, rest = open_log().consumer("group", "in"), list[Message]()
        poll_until(lambda: len(rest) >= 12, [staying], rest)
        assert staying.assignment == {0, 1, 2, 3}
        assert sorted(values(rest)) == sorted([b"2", b"3", b"4"] * 4)

    def test_a_killed_member_is_replaced(self, log: Log, start: Start) -> None:
        append(log, "in", [(key_in(partition, 4), b"%d" % partition) for partition in range(4)])
        child = start("member", "group")
        child.line()
        child.kill()
        survivor, got = log.consumer("group", "in"), list[Message]()
        poll_until(lambda: len(got) >= 4, [survivor], got)
        assert survivor.assignment == {0, 1, 2, 3}
        assert sorted(values(got)) == [b"0", b"1", b"2", b"3"]

    def test_a_member_that_stops_polling_is_replaced_and_fenced(self, log: Log, start: Start) -> None:
        append(log, "in", [(key_in(partition, 4), b"%d" % partition) for partition in range(4)])
        hung = start("member", "group")
        hung.line()
        survivor, got = log.consumer("group", "in"), list[Message]()
        poll_until(lambda: len(got) >= 4, [survivor], got)
        assert survivor.assignment == {0, 1, 2, 3}
        said, _ = hung.process.communicate("go on\n", timeout=PATIENCE_S)
        assert said.strip() == "fenced"
        assert all(survivor.committed(message.partition) == message.offset for message in got)
        commit_all(log, survivor, got)

    def test_a_fenced_transaction_leaves_nothing(self, log: Log, open_log: OpenLog) -> None:
        append(log, "in", [(key_in(partition, 4), b"") for partition in range(4)])
        zombie, got = log.consumer("group", "in"), list[Message]()
        poll_until(lambda: len(got) >= 4, [zombie], got)
        rival, again = open_log().consumer("group", "in"), list[Message]()
        poll_until(lambda: bool(rival.assignment), [rival], again)
        with pytest.raises(Fenced, match="group"), log.transaction("zombie") as tx:
            tx.append("out", "cam", b"zombie")
            tx.put_state("stage", 0, "cam", b"zombie")
            tx.commit(zombie, {message.partition: message.offset + 1 for message in got})
        assert everything(log, "out") == []
        assert log.state("stage", 0) == {}
        assert all(rival.committed(message.partition) == message.offset for message in got)
        zombie.seek_to_committed()
        poll_until(lambda: len(again) >= 4, [zombie, rival], again)
        assert {message.partition for message in again} == {0, 1, 2, 3}

    def test_a_partition_not_owned_is_fenced_at_once(self, log: Log, open_log: OpenLog) -> None:
        consumers = [log.consumer("group", "in"), open_log().consumer("group", "in")]
        poll_until(lambda: sorted(len(consumer.assignment) for consumer in consumers) == [2, 2], consumers)
        [foreign, *_] = consumers[1].assignment
        with log.transaction("writer") as tx, pytest.raises(Fenced):
            tx.commit(consumers[0], {foreign: 1})

    def test_poll_tells_what_was_lost_and_gained(self, log: Log, open_log: OpenLog) -> None:
        told: list[tuple[str, frozenset[int]]] = []
        first = log.consumer("group", "in", on_assigned=lambda gained: told.append(("gained", gained)),
                             on_revoked=lambda lost: told.append(("lost", lost)))
        assert told == []
        poll_until(lambda: len(first.assignment) == 4, [first])
        assert followed(told) == {0, 1, 2, 3}
        second = open_log().consumer("group", "in")
        poll_until(lambda: len(first.assignment) == len(second.assignment) == 2, [first, second])
        assert ("lost", second.assignment) in told
        assert followed(told) == first.assignment
        second.close()
        poll_until(lambda: len(first.assignment) == 4, [first])
        assert followed(told) == {0, 1, 2, 3}

    def test_partitions_are_assigned_before_their_records_come(self, log: Log) -> None:
        append(log, "in", [(f"cam{number}", b"") for number in range(20)])
        ready: set[int] = set()
        consumer = log.consumer("group", "in", on_assigned=ready.update, on_revoked=ready.difference_update)
        got: list[Message] = []
        deadline_s = time.monotonic() + PATIENCE_S
        while len(got) < 20 and time.monotonic() < deadline_s:
            messages = consumer.poll(3, 0.1)
            assert {message.partition for message in messages} <= ready == consumer.assignment
            got += messages
        assert len(got) == 20

    def test_what_fails_on_assigned_is_told_again(self, log: Log) -> None:
        calls: list[frozenset[int]] = []

        def restore(gained: frozenset[int]) -> None:
            calls.append(gained)
            if len(calls) == 1:
                raise ZeroDivisionError

        consumer = log.consumer("group", "in", on_assigned=restore)
        with pytest.raises(ZeroDivisionError):
            poll_until(lambda: bool(consumer.assignment), [consumer])
        poll_until(lambda: len(consumer.assignment) == 4, [consumer])
        assert frozenset[int]().union(*calls[1:]) == {0, 1, 2, 3}


class TestManyProcesses:
    def test_nothing_is_lost_or_doubled_while_members_come_and_are_killed(self, log: Log, start: Start) -> None:
        chance = random.Random(7)  # noqa: S311
        relays = [start("relay", "relay") for _ in range(2)]
        producers = [start("produce", f"producer{number}", "150") for number in range(2)]
        for relay in relays:
            assert relay.line() == "ready"
        for kill in range(6):
            until(lambda kill=kill: self.copied(log) >= 100 * kill, 2 * PATIENCE_S)  # type: ignore[misc]
            victim = relays.pop(chance.randrange(len(relays)))
            victim.kill()
            relays.append(start("relay", "relay"))
            assert relays[-1].line() == "ready"
        for producer in producers:
            assert producer.line() == "produced"
            producer.finish()
        until(lambda: len(everything(log, "out")) >= 900, 2 * PATIENCE_S)
        for relay in relays:
            relay.finish()

        copied = everything(log, "out")
        assert len(copied) == 900
        by_key: dict[str, list[Any]] = defaultdict(list)
        for message in copied:
            by_key[message.key].append(int(message.value))
            assert message.headers["by"].decode() == message.key.rpartition("-")[0]
        assert len(by_key) == 6
        assert all(numbers == list(range(150)) for numbers in by_key.values())
        counted = Counter(message.partition for message in everything(log, "in"))
        assert {partition: int(log.state("relay", partition)["count"]) for partition in counted} == dict(counted)

    @staticmethod
    def copied(log: Log) -> int:
        return sum(end - first for first, end in log.ends("out").values())
