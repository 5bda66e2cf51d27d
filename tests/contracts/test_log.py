"""The contract of pipeline/topics/base.py, against every log in LOGS: topics, transactions, writers, state.

Nothing here asks for offsets without gaps or for a rebalance at once, so that Kafka can pass too.
What the embedded log alone promises is in tests/pipeline/topics/.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

import pytest

from operators.errors import Fenced, LogError, RecordTooLarge, SettingsError
from pipeline.topics.base import Log, Message, TopicSettings, partition_of
from tests.contracts.conftest import Child
from tests.contracts.logs import append, everything, key_in, poll_until, values

OpenLog = Callable[[], Log]
Start = Callable[..., Child]


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

    def test_together_records_may_be_larger_than_the_largest_may_be(self, log: Log) -> None:
        records = [b"%d" % number * 9_000 for number in range(10)]
        append(log, "small", [("cam", record) for record in records])
        assert values(everything(log, "small")) == records

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

    def test_a_lost_name_is_taken_anew_once_it_is_released(self, log: Log, open_log: OpenLog) -> None:
        append(log, "in", [("cam", b"old")], writer="capture-0")
        newer = open_log()
        append(newer, "in", [("cam", b"new")], writer="capture-0")
        log.release("capture-0")
        append(log, "in", [("cam", b"again")], writer="capture-0")
        with pytest.raises(Fenced, match="capture-0"):
            append(newer, "in", [("cam", b"zombie")], writer="capture-0")
        assert values(everything(log, "in")) == [b"old", b"new", b"again"]

    def test_releasing_a_name_that_is_not_held_is_nothing(self, log: Log) -> None:
        log.release("capture-0")

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
