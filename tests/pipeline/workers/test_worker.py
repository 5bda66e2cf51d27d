"""The worker on the embedded log: one transaction a batch, restarts, poison, dead letters."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
from typing_extensions import override

from operators.base import Operator, Rejected
from operators.clock import SystemClock
from operators.errors import MediaError
from operators.records import AudioTrack, Event, Segment, Senses
from pipeline import codec
from pipeline.logs import JsonLines
from pipeline.topics.base import Message, TopicSettings
from pipeline.topics.embedded_log import EmbeddedLog
from pipeline.topology import Lane
from pipeline.watcher import Watcher
from pipeline.workers.worker import Worker

LANE = Lane("count", "segments", "events", max_records=4)
SENSES = Senses(visual=0.5, acoustic=0.5)


def segment(sequence: int, camera: str = "a") -> Segment:
    return Segment(camera=camera, session="s", sequence=sequence, start_ns=sequence * 10, duration_ns=10,
                   video=None, audio=AudioTrack("aac", 16000, 1), media=b"m%d" % sequence)


def event(camera: str, label: str, time_ns: int) -> Event:
    return Event(id=f"{camera}-{label}-{time_ns}", kind="open", camera=camera, session="s", label=label, score=1.0,
                 peak_score=1.0, time_ns=time_ns, start_ns=time_ns, end_ns=None, media_start_ns=None,
                 media_end_ns=None, sentiment=None, senses=SENSES)


class Summing(Operator[Segment, Event]):
    """Gives the sum of all sequences so far, and of the last two; the two are not in the snapshot."""

    def __init__(self, on_record: Callable[[Segment], None] = lambda record: None) -> None:
        self.totals: dict[str, int] = {}
        self.recent: dict[str, list[int]] = {}
        self.on_record = on_record
        self.replayed: list[int] = []

    @override
    def process(self, batch: Sequence[Segment]) -> Iterator[Event | Rejected[Segment]]:
        for record in batch:
            self.on_record(record)
            if record.media == b"bad":
                yield Rejected(record, MediaError("not playable"))
                continue
            recent = [*self.recent.get(record.camera, []), record.sequence][-2:]
            self.recent[record.camera] = recent
            self.totals[record.camera] = self.totals.get(record.camera, 0) + record.sequence
            yield event(record.camera, f"{self.totals[record.camera]}/{sum(recent)}", record.start_ns)

    @override
    def snapshot(self) -> Mapping[str, bytes]:
        return {camera: str(total).encode() for camera, total in self.totals.items()}

    @override
    def restore(self, state: Mapping[str, bytes]) -> None:
        self.totals = {camera: int(value) for camera, value in state.items()}
        self.recent = {}

    @override
    def recall(self, camera: str) -> int:
        return len(self.recent.get(camera, []))

    @override
    def replay(self, batch: Sequence[Segment]) -> None:
        for record in batch:
            self.replayed.append(record.sequence)
            self.recent[record.camera] = [*self.recent.get(record.camera, []), record.sequence][-2:]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    log = EmbeddedLog(tmp_path, session_timeout_s=1.0)
    log.ensure([TopicSettings(name, partitions=2) for name in ("segments", "events", "dead.count")])
    yield log
    log.close()


def put(log: EmbeddedLog, *segments: Segment) -> None:
    with log.transaction("test") as transaction:
        for record in segments:
            transaction.append("segments", record.camera, *codec.encode(record))


def stored(log: EmbeddedLog, topic: str) -> list[Message]:
    return [message for partition, (start, end) in log.ends(topic).items()
            for message in log.read(topic, partition, start, end)]


def labels(log: EmbeddedLog, camera: str = "a") -> list[str]:
    events = [codec.decode(message) for message in stored(log, "events")]
    return [record.label for record in events if isinstance(record, Event) and record.camera == camera]


def run_until_done(log: EmbeddedLog, operator: Operator[Segment, Event], watcher: Watcher | None = None) -> None:
    """Let a worker run until the group has no lag left."""
    stop = threading.Event()
    worker = Worker(LANE, operator, log, SystemClock(), watcher or Watcher())
    errors: list[BaseException] = []

    def body() -> None:
        try:
            worker.run(stop)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    while thread.is_alive() and any(log.lag("count", "segments").values()):
        thread.join(0.02)
    stop.set()
    thread.join()
    if errors:
        raise errors[0]


def test_outputs_are_in_order_and_complete(log: EmbeddedLog) -> None:
    put(log, *(segment(i) for i in range(1, 11)))
    run_until_done(log, Summing())
    assert labels(log)[-1] == "55/19"
    assert len(labels(log)) == 10


def test_a_restarted_worker_goes_on_as_if_it_had_never_stopped(log: EmbeddedLog) -> None:
    put(log, *(segment(i) for i in range(1, 6)))
    run_until_done(log, Summing())
    put(log, *(segment(i) for i in range(6, 11)))
    second = Summing()
    run_until_done(log, second)
    assert second.replayed == [4, 5]
    assert labels(log)[5] == "21/11"  # both the snapshot (21) and the recalled records (5 + 6) are right
    assert labels(log)[-1] == "55/19"


def test_a_worker_that_dies_between_processing_and_commit_repeats_nothing(log: EmbeddedLog) -> None:
    class Death(BaseException):
        pass

    def die(record: Segment) -> None:
        if record.sequence == 7:
            raise Death

    put(log, *(segment(i) for i in range(1, 11)))
    with pytest.raises(Death):
        run_until_done(log, Summing(die))
    assert len(labels(log)) == 4  # the first batch; nothing of the second
    run_until_done(log, Summing())
    assert len(labels(log)) == 10
    assert labels(log)[-1] == "55/19"


def test_rejected_and_undecodable_records_are_dead_letters_and_nothing_else_is(log: EmbeddedLog) -> None:
    bad = Segment(camera="a", session="s", sequence=9, start_ns=0, duration_ns=1, video=None, audio=None, media=b"bad")
    put(log, segment(1), bad, segment(2))
    with log.transaction("test") as transaction:
        transaction.append("segments", "a", b"nonsense", {})
    put(log, segment(3))
    dead: list[tuple[str, str]] = []

    class Deaths(Watcher):
        @override
        def on_dead(self, stage: str, reason: str) -> None:
            dead.append((stage, reason))

    run_until_done(log, Summing(), Deaths())
    assert labels(log) == ["1/1", "3/3", "6/5"]
    letters = stored(log, "dead.count")
    assert [letter.value for letter in letters] == [b"bad", b"nonsense"]
    assert letters[0].headers["lookout-dead-reason"] == b"not playable"
    assert letters[0].headers["lookout-dead-topic"] == b"segments"
    assert int(letters[0].headers["lookout-dead-offset"]) == stored(log, "segments")[1].offset
    assert b"MediaError" in letters[0].headers["lookout-dead-traceback"]
    decoded = codec.decode(letters[0])
    assert isinstance(decoded, Segment)
    assert msgspec.structs.replace(decoded, queued_ns=0) == bad  # the record can be replayed from its dead letter
    assert sorted(dead) == [("count", "CodecError"), ("count", "MediaError")]


def test_the_line_about_a_dead_letter_names_stage_camera_and_segment(
        log: EmbeddedLog, caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.setFormatter(JsonLines())
    put(log, msgspec.structs.replace(segment(3), media=b"bad"))
    run_until_done(log, Summing())
    (line,) = [json.loads(text) for text in caplog.text.splitlines() if "dead letter" in text]
    assert (line["stage"], line["camera"], line["segment"]) == ("count", "a", "s/3")


def test_an_operator_that_breaks_on_one_record_loses_only_that_one(log: EmbeddedLog) -> None:
    def break_(record: Segment) -> None:
        if record.sequence == 3:
            message = "a bug"
            raise ZeroDivisionError(message)

    put(log, *(segment(i) for i in range(1, 7)))
    run_until_done(log, Summing(break_))
    assert labels(log) == ["1/1", "3/3", "7/6", "12/9", "18/11"]
    (letter,) = stored(log, "dead.count")
    assert letter.headers["lookout-dead-reason"] == b"ZeroDivisionError: a bug"


def test_a_record_that_breaks_the_operator_again_when_recalled_is_left_out(log: EmbeddedLog) -> None:
    class Fragile(Summing):
        @override
        def recall(self, camera: str) -> int:
            return 3

        @override
        def replay(self, batch: Sequence[Segment]) -> None:
            for record in batch:
                if record.sequence == 3:
                    raise ZeroDivisionError
            super().replay(batch)

    def break_(record: Segment) -> None:
        if record.sequence == 3:
            raise ZeroDivisionError

    put(log, *(segment(i) for i in range(1, 5)))
    run_until_done(log, Fragile(break_))
    put(log, segment(5))
    second = Fragile(break_)
    run_until_done(log, second)
    assert second.replayed == [2, 4]
    assert labels(log) == ["1/1", "3/3", "7/6", "12/9"]


def test_what_advance_gives_is_committed_too(log: EmbeddedLog) -> None:
    class Late(Summing):
        """Gives one event by itself, and gives up one record that it took in before."""

        due = True

        @override
        def advance(self, now_ns: int) -> list[Event | Rejected[Segment]]:
            if not self.totals or not self.due:
                return []
            self.due = False
            return [event("a", "late", 1), Rejected(segment(77), MediaError("given up"))]

    put(log, segment(1))
    run_until_done(log, Late())
    assert labels(log) == ["1/1", "late"]
    (letter,) = stored(log, "dead.count")
    decoded = codec.decode(letter)
    assert isinstance(decoded, Segment)
    assert decoded.sequence == 77
    assert "lookout-dead-topic" not in letter.headers


def test_two_workers_share_the_cameras_and_a_third_takes_over(log: EmbeddedLog) -> None:
    cameras = [f"camera-{i}" for i in range(8)]
    put(log, *(segment(i, camera) for i in range(1, 21) for camera in cameras))
    stops = [threading.Event(), threading.Event()]
    threads = [threading.Thread(target=Worker(LANE, Summing(), log, SystemClock(), Watcher()).run, args=(stop,))
               for stop in stops]
    for thread in threads:
        thread.start()
    stops[0].set()  # one leaves at some instant
    threads[0].join()
    while any(log.lag("count", "segments").values()):
        threads[1].join(0.02)
    stops[1].set()
    threads[1].join()
    for camera in cameras:
        assert len(labels(log, camera)) == 20
        assert labels(log, camera)[-1] == "210/39"
