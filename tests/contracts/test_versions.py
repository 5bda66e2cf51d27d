"""Producers and consumers of several versions on one log, as during a rolling upgrade: all is processed, in order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import msgspec
from typing_extensions import override

from operators.base import Operator
from operators.clock import SystemClock
from operators.records import Event, Segment, Senses
from pipeline import codec
from pipeline.background import in_background
from pipeline.codec import CHECKSUM_HEADER, RECORD_HEADER, VERSION_HEADER
from pipeline.settings import LogSettings
from pipeline.topics.base import Log, Message
from pipeline.topology import EVENTS, SEGMENTS, Lane, topics
from pipeline.watcher import Watcher
from pipeline.workers.worker import Worker
from tests.contracts.logs import PATIENCE_S, everything
from tests.pipeline import codec_1_0
from tests.waiting import until

LANE = Lane("perceive", SEGMENTS, EVENTS, max_records=4)
COUNT = 24
Encoded = tuple[bytes, dict[str, bytes]]


def by_1_0(number: int) -> Encoded:
    return codec_1_0.encode(codec_1_0.Segment(camera="gate", session="s", sequence=number, start_ns=number,
                                              duration_ns=1, video=None, audio=None, media=b"media"))


def by_this_version(number: int) -> Encoded:
    return codec.encode(Segment(camera="gate", session="s", sequence=number, start_ns=number, duration_ns=1,
                                video=None, audio=None, media=b"media"))


def by_the_next_version(number: int) -> Encoded:
    """It says something that nobody here knows yet."""
    value, headers = by_this_version(number)
    fields = msgspec.msgpack.decode(headers[RECORD_HEADER]) | {"weather": "rain"}
    headers |= {RECORD_HEADER: msgspec.msgpack.encode(fields), VERSION_HEADER: b"1.2", "lookout-new": b"?"}
    return value, headers | {CHECKSUM_HEADER: codec_1_0.checksum(value, headers)}


def by_the_next_but_one(number: int) -> Encoded:
    """Of a major version that this one must not guess about."""
    value, headers = by_this_version(number)
    headers |= {VERSION_HEADER: b"2.0"}
    return value, headers | {CHECKSUM_HEADER: codec_1_0.checksum(value, headers)}


PRODUCERS: Sequence[Callable[[int], Encoded]] = (by_1_0, by_this_version, by_the_next_version, by_the_next_but_one)


class Telling(Operator[Segment, Event]):
    """An event for every segment."""

    @override
    def process(self, batch: Sequence[Segment]) -> Iterator[Event]:
        for segment in batch:
            yield Event(id=str(segment.sequence), kind="open", camera=segment.camera, session=segment.session,
                        label="seen", score=1.0, peak_score=1.0, time_ns=segment.sequence, start_ns=0, end_ns=None,
                        media_start_ns=None, media_end_ns=None, sentiment=None,
                        senses=Senses(visual=1.0, acoustic=0.0))


def test_all_versions_are_processed_and_what_comes_of_them_is_read_by_all(open_log: Callable[[], Log]) -> None:
    log = open_log()
    log.ensure(topics(LogSettings(partitions=2)))
    for number in range(COUNT):
        with log.transaction("feed") as transaction:
            transaction.append(SEGMENTS, "gate", *PRODUCERS[number % len(PRODUCERS)](number))
    stop = threading.Event()
    _, result = in_background("worker", Worker(LANE, Telling(), log, SystemClock(), Watcher()).run, stop)

    def stored() -> tuple[list[Message], list[Message]]:
        return everything(log, EVENTS), everything(log, LANE.dead_letters)

    until(lambda: sum(map(len, stored())) >= COUNT, PATIENCE_S)
    stop.set()
    result.result(PATIENCE_S)
    events, letters = stored()
    known = [str(number) for number in range(COUNT) if PRODUCERS[number % len(PRODUCERS)] is not by_the_next_but_one]
    for decode in (codec.decode, codec_1_0.decode):
        read = [decode(message) for message in events]
        assert [record.id for record in read if isinstance(record, Event | codec_1_0.Event)] == known
    assert [letter.headers[VERSION_HEADER] for letter in letters] == [b"2.0"] * (COUNT - len(known))
