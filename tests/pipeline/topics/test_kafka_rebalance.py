"""How a group on Kafka is shared out anew: nobody waits for another's batch, and what the dead leave is bounded."""

from __future__ import annotations

import gc
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import combinations, zip_longest
from pathlib import Path
from signal import SIGSTOP
from typing import IO, cast
from uuid import uuid4

import pytest
from kafka.errors import KafkaTimeoutError
from kafka.structs import MemberState

from operators.clock import SystemClock
from operators.errors import Fenced
from operators.records import Event, Segment
from pipeline import codec
from pipeline.background import Running, in_background
from pipeline.topics.base import Message, TopicSettings
from pipeline.topics.kafka_consumer import KafkaMember
from pipeline.topics.kafka_log import KafkaLog
from pipeline.topics.kafka_settings import KafkaSettings
from pipeline.topology import Lane
from pipeline.watcher import Watcher
from pipeline.workers.worker import Worker
from tests.contracts.logs import PATIENCE_S, append, commit_all, everything, key_in, poll_until, values
from tests.pipeline.topics.kafka_child import SESSION_S, settings_of
from tests.pipeline.workers.test_worker import Summing, segment
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600),
              pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),  # kafka-python's, of those that are gone
              pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

REPOSITORY = Path(__file__).parents[3]
PARTITIONS = 4
LANE = Lane("count", "in", "out", max_records=4)
MAKE_SURE_S = 30.0  # promised: the dead hold nobody up for longer


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What kafka-python left open is collected here, where that is let pass."""
    yield
    gc.collect()


@pytest.fixture
def settings(kafka: str) -> KafkaSettings:
    return settings_of(kafka, f"test-{uuid4().hex}.")


@pytest.fixture
def open_log(settings: KafkaSettings) -> Iterator[Callable[[], KafkaLog]]:
    opened: list[KafkaLog] = []

    def open_one() -> KafkaLog:
        opened.append(KafkaLog(settings))
        return opened[-1]

    yield open_one
    for log in opened:
        log.close()


@pytest.fixture
def log(open_log: Callable[[], KafkaLog]) -> KafkaLog:
    log = open_log()
    log.ensure([TopicSettings(name, partitions=PARTITIONS) for name in ("in", "out", LANE.dead_letters)])
    return log


@pytest.fixture
def start(settings: KafkaSettings) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts another process; returns when it is where it wants to be."""
    processes: list[subprocess.Popen[str]] = []

    def start_one(action: str) -> subprocess.Popen[str]:
        processes.append(subprocess.Popen(
            [sys.executable, "-m", "tests.pipeline.topics.kafka_child", action, *settings.servers, settings.prefix],
            cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert cast(IO[str], processes[-1].stdout).readline() == "there\n"
        return processes[-1]

    yield start_one
    for process in processes:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            cast(IO[str], pipe).close()


def test_a_group_does_not_wait_for_a_batch(log: KafkaLog, open_log: Callable[[], KafkaLog]) -> None:
    append(log, "in", [(key_in(partition, PARTITIONS), b"") for partition in range(PARTITIONS)])
    busy, got = log.consumer("group", "in"), list[Message]()
    poll_until(lambda: len(got) >= PARTITIONS, [busy], got)
    newcomer, again = open_log().consumer("group", "in"), list[Message]()
    poll_until(lambda: len(newcomer.assignment) == PARTITIONS // 2, [newcomer], again)  # and nobody polls the other
    with pytest.raises(Fenced):
        commit_all(log, busy, got, "busy")
    kept = [message for message in got if message.partition not in newcomer.assignment]
    commit_all(log, busy, kept, "busy")  # never lost: the batch was not for nothing
    poll_until(lambda: len(again) >= len(got) - len(kept), [newcomer], again)
    assert {message.partition for message in again} == newcomer.assignment
    busy.seek_to_committed()
    assert busy.poll(10, 0.5) == []
    assert busy.assignment == {message.partition for message in kept}
    for consumer in (busy, newcomer):
        consumer.close()


def test_what_a_group_refused_is_not_committed_by_the_next_transaction(log: KafkaLog,
                                                                       open_log: Callable[[], KafkaLog]) -> None:
    append(log, "in", [(key_in(partition, PARTITIONS), b"") for partition in range(PARTITIONS)])
    busy, got = log.consumer("group", "in"), list[Message]()
    poll_until(lambda: len(got) >= PARTITIONS, [busy], got)
    newcomer = open_log().consumer("group", "in")
    with pytest.raises(Fenced), log.transaction("busy") as transaction:
        transaction.commit(busy, {message.partition: message.offset + 1 for message in got})  # all are still ours
        poll_until(lambda: len(newcomer.assignment) == PARTITIONS // 2, [newcomer])
    moved = [message for message in got if message.partition in newcomer.assignment]
    commit_all(log, busy, [message for message in got if message not in moved], "busy")
    newcomer.seek_to_committed()  # asks anew
    assert [newcomer.committed(message.partition) for message in moved] == [message.offset for message in moved]
    for consumer in (busy, newcomer):
        consumer.close()


def test_members_read_on_while_the_group_waits_for_one(log: KafkaLog, open_log: Callable[[], KafkaLog],
                                                       start: Callable[[str], subprocess.Popen[str]]) -> None:
    reader = log.consumer("group", "in")
    poll_until(lambda: len(reader.assignment) == PARTITIONS, [reader])
    start("owning").send_signal(SIGSTOP)  # it will not join again, and is missed only after the session timeout
    poll_until(lambda: len(reader.assignment) == PARTITIONS // 2, [reader])
    newcomer, meanwhile, number = open_log().consumer("group", "in"), 0, 0
    key = key_in(min(reader.assignment), PARTITIONS)
    while not newcomer.assignment:
        newcomer.poll(1, 0.0)
        append(log, "in", [(key, b"%d" % (number := number + 1))])
        got: list[Message] = []
        poll_until(lambda got=got: bool(got), [reader], got)  # type: ignore[misc]
        assert values(got) == [b"%d" % number]
        assert isinstance(reader, KafkaMember)
        meanwhile += reader._client.group_metadata().state is MemberState.REBALANCING
    assert meanwhile > 1
    for consumer in (reader, newcomer):
        consumer.close()


def test_what_was_under_way_when_its_process_died_holds_readers_up_for_a_bounded_time(
        log: KafkaLog, start: Callable[[str], subprocess.Popen[str]]) -> None:
    append(log, "in", [("cam", b"work")])
    child = start("committing")
    append(log, "out", [(key_in(0, PARTITIONS), b"after")])
    reader, got = log.consumer("reader", "out"), list[Message]()
    poll_until(lambda: len(reader.assignment) == PARTITIONS, [reader])
    assert reader.poll(1, 0.2) == []  # behind what the child has not decided
    child.kill()
    died_s = time.monotonic()
    successor, again = log.consumer("group", "in"), list[Message]()
    poll_until(lambda: bool(got), [reader], got)
    poll_until(lambda: bool(again), [successor], again)
    assert time.monotonic() - died_s < MAKE_SURE_S
    assert values(got) == [b"after"]
    assert values(again) == [b"work"]
    for consumer in (reader, successor):
        consumer.close()


@pytest.mark.parametrize("moved", [False, True])
def test_an_answer_that_nobody_waited_for_is_not_where_a_member_goes_on(log: KafkaLog, moved: bool,
                                                                        open_log: Callable[[], KafkaLog]) -> None:
    """A poll's patience is short: how far the group is may come behind it, and the group has moved on by then."""
    append(log, "in", [(key_in(partition, PARTITIONS), b"old") for partition in range(PARTITIONS)])
    reader, got, again = log.consumer("group", "in"), list[Message](), list[Message]()
    assert isinstance(reader, KafkaMember)
    poll_until(lambda: len(got) >= PARTITIONS, [reader], got)
    for count in range(1, PARTITIONS + 1):
        for asked in combinations(map(reader._at, range(PARTITIONS)), count):
            with pytest.raises(KafkaTimeoutError):
                reader._client._coordinator.fetch_committed_offsets(asked, timeout_ms=0)
    reader.poll(1, 0.5)  # brings the answers
    commit_all(log, reader, got)
    if moved:
        newcomer = open_log().consumer("group", "in")
        poll_until(lambda: len(newcomer.assignment) == PARTITIONS // 2, [reader, newcomer], again)
        newcomer.close()
        poll_until(lambda: len(reader.assignment) == PARTITIONS, [reader], again)
    else:
        reader.seek_to_committed()
    append(log, "in", [(key_in(partition, PARTITIONS), b"new") for partition in range(PARTITIONS)])
    poll_until(lambda: len(again) >= PARTITIONS, [reader], again)
    assert values(again) == [b"new"] * PARTITIONS
    reader.close()


def test_a_batch_may_take_longer_than_the_session_timeout(log: KafkaLog, settings: KafkaSettings) -> None:
    seen: Counter[int] = Counter()

    def slowly(record: Segment) -> None:
        seen[record.sequence] += 1
        time.sleep(SESSION_S * 0.4)

    feed(log, cameras=1, segments=3)
    group = Group(lambda: KafkaLog(settings), slowly)
    group.add()
    until(lambda: not left(log), 4 * PATIENCE_S)
    group.end()
    assert seen == dict.fromkeys(range(3), 1)


@pytest.mark.parametrize(("segments", "changes"), [
    pytest.param(40, 8, id="short"),
    pytest.param(1000, 60, id="long", marks=[pytest.mark.long, pytest.mark.timeout(3600)])])
def test_workers_that_come_and_go_change_nothing(log: KafkaLog, settings: KafkaSettings, segments: int,
                                                 changes: int) -> None:
    fed = feed(log, cameras=8, segments=segments)
    group, chance = Group(lambda: KafkaLog(settings), lambda _: time.sleep(0.01)), random.Random(7)  # noqa: S311
    group.add()
    for change in range(changes):
        until(lambda change=change: left(log) < len(fed) * (1 - change / changes), 4 * PATIENCE_S)  # type: ignore[misc]
        if len(group.workers) < 2 or (len(group.workers) < 4 and chance.random() < 0.5):
            group.add()
        else:
            group.remove(chance.randrange(len(group.workers)))
    until(lambda: not left(log), 4 * PATIENCE_S)
    group.end()
    wrong = differing(ids(map(codec.decode, everything(log, "out"))), ids(Summing().process(fed)))
    assert not wrong, "\n".join(wrong)


def ids(events: Iterable[object]) -> dict[str, list[str]]:
    """Those of each camera's events, in order; they say what was summed up."""
    found: dict[str, list[str]] = {}
    for one in events:
        assert isinstance(one, Event)
        found.setdefault(one.camera, []).append(one.id)
    return found


def differing(found: Mapping[str, list[str]], wanted: Mapping[str, list[str]]) -> list[str]:
    """For each camera whose ids are not the wanted ones, a line: times of those lost or twice, and where it begins."""
    lines = []
    for camera in sorted(found.keys() | wanted.keys()):
        have, want = found.get(camera, []), wanted.get(camera, [])
        if have != want:
            first = next(place for place, (one, other) in enumerate(zip_longest(have, want)) if one != other)
            times, due = ([one.rsplit("-", 1)[1] for one in some] for some in (have, want))
            lost, twice = Counter(due) - Counter(times), Counter(times) - Counter(due)
            lines.append(f"{camera}: {len(have)} of {len(want)}; missing at {[*lost]}, twice at {[*twice]}; from event "
                         f"{first} on {have[first:first + 2]}, not {want[first:first + 2]}")
    return lines


def left(log: KafkaLog) -> int:
    """How many records wait for the workers."""
    return sum(log.lag(LANE.stage, "in").values())


class Group:
    """Workers that come and go, each with a log of its own."""

    def __init__(self, open_log: Callable[[], KafkaLog], on_record: Callable[[Segment], None]) -> None:
        self._open_log, self._on_record = open_log, on_record
        self.workers: list[tuple[threading.Event, Running]] = []
        self._leaving: list[Running] = []

    def add(self) -> None:
        stop, log = threading.Event(), self._open_log()

        def run() -> None:
            Worker(LANE, Summing(self._on_record), log, SystemClock(), Watcher()).run(stop)
            log.close()

        self.workers.append((stop, in_background("worker", run)))

    def remove(self, which: int) -> None:
        stop, running = self.workers.pop(which)
        stop.set()
        self._leaving.append(running)

    def end(self) -> None:
        while self.workers:
            self.remove(0)
        for _, result in self._leaving:
            result.result(PATIENCE_S)


def feed(log: KafkaLog, cameras: int, segments: int) -> list[Segment]:
    """Put so many segments of each camera into the log, and say which."""
    fed = [segment(sequence, f"cam{camera}") for sequence in range(segments) for camera in range(cameras)]
    for first in range(0, len(fed), 500):
        with log.transaction("feeder") as transaction:
            for one in fed[first:first + 500]:
                transaction.append("in", one.camera, *codec.encode(one))
    return fed
