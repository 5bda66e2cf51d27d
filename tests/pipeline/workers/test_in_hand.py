"""What a worker notes of the records in hand: who is to blame for a death, and who is not. On the embedded log."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from typing_extensions import override

from operators.errors import LogUnavailable, SourceError
from operators.records import Segment
from pipeline.topics.embedded_log import EmbeddedLog
from pipeline.workers.in_hand import DEATHS
from pipeline.workers.worker import TRIES
from tests.pipeline.workers.test_worker import Summing, labels, log, put, run_until_done, segment, stored

__all__ = ["log"]  # the fixture


class Death(BaseException):
    """What no worker catches: it leaves as a killed process does, and nothing is withdrawn."""


def dying_of(sequence: int) -> Callable[[Segment], None]:
    def die(record: Segment) -> None:
        if record.sequence == sequence:
            raise Death

    return die


def deaths_of(log: EmbeddedLog, make: Callable[[], Summing]) -> int:
    """How many workers died before one came through."""
    deaths = 0
    while True:
        try:
            run_until_done(log, make())
        except Death:
            deaths += 1
            assert deaths < 20
        else:
            return deaths


def test_the_first_record_of_all_is_found_out_too(log: EmbeddedLog) -> None:
    put(log, *(segment(i) for i in range(1, 11)))
    assert deaths_of(log, lambda: Summing(dying_of(1))) == DEATHS + 1
    assert labels(log)[-1] == "54/19"


def test_one_in_the_middle_costs_one_death_more_and_one_alone_one_less(log: EmbeddedLog) -> None:
    put(log, *(segment(i) for i in range(1, 11)))
    assert deaths_of(log, lambda: Summing(dying_of(7))) == DEATHS + 2  # the first came unexpected: nothing was noted
    put(log, segment(11))
    assert deaths_of(log, lambda: Summing(dying_of(11))) == DEATHS
    assert len(stored(log, "dead.count")) == 2


def test_two_of_them_in_one_batch(log: EmbeddedLog) -> None:
    def die(record: Segment) -> None:
        if record.sequence in {2, 3}:
            raise Death

    put(log, *(segment(i) for i in range(1, 5)))
    assert deaths_of(log, lambda: Summing(die)) == 2 * DEATHS + 1
    assert labels(log) == ["1/1", "5/5"]


def test_what_is_lethal_is_not_seen_again(log: EmbeddedLog) -> None:
    class Remembering(Summing):
        @override
        def recall(self, camera: str) -> int:
            return 3

        @override
        def replay(self, batch: Sequence[Segment]) -> None:
            if any(record.sequence == 3 for record in batch):
                raise Death
            super().replay(batch)

    put(log, *(segment(i) for i in range(1, 5)))
    assert deaths_of(log, lambda: Remembering(dying_of(3))) == DEATHS + 1
    put(log, segment(5))
    second = Remembering(dying_of(3))
    run_until_done(log, second)
    assert second.replayed == [1, 2, 4]


def test_kills_from_outside_blame_nobody(log: EmbeddedLog) -> None:
    """Each worker is killed a record further on than the one before."""
    put(log, *(segment(i) for i in range(1, 9)))
    for victim in range(1, 9):
        with pytest.raises(Death):
            run_until_done(log, Summing(dying_of(victim)))
    run_until_done(log, Summing())
    assert labels(log)[-1] == "36/15"
    assert not stored(log, "dead.count")


def test_one_that_the_log_refuses_again_and_again_blames_nobody(log: EmbeddedLog) -> None:
    class Outage(Summing):
        failures = 0

        @override
        def process(self, batch: Sequence[Segment]):  # type: ignore[no-untyped-def]
            if self.failures < 2 * DEATHS:
                self.failures += 1
                message = "out of reach"
                raise LogUnavailable(message)
            return super().process(batch)

    put(log, segment(1))
    run_until_done(log, Outage())
    assert labels(log) == ["1/1"]
    assert not stored(log, "dead.count")


def test_an_outage_in_between_does_not_acquit(log: EmbeddedLog) -> None:
    class Interrupted(Summing):
        """Whatever it has in hand for the first time, the log is out of reach."""

        def __init__(self) -> None:
            super().__init__(dying_of(3))
            self.met: set[int] = set()

        @override
        def process(self, batch: Sequence[Segment]):  # type: ignore[no-untyped-def]
            if batch[0].sequence not in self.met:
                self.met.add(batch[0].sequence)
                message = "out of reach"
                raise LogUnavailable(message)
            return super().process(batch)

    put(log, *(segment(i) for i in range(1, 5)))
    assert deaths_of(log, Interrupted) == DEATHS + 1
    assert labels(log) == ["1/1", "3/3", "7/6"]


@pytest.mark.parametrize(("failures", "given_up"), [(TRIES, 0), (TRIES + 1, 1)])
def test_an_error_that_may_pass_is_tried_again(log: EmbeddedLog, failures: int, given_up: int) -> None:
    left = iter(range(failures))

    def fail(record: Segment) -> None:
        if next(left, None) is not None:
            message = "not now"
            raise SourceError(message)

    put(log, segment(1))
    run_until_done(log, Summing(fail))  # once with its batch, and then alone
    assert len(stored(log, "dead.count")) == given_up
