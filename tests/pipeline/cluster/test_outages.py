"""A broker that stops answering, dies, or refuses connections: every stage goes on, and nothing is lost or doubled.

A file and a live camera are captured, two stages follow, all over a broker of the test's own.
"""

from __future__ import annotations

import gc
import json
import signal
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import FunctionType

import msgspec
import pytest
from typing_extensions import override

from operators.base import Operator
from operators.clock import SystemClock
from operators.errors import LogUnavailable
from operators.records import Alert, Event, Segment, alert_id
from pipeline import codec
from pipeline.background import in_background
from pipeline.cluster.cameras import add
from pipeline.cluster.spool import Spool
from pipeline.settings import SPOOL_BYTES, LogSettings
from pipeline.topics.base import Message
from pipeline.topics.kafka_log import KafkaLog
from pipeline.topics.kafka_settings import KafkaSettings
from pipeline.topology import ALERTS, EVENTS, SEGMENTS, Lane, topics
from pipeline.watcher import Watcher
from pipeline.workers.worker import Worker
from tests.contracts.logs import everything
from tests.end_to_end.lookout import command
from tests.kafka.broker import Broker, missing
from tests.pipeline.workers.test_worker import Summing
from tests.rtsp import RtspServer
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing()),
              pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),  # kafka-python's, of failed connections
              pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

LIVE, FILE = "d", "a"
FILE_S = 600  # long enough for every outage: it waits for the stages
WORK_S = 0.1  # for each segment, so that the outages come while there is work
AHEAD = 4
MORE = (3, 3 * AHEAD)  # offsets of the live camera's and the file's alerts: more than was in the log before
PATIENCE_S = 180.0
RECOVERED_S = 30.0  # promised, with the default timeouts
LIMITS = LogSettings(partitions=2, max_segments_ahead=AHEAD)
COUNT = Lane("perceive", SEGMENTS, EVENTS, max_records=4)  # the stage that capture waits for
TELL = Lane("notify", EVENTS, ALERTS, max_records=16)


@pytest.fixture(autouse=True)
def collected(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Every thread ends, and what kafka-python left open is collected here, where that is let pass."""
    before = set(threading.enumerate())
    yield
    until(lambda: before.issuperset(threading.enumerate()), PATIENCE_S, threading.enumerate)
    caplog.get_records("call").clear()  # an error in there keeps all that its traceback has met
    gc.collect()


class Telling(Operator[Event, Alert]):
    """An alert of each event."""

    @override
    def process(self, batch: Sequence[Event]) -> Iterator[Alert]:
        for event in batch:
            yield Alert(id=alert_id("all", event.id), rule="all", created_ns=0, event=event)


class Pipeline:
    """Capture, as a process, and two stages, each with a log of its own."""

    def __init__(self, settings: KafkaSettings, folder: Path, sources: Sequence[str]) -> None:
        self.log, self._stop = KafkaLog(KafkaSettings(servers=settings.servers)), threading.Event()
        self.log.ensure(topics(LIMITS))
        add(self.log, sources)
        self._folder, self._config = folder, folder / "cluster.yaml"
        self._config.write_text(json.dumps({"kafka": msgspec.to_builtins(settings),
                                            "log": msgspec.to_builtins(LIMITS)}))  # which YAML is, too
        self._logs = [KafkaLog(settings) for _ in range(2)]
        count = Worker(COUNT, Summing(lambda _: time.sleep(WORK_S)), self._logs[0], SystemClock(), Watcher())
        tell = Worker(TELL, Telling(), self._logs[1], SystemClock(), Watcher())
        self._running = [in_background(name, run, self._stop) for name, run in (
            ("count", count.run), ("tell", tell.run))]
        self._capture = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with (self._folder / "capture.log").open("ab") as said:
            return subprocess.Popen(command("run", "capture", "--config", self._config, "--data", self._folder),
                                    stdout=said, stderr=subprocess.STDOUT)

    def kill_capture(self) -> list[int]:
        """kill -9; returns what of the live camera was not in the log yet, as far as its process knew."""
        self._capture.kill()
        self._capture.wait()
        spool = Spool(self._folder / "spool", LIVE, SPOOL_BYTES)
        left = [record.sequence for spooled in spool.take(1000, SPOOL_BYTES) if isinstance(
            record := codec.decode(Message(SEGMENTS, 0, 0, LIVE, spooled.value, spooled.headers)), Segment)]
        spool.close()
        return left

    def start_capture(self) -> None:
        """A successor; back when it has its cameras, before which a signal to end would just kill it."""
        before = self._captured_here()
        self._capture = self._start()
        until(lambda: self._captured_here() == before + 2, PATIENCE_S)

    def _captured_here(self) -> int:
        return (self._folder / "capture.log").read_text().count(": captured here")

    def progress(self) -> tuple[int, int]:
        """How far the alerts of the live camera and of the file are; not at all while nobody answers."""
        try:
            ends = self.log.ends(ALERTS)
        except LogUnavailable:
            return 0, 0
        return ends[0][1], ends[1][1]

    def wait_for_more(self, patience_s: float = PATIENCE_S) -> None:
        """Until there are alerts that were caused by segments captured from now on."""
        deadline_s, before = time.monotonic() + patience_s, (0, 0)
        while not any(before) or any(now - then < more for now, then, more in zip(
                self.progress(), before, MORE, strict=True)):
            assert time.monotonic() < deadline_s, f"stands at {self.progress()}, was at {before}"
            assert not any(result.done() for _, result in self._running)
            assert self._capture.poll() is None, (self._folder / "capture.log").read_text()[-3000:]
            time.sleep(0.2)
            before = before if any(before) else self.progress()

    def end(self) -> None:
        self._capture.send_signal(signal.SIGTERM)
        assert self._capture.wait(PATIENCE_S) == 0, (self._folder / "capture.log").read_text()[-3000:]
        self._stop.set()
        for _, result in self._running:
            result.result(PATIENCE_S)

    def close(self) -> None:
        """Leave nothing running, whatever has happened."""
        self._capture.kill()
        self._capture.wait()
        self._stop.set()
        for thread, _ in self._running:
            thread.join(PATIENCE_S)
        for log in (self.log, *self._logs):
            log.close()


class Outage:
    """What happens to the broker, and for how long."""

    def __init__(self, broker: Broker, lasts_s: float) -> None:
        self._broker, self._lasts_s = broker, lasts_s

    def stopped(self) -> None:
        """Connections stay open, and nobody answers."""
        self._broker.pause()
        time.sleep(self._lasts_s)
        self._broker.resume()

    def killed(self) -> None:
        """kill -9, and a successor at once on what lies on the disk."""
        self._broker.kill()
        self._broker.start()

    def refused(self) -> None:
        """Nobody listens."""
        self._broker.stop()
        time.sleep(self._lasts_s)
        self._broker.start()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    (tmp_path / "broker").mkdir()
    broker = Broker(tmp_path / "broker")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def sources(rtsp_server: RtspServer, media: Callable[..., Path]) -> list[str]:
    """Two cameras in partitions of their own: LIVE in 0, FILE in 1."""
    clip = media("live.mp4", seconds=20, fps=10, gop=10)
    (rtsp_server.folder / "live.mp4").write_bytes(clip.read_bytes())
    return [f"{LIVE}={rtsp_server.url('live.mp4', loop=True)}",
            f"{FILE}={media('file.mp4', seconds=FILE_S, fps=2, gop=2, size=(64, 48))}"]


def check(log: KafkaLog) -> dict[str, list[list[int]]]:
    """Everything is there once, in order, and follows from what came before it; returns what each session gave."""
    segments = [codec.decode(message) for message in everything(log, SEGMENTS)]
    events = [codec.decode(message) for message in everything(log, EVENTS)]
    alerts = [codec.decode(message) for message in everything(log, ALERTS)]
    of: dict[tuple[str, str], list[Segment]] = defaultdict(list)
    sessions: dict[str, list[list[int]]] = defaultdict(list)
    for segment in segments:
        assert isinstance(segment, Segment)
        of[segment.camera, segment.session].append(segment)
    for (camera, _), found in of.items():
        sessions[camera].append([one.sequence for one in found])
        assert sessions[camera][-1] == list(range(len(found)))
    for camera in (LIVE, FILE):
        captured = [one for (name, _), found in of.items() if name == camera for one in found]
        counted = [one for one in events if isinstance(one, Event) and one.camera == camera]
        told = [one.event for one in alerts if isinstance(one, Alert) and one.event.camera == camera]
        assert [one.time_ns for one in counted] == [one.start_ns for one in captured[:len(counted)]]
        assert counted[-1].label.startswith(f"{sum(one.sequence for one in captured[:len(counted)])}/")
        assert [one.id for one in told] == [one.id for one in counted[:len(told)]]
        assert len({one.id for one in told}) == len(told) > 0
    assert len(sessions[FILE]) == 1
    return sessions


@pytest.mark.timeout(900)
def test_a_broker_that_stops_and_one_that_dies(broker: Broker, sources: list[str], tmp_path: Path) -> None:
    settings = KafkaSettings(servers=(broker.address,), session_timeout_s=4, transaction_timeout_s=3,
                             request_timeout_s=4)
    with closing(Pipeline(settings, tmp_path, sources)) as pipeline:
        pipeline.wait_for_more()
        Outage(broker, 5.0).stopped()  # longer than every timeout
        pipeline.wait_for_more()
        broker.kill()
        time.sleep(5.0)
        left = pipeline.kill_capture()
        assert len(left) >= 2
        broker.start()
        pipeline.start_capture()
        pipeline.wait_for_more()
        pipeline.end()
        sessions = check(pipeline.log)
    assert any(set(left) <= set(sequences) for sequences in sessions[LIVE])


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("happens", [Outage.stopped, Outage.killed, Outage.refused])
def test_half_a_minute_without_a_broker(broker: Broker, sources: list[str], tmp_path: Path,
                                        happens: FunctionType) -> None:
    with closing(Pipeline(KafkaSettings(servers=(broker.address,)), tmp_path, sources)) as pipeline:
        pipeline.wait_for_more()
        happens(Outage(broker, 30.0))
        back_s = time.monotonic()
        pipeline.wait_for_more()
        print(f"{happens.__name__}: at work again {time.monotonic() - back_s:.1f} s after the broker is back")
        assert time.monotonic() - back_s < RECOVERED_S
        pipeline.end()
        sessions = check(pipeline.log)
    assert len(sessions[LIVE]) == 1  # the camera never noticed
