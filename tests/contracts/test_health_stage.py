"""The health stage on every log: a camera that falls silent is told of, and told back by whoever has it then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import msgspec
import pytest

from operators.clock import SystemClock
from operators.health.monitor import HealthMonitor
from operators.health.settings import HealthSettings
from operators.records import Embedding, Event
from pipeline import codec
from pipeline.settings import LogSettings
from pipeline.topics.base import Log
from pipeline.topology import EMBEDDINGS, EVENTS, STAGES, topics
from pipeline.watcher import Watcher
from pipeline.workers.worker import Worker
from tests.contracts.logs import PATIENCE_S, everything
from tests.operators.health.test_silence import record
from tests.waiting import until

LANE = next(stage.lane for stage in STAGES if stage.lane.stage == "health")
IMPATIENT = HealthSettings(silent_after_s=3.0, all_silent_after_s=6.0)


@contextmanager
def member(log: Log) -> Iterator[None]:
    """A process's part of the stage."""
    stop, worker = threading.Event(), Worker(LANE, HealthMonitor(IMPATIENT), log, SystemClock(), Watcher())
    with running(lambda: worker.run(stop), stop):
        yield


@contextmanager
def running(work: Callable[[], None], stop: threading.Event) -> Iterator[None]:
    """While a thread does that, which `stop` ends."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def giving(log: Log, cameras: Sequence[str]) -> Iterator[None]:
    """Cameras that give a picture every half a second."""
    stop = threading.Event()

    def give() -> None:
        sequence = 0
        while not stop.wait(0.5):
            with log.transaction(f"test-{'-'.join(cameras)}") as transaction:
                for camera in cameras:
                    value, headers = codec.encode(now(record(sequence, camera)))
                    transaction.append(EMBEDDINGS, camera, value, headers)
            sequence += 1

    with running(give, stop):
        yield


def now(embedding: Embedding) -> Embedding:
    """As if it ended at this moment."""
    start_ns = time.time_ns() - embedding.duration_ns
    looks = tuple(msgspec.structs.replace(look, time_ns=start_ns) for look in embedding.health.looks)
    return msgspec.structs.replace(embedding, start_ns=start_ns, received_ns=start_ns + embedding.duration_ns,
                                   health=msgspec.structs.replace(embedding.health, looks=looks))


def story(log: Log) -> list[tuple[str, str, str]]:
    """(camera, kind, id) of every event that there is."""
    events = [codec.decode(message) for message in everything(log, EVENTS)]
    return [(event.camera, event.kind, event.id) for event in events if isinstance(event, Event)]


@pytest.mark.slow
def test_a_camera_that_falls_silent_is_told_of_and_told_back_by_another_process(open_log: Callable[[], Log]) -> None:
    log = open_log()
    log.ensure(topics(LogSettings(partitions=4)))
    with ExitStack() as first, giving(open_log(), ["yard", "door", "hall", "lift"]):
        first.enter_context(member(open_log()))
        with giving(open_log(), ["gate"]), member(open_log()):
            until(lambda: len(everything(log, EMBEDDINGS)) > 40, PATIENCE_S)
            assert story(log) == []
        until(lambda: [kind for _, kind, _ in story(log)] == ["open"], PATIENCE_S, lambda: story(log))
        first.close()
        with member(open_log()), giving(open_log(), ["gate"]):
            until(lambda: len(story(log)) > 1, PATIENCE_S, lambda: story(log))
    ((camera, _, opened), (also, kind, closed)) = story(log)
    assert (camera, also, kind) == ("gate", "gate", "close")
    assert opened == closed
