"""More comes than can be done, on every log: what is live is thinned and accounted for, a file waits."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
from prometheus_client.parser import text_string_to_metric_families as parse_text
from typing_extensions import override

from operators.base import Operator
from operators.capture.camera import CameraSettings
from operators.clock import SystemClock
from operators.decode.decoder import Decoder, DecodeSettings
from operators.records import Clip, Embedding, Health, Segment
from pipeline import codec
from pipeline.background import in_background
from pipeline.metrics.metrics import Metrics
from pipeline.settings import LogSettings
from pipeline.topics.base import Log
from pipeline.topics.kafka_log import KafkaLog
from pipeline.topics.kafka_settings import KafkaSettings
from pipeline.topology import EMBEDDINGS, SEGMENTS, STAGES, topics
from pipeline.watcher import Watcher
from pipeline.workers.capture import CaptureWorker
from pipeline.workers.perceive import Perceive
from pipeline.workers.worker import Worker
from tests.contracts.logs import LOGS, PATIENCE_S, everything
from tests.contracts.poison_child import Telling
from tests.operators.decode.segments import SAMPLING, segments_of
from tests.waiting import until

SESSION_TIMEOUT_S = 2.0
EVERY_S = 0.1  # between two segments: a second of media each
LATE = DecodeSettings(halve_after_s=0.5, skip_after_s=1.0, drop_after_s=2.0)
LANE = next(stage.lane for stage in STAGES if stage.lane.stage == "perceive")
LIMITS = LogSettings(partitions=2, max_segments_ahead=8)

Media = Callable[..., Path]


class StallingEncoder(Telling):
    """Begins to work when it is told to."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()

    @override
    def process(self, batch: Sequence[Clip]) -> Iterator[Embedding]:
        self.goes_on.wait(PATIENCE_S)
        yield from super().process(batch)


class Feed:
    """Gives segments of a live camera for as long as it is wanted; one of them is broken."""

    def __init__(self, log: Log, clip: Path) -> None:
        self._log, self._segments, self._stop = log, segments_of(clip), threading.Event()
        self.count = 0
        self._thread, self._result = in_background("feed", self._run)

    def stop(self) -> None:
        self._stop.set()
        self._result.result(PATIENCE_S)

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            media = b"broken" if self.count == 3 else self._segments[self.count % len(self._segments)].media
            record = msgspec.structs.replace(
                self._segments[0], camera="gate", sequence=self.count, start_ns=self.count * 10**9, media=media,
                duration_ns=10**9, media_start_ns=None, received_ns=time.time_ns(), final=False)
            with self._log.transaction("feed") as transaction:
                transaction.append(SEGMENTS, "gate", *codec.encode(record))
            self.count += 1


class Retries(Metrics):
    """Metrics, and why the stage began again."""

    def __init__(self) -> None:
        super().__init__()
        self.retries: list[str] = []

    @override
    def on_retry(self, stage: str, reason: str) -> None:
        super().on_retry(stage, reason)
        self.retries.append(reason)


def open_patient(kind: str, address: str) -> Log:
    """A log that takes a batch for as long as it takes, and a silent process for dead at once."""
    if kind != "kafka":
        return LOGS[kind].open(address, SESSION_TIMEOUT_S)
    server, prefix = address.split("/")
    return KafkaLog(KafkaSettings(servers=(server,), prefix=prefix, session_timeout_s=SESSION_TIMEOUT_S))


@contextmanager
def working(log: Log, operator: Operator[Any, Any], watcher: Watcher) -> Iterator[None]:
    """While a worker runs."""
    stop = threading.Event()
    _, result = in_background("worker", Worker(LANE, operator, log, SystemClock(), watcher).run, stop)
    try:
        yield
    finally:
        stop.set()
        result.result(PATIENCE_S)


def embeddings(log: Log) -> list[Embedding]:
    found = [codec.decode(message) for message in everything(log, EMBEDDINGS)]
    return [record for record in found if isinstance(record, Embedding)]


def counted(metrics: Metrics, name: str) -> float:
    """The sum over a family's series."""
    return sum(sample.value for family in parse_text(metrics.exposition()[0].decode()) for sample in family.samples
               if sample.name == name)


def test_a_consumer_slower_than_its_session_timeout_sheds_and_recovers(kind: str, address: str, media: Media) -> None:
    log, metrics, encoder = open_patient(kind, address), Retries(), StallingEncoder()
    log.ensure(topics(LIMITS))
    clip = media("clip.mp4", seconds=8, fps=10, gop=10, audio_codec="aac")
    with working(log, Perceive(Decoder(LATE, SAMPLING, SystemClock()), encoder), metrics):
        feed = Feed(log, clip)
        until(lambda: feed.count >= 2 * SESSION_TIMEOUT_S / EVERY_S, 2 * PATIENCE_S)
        assert sum(log.lag(LANE.stage, SEGMENTS).values()) >= 1.5 * SESSION_TIMEOUT_S / EVERY_S  # it grows
        encoder.goes_on.set()
        until(lambda: len(embeddings(log)) > 10 and not any(  # it recovers
            record.health.shed or record.health.skipped for record in embeddings(log)[-5:]), 2 * PATIENCE_S)
        feed.stop()
        until(lambda: len(embeddings(log)) >= feed.count - 1, 2 * PATIENCE_S)
    done, letters = embeddings(log), everything(log, LANE.dead_letters)
    assert [record.sequence for record in done] == [number for number in range(feed.count) if number != 3]
    assert len(letters) == 1
    assert metrics.retries == []  # it kept its place all the time
    skipped = [record for record in done if record.health.skipped]
    reasons = Counter(reason for record in done for reason in record.health.shed)
    assert skipped
    assert reasons["overload"] >= len(skipped)  # others were at least listened to
    assert reasons.keys() <= {"overload", "sampling"}

    total = {name: counted(metrics, f"lookout_stage_records_{name}_total")
             for name in ("received", "processed", "shed", "dead")}
    assert total == {"received": feed.count, "processed": len(done) - len(skipped), "shed": len(skipped), "dead": 1}
    frames = {name: counted(metrics, f"lookout_frames_{name}_total") for name in ("received", "processed", "shed")}
    assert frames["received"] == frames["processed"] + frames["shed"] == sum(record.health.frames for record in done)
    assert counted(metrics, "lookout_rebalances_total") == 1
    assert counted(metrics, "lookout_transaction_seconds_count") >= 2
    assert counted(metrics, "lookout_stage_wait_seconds_sum") >= SESSION_TIMEOUT_S
    assert counted(metrics, "lookout_stage_age_seconds_sum") >= counted(metrics, "lookout_stage_wait_seconds_sum")
    log.close()


class Slow(Operator[Segment, Embedding]):
    """Takes its time for every record."""

    @override
    def process(self, batch: Sequence[Segment]) -> Iterator[Embedding]:
        for segment in batch:
            time.sleep(SESSION_TIMEOUT_S / 5)  # eight records are too many at once, four are not
            yield Embedding(camera=segment.camera, session=segment.session, sequence=segment.sequence,
                            start_ns=segment.start_ns, duration_ns=segment.duration_ns, steps=0, step_ns_raw=b"",
                            visual_raw=b"", visual_valid_raw=b"", acoustic_raw=b"", acoustic_valid_raw=b"",
                            health=Health())


def test_a_batch_that_outlasts_the_groups_patience_is_made_smaller(kafka: str, media: Media) -> None:
    log, metrics = LOGS["kafka"].open(f"{kafka}/test-{uuid4().hex}.", SESSION_TIMEOUT_S), Retries()
    log.ensure(topics(LIMITS))
    first = segments_of(media("clip.mp4", seconds=8, fps=10, gop=10, audio_codec="aac"))[0]
    with log.transaction("feed") as transaction:
        for number in range(8):
            record = msgspec.structs.replace(first, camera="gate", sequence=number)
            transaction.append(SEGMENTS, "gate", *codec.encode(record))
    with working(log, Slow(), metrics):
        until(lambda: len(embeddings(log)) >= 8, 2 * PATIENCE_S)
    assert [record.sequence for record in embeddings(log)] == list(range(8))
    assert "Fenced" in metrics.retries
    log.close()


def test_a_file_waits_for_what_is_behind_it(kind: str, address: str, media: Media) -> None:
    log = open_patient(kind, address)
    log.ensure(topics(LIMITS))
    clip = media("long.mp4", seconds=24, fps=5, gop=5)
    stop = threading.Event()
    capture = CaptureWorker(CameraSettings(source=f"file={clip}"), LIMITS, log, SystemClock(), Watcher(), stop)
    _, result = in_background("capture", capture.run)
    consumer, seen = log.consumer(LANE.stage, SEGMENTS), 0
    until(lambda: sum(log.lag(LANE.stage, SEGMENTS).values()) >= LIMITS.max_segments_ahead, 2 * PATIENCE_S)
    while seen < 24:
        assert len(everything(log, SEGMENTS)) - seen <= LIMITS.max_segments_ahead
        for message in consumer.poll(1, 1.0):
            with log.transaction("reader") as transaction:
                transaction.commit(consumer, {message.partition: message.offset + 1})
            seen += 1
    result.result(PATIENCE_S)
    records = [codec.decode(message) for message in everything(log, SEGMENTS)]
    assert [record.sequence for record in records if isinstance(record, Segment)] == list(range(24))
    consumer.close()
    log.close()
