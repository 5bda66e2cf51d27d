"""Who owns which partition: shared out evenly, moved rarely, taken from those who are gone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.clock import ManualClock
from operators.errors import Fenced
from pipeline.topics.embedded_group import assign
from pipeline.topics.embedded_log import EmbeddedLog
from tests.pipeline.topics.embedded import OTHER_KEY, PARTITION, Child, append, commit

HOUR_S = 3600.0
names = st.sampled_from("abcdefgh")


@given(st.lists(st.none() | names, max_size=12), st.sets(names, min_size=1))
def test_shares_are_even_and_few_partitions_move(owners: list[str | None], members: set[str]) -> None:
    before = dict(enumerate(owners))
    after = assign(before, sorted(members))
    held = Counter(after.values())
    assert after.keys() == before.keys()
    assert held.keys() <= members
    assert not before or max(held.values()) - min(held[member] for member in members) <= 1
    smallest, larger = divmod(len(owners), len(members))
    had = sorted((sum(owner == member for owner in owners) for member in members), reverse=True)
    can_stay = sum(min(count, smallest + (rank < larger)) for rank, count in enumerate(had))
    assert sum(before[partition] == owner for partition, owner in after.items()) == can_stay
    assert assign(after, sorted(members)) == after


def test_without_members_nobody_owns_anything() -> None:
    assert assign({0: "gone", 1: None}, []) == {0: None, 1: None}


def test_a_member_that_does_not_poll_loses_its_partitions_to_one_that_does(
        log: EmbeddedLog, clock: ManualClock) -> None:
    hung, lively = log.consumer("group", "in"), log.consumer("group", "in")
    hung.poll(1, 0)
    for _ in range(2):
        clock.sleep(4.9)
        lively.poll(1, 0)
        assert len(lively.assignment) == 1
    clock.sleep(4.9)
    lively.poll(1, 0)
    assert lively.assignment == {0, 1}
    [lost] = hung.assignment  # it does not know yet
    with pytest.raises(Fenced), log.transaction("hung") as tx:
        tx.commit(hung, {lost: 1})
    hung.poll(1, 0)
    lively.poll(1, 0)
    assert len(hung.assignment) == len(lively.assignment) == 1


def test_a_lonely_member_keeps_its_partitions_however_slow_it_is(log: EmbeddedLog, clock: ManualClock) -> None:
    append(log, "in", 1)
    consumer = log.consumer("group", "in")
    [message] = consumer.poll(1, 0)
    clock.sleep(HOUR_S)
    commit(log, consumer, message.offset + 1)
    assert consumer.poll(1, 0) == []
    assert consumer.committed(PARTITION) == 1


def test_a_partition_lost_and_won_back_between_two_polls_is_fenced_and_told(log: EmbeddedLog) -> None:
    append(log, "in", 2, key=OTHER_KEY)
    told: list[str] = []
    consumer = log.consumer("group", "in", on_assigned=lambda gained: told.append(f"+{sorted(gained)}"),
                            on_revoked=lambda lost: told.append(f"-{sorted(lost)}"))
    [stale, _] = consumer.poll(2, 0)
    rival = log.consumer("group", "in")
    [done, _] = rival.poll(2, 0)
    with log.transaction("rival") as tx:
        tx.commit(rival, {done.partition: 2})
    rival.close()
    with pytest.raises(Fenced), log.transaction("reader") as tx:
        tx.commit(consumer, {stale.partition: 1})
    assert consumer.poll(2, 0) == []
    assert consumer.committed(stale.partition) == 2
    assert told == ["+[0, 1]", f"-[{stale.partition}]", f"+[{stale.partition}]"]


def test_a_rebalance_leaves_what_did_not_move_alone(log: EmbeddedLog) -> None:
    append(log, "in", 1)
    append(log, "in", 1, key=OTHER_KEY)
    consumer = log.consumer("group", "in")
    messages = consumer.poll(2, 0)
    rival = log.consumer("group", "in")
    rival.poll(1, 0)
    [kept] = {0, 1} - rival.assignment
    with log.transaction("reader") as tx:
        tx.commit(consumer, {message.partition: 1 for message in messages if message.partition == kept})
    assert consumer.poll(2, 0) == []
    assert consumer.assignment == {kept}
    assert consumer.committed(kept) == 1


def test_a_restarted_process_goes_on_at_once(tmp_path: Path) -> None:
    for _ in range(3):
        child = Child(tmp_path, """if True:
            consumer = log.consumer("group", "in")
            consumer.poll(1, 0)
            print(*sorted(consumer.assignment), flush=True)
            sys.stdin.read()""")
        assert child.line() == "0 1"
        child.kill()
    assert len(list(tmp_path.glob("*.alive"))) == 1, "what dead processes leave is cleared away"


def test_a_forked_child_does_not_keep_its_killed_parent_alive(tmp_path: Path) -> None:
    child = Child(tmp_path, """if True:
        consumer = log.consumer("group", "in")
        if os.fork() == 0:
            print("forked", flush=True)
        sys.stdin.read()
        os._exit(0)""")
    assert child.line() == "forked"
    child.process.kill()
    child.process.wait()
    log = EmbeddedLog(tmp_path)
    consumer = log.consumer("group", "in")
    consumer.poll(1, 0)
    assert consumer.assignment == {0, 1}
    log.close()
    child.kill()  # its child ends with the pipe they share
