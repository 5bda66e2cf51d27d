"""The contract of pipeline/topics/base.py, sentence by sentence, against every log in LOGS.

Nothing here asks for offsets without gaps or for a rebalance at once, so that Kafka can pass too.
What the embedded log alone promises is in tests/pipeline/topics/.
"""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from operators.errors import Fenced, LogError, RecordTooLarge, SettingsError
from pipeline.topics.base import Log, Message, TopicSettings, partition_of
from tests.contracts.conftest import Child
from tests.contracts.logs import PATIENCE_S, commit_all, everything, key_in, poll_until

OpenLog = Callable[[], Log]
Start = Callable[..., Child]


def append(log: Log, topic: str, records: Sequence[tuple[str, bytes]], writer: str = "writer") -> None:
    with log.transaction(writer) as tx:
        for key, value in records:
            tx.append(topic, key, value)


def values(messages: Sequence[Message]) -> list[bytes]:
    return [message.value for message in messages]


def followed(told: Sequence[tuple[str, frozenset[int]]]) -> set[int]:
    """What one must own who was told of these moves."""
    owned: set[int] = set()
    for what, partitions in told:
        assert owned.isdisjoint(partitions) if what == "gained" else owned >= partitions
        owned ^= partitions
    return owned


class TestTopics:
    def test_they_are_created_once_and_then_taken_as_they_are(self, log: Log, open_log: OpenLog) -> None:
        append(log, "in", [("cam", b"kept")])
        other = open_log()
        other.ensure([TopicSettings(name="in", partitions=4), TopicSettings(name="new", partitions=3)])
        assert other.partitions("in") == 4
        assert log.partitions("new") == 3
        assert values(everything(other, "in")) == [b"kept"]

    def test_another_number_of_partitions_is_refused(self, log: Log) -> None:
        with pytest.raises(SettingsError, match=r"in\b.*4.*5"):
            log.ensure([TopicSettings(name="in", partitions=5)])
        assert log.partitions("in") == 4

    def test_new_limits_are_taken(self, log: Log) -> None:
        log.ensure([TopicSettings(name="small", partitions=2, max_record_bytes=20_000)])
        append(log, "small", [("cam", b"x" * 15_000)])

    def test_an_unknown_topic_is_an_error(self, log: Log) -> None:
        with pytest.raises(LogError, match="nowhere"), log.transaction("writer") as tx:
            tx.append("nowhere", "cam", b"")
        with pytest.raises(LogError, match="nowhere"):
            log.consumer("group", "nowhere")
        with pytest.raises(LogError, match="nowhere"):
            log.partitions("nowhere")

    def test_ends_say_what_is_kept_and_what_comes(self, log: Log) -> None:
        before = log.ends("in")
        assert set(before) == {0, 1, 2, 3}
        assert all(first == following for first, following in before.values())
        append(log, "in", [(key_in(2, 4), b"a"), (key_in(2, 4), b"b")])
        after = log.ends("in")
        assert after[2][0] == before[2][0]
        assert after[2][1] >= before[2][1] + 2
        assert {partition: after[partition] for partition in (0, 1, 3)} == {
            partition: before[partition] for partition in (0, 1, 3)}


class TestRecords:
    def test_a_record_comes_back_as_it_went(self, log: Log) -> None:
        value, headers = bytes(range(256)) * 600, {"type": b"\x00\xff", "empty": b""}
        before_ns = time.time_ns()
        with log.transaction("writer") as tx:
            tx.append("in", "café", value, headers)
        [message] = everything(log, "in")
        assert (message.topic, message.key, message.value) == ("in", "café", value)
        assert dict(message.headers) == headers
        assert message.partition == partition_of("café", 4)
        assert before_ns - 10**9 <= message.timestamp_ns <= time.time_ns() + 10**9

    def test_headers_are_optional_and_a_value_may_be_empty(self, log: Log) -> None:
        append(log, "in", [("cam", b"")])
        [message] = everything(log, "in")
        assert message.value == b""
        assert dict(message.headers) == {}

    def test_one_key_lies_in_one_partition_in_order(self, log: Log) -> None:
        for number in range(20):
            append(log, "in", [(f"cam{camera}", b"%d" % number) for camera in range(10)])
        by_key = defaultdict(list)
        for message in everything(log, "in"):
            assert message.partition == partition_of(message.key, 4)
            by_key[message.key].append(message)
        assert len(by_key) == 10
        for messages in by_key.values():
            assert values(messages) == [b"%d" % number for number in range(20)]
            offsets = [message.offset for message in messages]
            assert offsets == sorted(set(offsets))

    def test_a_range_is_read_from_start_up_to_stop(self, log: Log) -> None:
        append(log, "in", [("cam", b"%d" % number) for number in range(50)])
        partition = partition_of("cam", 4)
        messages = everything(log, "in")
        start, stop = messages[7].offset, messages[41].offset
        assert values(list(log.read("in", partition, start, stop))) == [b"%d" % number for number in range(7, 41)]
        assert list(log.read("in", partition, stop, start)) == []
        assert values(list(log.read("in", partition, 0, 10**9))) == [b"%d" % number for number in range(50)]

    def test_too_large_a_record_is_refused_and_named(self, log: Log) -> None:
        append(log, "small", [("cam", b"x" * 9_000)])
        with pytest.raises(RecordTooLarge, match=r"small.*cam.*20\d\d\d"), log.transaction("writer") as tx:
            tx.append("small", "cam", b"y")
            tx.append("small", "cam", b"x" * 20_000)
        assert values(everything(log, "small")) == [b"x" * 9_000]

    def test_a_refused_record_does_not_spoil_its_transaction(self, log: Log) -> None:
        with log.transaction("writer") as tx:
            with pytest.raises(RecordTooLarge):
                tx.append("small", "cam", b"x" * 20_000)
            tx.append("small", "cam", b"fits")
        assert values(everything(log, "small")) == [b"fits"]


class TestTransactions:
    def test_all_of_it_is_there_at_once(self, log: Log, open_log: OpenLog) -> None:
        append(log, "in", [("cam", b"1")])
        consumer, other = log.consumer("group", "in"), open_log()
        messages: list[Message] = []
        poll_until(lambda: bool(messages), [consumer], messages)
        partition = messages[0].partition
        with log.transaction("writer") as tx:
            tx.append("out", "cam", b"a")
            tx.append("small", "cam", b"b")
            tx.put_state("stage", partition, "cam", b"c")
            tx.commit(consumer, {partition: messages[0].offset + 1})
            assert everything(other, "out") == everything(other, "small") == []
            assert other.state("stage", partition) == {}
            assert consumer.committed(partition) == messages[0].offset
        assert values(everything(other, "out")) == [b"a"]
        assert values(everything(other, "small")) == [b"b"]
        assert other.state("stage", partition) == {"cam": b"c"}
        assert consumer.committed(partition) == messages[0].offset + 1

    def test_an_exception_leaves_nothing(self, log: Log) -> None:
        append(log, "in", [("cam", b"1")])
        consumer = log.consumer("group", "in")
        messages: list[Message] = []
        poll_until(lambda: bool(messages), [consumer], messages)
        with pytest.raises(ZeroDivisionError), log.transaction("writer") as tx:
            tx.append("out", "cam", b"a")
            tx.put_state("stage", 0, "cam", b"c")
            tx.commit(consumer, {messages[0].partition: messages[0].offset + 1})
            raise ZeroDivisionError
        assert everything(log, "out") == []
        assert log.state("stage", 0) == {}
        assert consumer.committed(messages[0].partition) == messages[0].offset
        append(log, "out", [("cam", b"next")])
        assert values(everything(log, "out")) == [b"next"]

    def test_an_empty_one_does_nothing(self, log: Log) -> None:
        with log.transaction("writer"):
            pass
        assert everything(log, "in") == []

    def test_a_consumer_never_gets_what_was_aborted(self, log: Log) -> None:
        consumer = log.consumer("group", "in")
        for number in range(6):
            try:
                with log.transaction("writer") as tx:
                    tx.append("in", "cam", b"%d" % number)
                    if number % 2:
                        raise ZeroDivisionError
            except ZeroDivisionError:
                pass
        got: list[Message] = []
        poll_until(lambda: b"4" in values(got), [consumer], got)
        assert values(got) == [b"0", b"2", b"4"]

    def test_one_that_is_over_takes_nothing_more(self, log: Log) -> None:
        with log.transaction("writer") as tx:
            tx.append("in", "cam", b"1")
        with pytest.raises(LogError, match="over"):
            tx.append("in", "cam", b"2")
        assert values(everything(log, "in")) == [b"1"]

    def test_a_process_killed_inside_one_leaves_nothing(self, log: Log, start: Start, open_log: OpenLog) -> None:
        append(log, "in", [("cam", b"1")])
        child = start("inside", "stage-0", "cam")
        assert child.line() == "inside"
        child.kill()
        append(log, "out", [("cam", b"after")], writer="stage-0")  # its successor
        assert values(everything(log, "out")) == [b"after"]
        assert all(log.state("stage", partition) == {} for partition in range(4))
        consumer = log.consumer("group", "in")
        got: list[Message] = []
        poll_until(lambda: bool(got), [consumer], got)
        assert values(got) == [b"1"]

    def test_a_process_killed_right_after_one_loses_nothing(self, log: Log, start: Start) -> None:
        for number in range(5):
            child = start("after", "stage-0", f"cam{number}")
            assert child.line() == "after"
            child.kill()
            assert len(everything(log, "out")) == number + 1
            assert log.state("stage", 0)[f"cam{number}"] == b"kept"


class TestWriters:
    def test_a_newer_process_fences_an_older_one(self, log: Log, open_log: OpenLog) -> None:
        append(log, "in", [("cam", b"old")], writer="capture-0")
        newer = open_log()
        append(newer, "in", [("cam", b"new")], writer="capture-0")
        with pytest.raises(Fenced, match="capture-0"):
            append(log, "in", [("cam", b"zombie")], writer="capture-0")
        assert values(everything(log, "in")) == [b"old", b"new"]
        append(newer, "in", [("cam", b"newer")], writer="capture-0")

    def test_it_is_fenced_in_the_middle_too(self, log: Log, open_log: OpenLog) -> None:
        newer = open_log()
        with pytest.raises(Fenced), log.transaction("capture-0") as tx:
            tx.append("in", "cam", b"zombie")
            append(newer, "in", [("cam", b"new")], writer="capture-0")
        assert values(everything(log, "in")) == [b"new"]

    def test_other_names_are_left_alone(self, log: Log, open_log: OpenLog) -> None:
        append(log, "in", [("cam", b"1")], writer="capture-0")
        append(open_log(), "in", [("cam", b"2")], writer="capture-1")
        append(log, "in", [("cam", b"3")], writer="capture-0")
        assert values(everything(log, "in")) == [b"1", b"2", b"3"]


class TestState:
    def test_the_last_write_wins(self, log: Log, open_log: OpenLog) -> None:
        with log.transaction("writer") as tx:
            tx.put_state("stage", 1, "cam", b"0")
            tx.put_state("stage", 1, "cam", b"1")
        assert log.state("stage", 1) == {"cam": b"1"}
        with log.transaction("writer") as tx:
            tx.put_state("stage", 1, "cam", b"2" * 100_000)
            tx.put_state("stage", 1, "other", b"")
        assert open_log().state("stage", 1) == {"cam": b"2" * 100_000, "other": b""}

    def test_none_deletes(self, log: Log) -> None:
        with log.transaction("writer") as tx:
            tx.put_state("stage", 1, "cam", b"1")
            tx.put_state("stage", 1, "other", b"1")
        with log.transaction("writer") as tx:
            tx.put_state("stage", 1, "cam", None)
            tx.put_state("stage", 1, "never", None)
        assert log.state("stage", 1) == {"other": b"1"}

    def test_stores_and_partitions_are_apart(self, log: Log) -> None:
        with log.transaction("writer") as tx:
            tx.put_state("one", 0, "cam", b"a")
            tx.put_state("one", 1, "cam", b"b")
            tx.put_state("two", 0, "cam", b"c")
        assert [log.state(*at)["cam"] for at in (("one", 0), ("one", 1), ("two", 0))] == [b"a", b"b", b"c"]
        assert log.state("two", 1) == {}


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
            self.wait_for(lambda kill=kill: self.copied(log) >= 100 * kill)  # type: ignore[misc]
            victim = relays.pop(chance.randrange(len(relays)))
            victim.kill()
            relays.append(start("relay", "relay"))
            assert relays[-1].line() == "ready"
        for producer in producers:
            assert producer.line() == "produced"
            producer.finish()
        self.wait_for(lambda: self.copied(log) >= 900)
        self.wait_for(lambda: all(lag <= 1 for lag in log.lag("relay", "in").values()))
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

    @staticmethod
    def wait_for(done: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + 2 * PATIENCE_S
        while not done():
            assert time.monotonic() < deadline_s, "the log never got there"
            time.sleep(0.02)
