"""What the log holds of an event is found, waited for as long as it may still come, and no longer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import pytest

from operators.clock import NS_PER_S, ManualClock
from operators.evidence.settings import EvidenceSettings
from operators.models.bundle import load as load_bundle
from operators.records import Embedding, Event
from pipeline.evidence.curves import Scorer
from pipeline.evidence.footage import Footage, offset_at
from pipeline.settings import LogSettings
from pipeline.topics.base import Log, TopicSettings, partition_of
from pipeline.topics.embedded_log import EmbeddedLog
from pipeline.topology import topics
from tests.contracts.logs import LOGS
from tests.operators.decode.segments import segments_of
from tests.operators.fuse.embeddings import LOUD, START_NS
from tests.pipeline.evidence.records import STORY, a_fuser, append, embeddings, events, fitted
from tests.tiny_bundle import STEPS, make_bundle

SETTINGS = EvidenceSettings(url="unused", patience_s=30)
WINDOW_NS = STEPS * NS_PER_S // 2
NOW_NS = START_NS + 100 * NS_PER_S


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def told(bundle: Path) -> tuple[Event, Event]:
    """The event as it opened, and as it closed."""
    first, *_, last = events(bundle, embeddings())
    assert (first.kind, last.kind) == ("open", "close")
    return first, last


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START_NS)


@pytest.fixture
def log(tmp_path: Path, clock: ManualClock) -> Iterator[EmbeddedLog]:
    log = EmbeddedLog(tmp_path, clock=clock)
    log.ensure(topics(LogSettings(partitions=2)))
    yield log
    log.close()


def fill(log: Log, clock: ManualClock, records: list[Embedding], of_others: int = 0) -> None:
    """As a live camera's records come: each when it was received, with those of neighbours between."""
    for record in records:
        clock._ns = record.received_ns
        append(log, record, *(msgspec.structs.replace(record, camera="cam0") for _ in range(of_others)))


def sequences(footage: Footage) -> list[int]:
    return [one.sequence for one in footage.embeddings]


def test_it_is_over_when_the_seconds_after_the_end_are_there(
        log: EmbeddedLog, clock: ManualClock, told: tuple[Event, Event]) -> None:
    opened, closed = told
    records = embeddings()
    footage = Footage(log, opened, SETTINGS, WINDOW_NS)
    fill(log, clock, records[:15])
    assert not footage.look(clock.now_ns())
    fill(log, clock, records[15:18])
    append(log, closed)
    assert not footage.look(clock.now_ns())
    assert footage.event == closed
    assert footage.to_ns == closed.end_ns + 5 * NS_PER_S  # type: ignore[operator]
    fill(log, clock, records[18:22])
    assert footage.look(clock.now_ns())
    first = (opened.start_ns - 5 * NS_PER_S - WINDOW_NS - START_NS) // NS_PER_S
    assert sequences(footage) == list(range(first, 21))


def test_nothing_is_waited_for_that_cannot_come(
        log: EmbeddedLog, clock: ManualClock, told: tuple[Event, Event]) -> None:
    fill(log, clock, embeddings()[:15])
    for_long = Footage(log, told[0], SETTINGS, WINDOW_NS)
    assert not for_long.look(NOW_NS)
    assert not for_long.look(NOW_NS + 29 * NS_PER_S)
    assert for_long.look(NOW_NS + 31 * NS_PER_S)
    anew = Footage(log, told[0], SETTINGS, WINDOW_NS)
    assert not anew.look(NOW_NS)
    append(log, msgspec.structs.replace(embeddings()[0], session="another"))
    assert anew.look(NOW_NS)
    long_ago = Footage(log, msgspec.structs.replace(told[0], session="gone"), SETTINGS, WINDOW_NS)
    assert long_ago.look(told[0].received_ns + 31 * NS_PER_S)
    assert long_ago.segments() == []


def test_the_end_of_a_file_is_the_end(log: EmbeddedLog, clock: ManualClock, told: tuple[Event, Event]) -> None:
    short = embeddings(STORY[:36])
    fill(log, clock, short)
    footage = Footage(log, told[0], SETTINGS, WINDOW_NS)
    assert footage.look(clock.now_ns())
    assert footage.embeddings[-1].final


def test_an_event_that_lasts_is_cut(log: EmbeddedLog, clock: ManualClock, told: tuple[Event, Event]) -> None:
    fill(log, clock, embeddings()[:20])
    footage = Footage(log, told[0], msgspec.structs.replace(SETTINGS, longest_s=3.0), WINDOW_NS)
    assert footage.look(clock.now_ns())
    assert footage.to_ns == told[0].start_ns + 3 * NS_PER_S


@pytest.mark.parametrize("pace", [0.0, 0.1, 10.0])
def test_media_that_came_faster_or_slower_than_it_was_shot_is_found_among_that_of_others(
        pace: float, log: EmbeddedLog, clock: ManualClock, told: tuple[Event, Event], media: Callable[..., Path],
) -> None:
    """`pace`: seconds of the wall clock for one of the media; 0: all at once."""
    records = [msgspec.structs.replace(one, received_ns=START_NS + round((one.sequence + 1) * NS_PER_S * pace))
               for one in embeddings()]
    cut = fitted(segments_of(media("long.mp4", seconds=24.0)), records)
    for record, segment in zip(records, cut, strict=True):
        clock._ns = record.received_ns
        append(log, segment, *[msgspec.structs.replace(segment, camera="cam0")] * 20)
        append(log, record, *[msgspec.structs.replace(record, camera="cam0")] * 20)
    cause = next(one for one in records if one.end_ns >= told[0].time_ns)
    footage = Footage(log, msgspec.structs.replace(told[1], received_ns=cause.received_ns), SETTINGS, WINDOW_NS)
    assert footage.look(clock.now_ns())
    first = (told[0].start_ns - 5 * NS_PER_S - START_NS) // NS_PER_S
    assert [one.sequence for one in footage.segments()] == list(range(first, 21))
    assert {one.camera for one in footage.segments()} == {"cam"}
    assert sequences(footage)[0] == first - WINDOW_NS // NS_PER_S


def test_segments_begin_at_a_keyframe(log: EmbeddedLog, clock: ManualClock, told: tuple[Event, Event],
                                      media: Callable[..., Path]) -> None:
    records = embeddings()
    cut = [msgspec.structs.replace(one, continues=one.sequence % 3 != 0)
           for one in fitted(segments_of(media("long.mp4", seconds=24.0)), records)]
    for record, segment in zip(records, cut, strict=True):
        clock._ns = record.received_ns
        append(log, segment, record)
    footage = Footage(log, told[1], SETTINGS, WINDOW_NS)
    assert footage.look(clock.now_ns())
    assert footage.segments()[0].sequence == 6
    assert footage.segments()[0].start_ns <= footage.from_ns < footage.segments()[0].start_ns + 3 * NS_PER_S


def test_the_curves_are_what_the_fusion_said_at_the_time(
        log: EmbeddedLog, clock: ManualClock, told: tuple[Event, Event], bundle: Path) -> None:
    records = embeddings([*STORY[:26], LOUD, *STORY[27:]])
    fill(log, clock, records)
    footage = Footage(log, told[1], SETTINGS, WINDOW_NS)
    assert footage.look(clock.now_ns())
    loaded = load_bundle(bundle)
    scores = a_fuser(loaded).score(records)
    scorer = Scorer(loaded, lambda: a_fuser(loaded)._backend)
    curves = scorer.curves(footage.embeddings, "bright", footage.from_ns)
    assert curves is not None
    shown = {int(step_ns): float(score) for one in scores
             for step_ns, score in zip(one.step_ns, one.events[:, 0], strict=True)}
    assert curves.step_ns[0] >= footage.from_ns
    assert curves.fused.tolist() == [shown[int(step_ns)] for step_ns in curves.step_ns]
    assert curves.seen is not None and curves.heard is not None
    assert np.array_equal(curves.seen, curves.fused)  # the tiny bundle's label is of the pictures alone
    assert curves.heard.max() < 0.01
    assert (curves.open, curves.close) == (0.7, 0.3)
    assert scorer.curves(footage.embeddings, "camera_covered", 0) is None
    assert scorer.curves([], "bright", 0) is None


@pytest.fixture(params=LOGS)
def any_log(request: pytest.FixtureRequest) -> Iterator[Log]:
    kind = LOGS[cast(str, request.param)]
    log = kind.open(kind.fresh(request), kind.session_timeout_s)
    log.ensure([TopicSettings(name="segments", partitions=2)])
    yield log
    log.close()


def test_the_first_record_of_a_time_is_found_in_every_log(any_log: Log) -> None:
    """Kafka's offsets have gaps: every transaction ends with a mark."""
    for number in range(25):
        with any_log.transaction("writer") as transaction:
            transaction.append("segments", "cam", str(number).encode())
    partition = partition_of("cam", 2)
    messages = list(any_log.read("segments", partition, *any_log.ends("segments")[partition]))
    assert len(messages) == 25
    for message in messages[::6]:
        found = offset_at(any_log, "segments", partition, message.timestamp_ns)
        (first, *_) = any_log.read("segments", partition, found, found + 2)
        assert first.timestamp_ns == message.timestamp_ns
        assert first.offset <= message.offset
    first_kept, end = any_log.ends("segments")[partition]
    assert offset_at(any_log, "segments", partition, 0) == first_kept
    assert offset_at(any_log, "segments", partition, messages[-1].timestamp_ns + 1) >= messages[-1].offset + 1
    assert offset_at(any_log, "segments", partition, messages[-1].timestamp_ns + 1) <= end
