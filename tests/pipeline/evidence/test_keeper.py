"""The stage `evidence` on a real log: made once and whole, whatever fails or dies, and never in an alert's way."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typing_extensions import override

from operators.clock import NS_PER_S, ManualClock
from operators.errors import LogUnavailable, StorageError
from operators.evidence.settings import EvidenceSettings
from operators.models.bundle import load as load_bundle
from operators.records import Alert, Event, Segment
from pipeline.background import in_background
from pipeline.evidence import making
from pipeline.evidence.begin import begin_evidence
from pipeline.evidence.keeper import MAX_PENDING, RETRY_NS, TRIES
from pipeline.evidence.making import PARTS
from pipeline.metrics.evidence import Making
from pipeline.metrics.metrics import Metrics
from pipeline.settings import LookoutSettings
from pipeline.topics.embedded_log import EmbeddedLog
from pipeline.topology import OPTIONAL
from pipeline.watcher import Watcher
from pipeline.workers.worker import Worker
from tests.operators.decode.segments import segments_of
from tests.operators.fuse.embeddings import START_NS
from tests.operators.notify.events import an_event
from tests.pipeline.evidence.records import an_alert_of, append, embeddings, events, fitted
from tests.tiny_bundle import make_bundle
from tests.waiting import until

Media = Callable[..., Path]
WITHIN_S = 120.0
MADE = ["clip.mp4", "evidence.json", "snapshot.jpg", "why.png"]


class Noting(Metrics):
    """Remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.makings: list[Making] = []

    @override
    def on_making(self, making: Making) -> None:
        self.makings.append(making)


class Stage:
    """What keeps evidence of `log` in a folder, driven as a worker drives it, or by a worker."""

    def __init__(self, log: EmbeddedLog, bundle: Path, folder: Path, **fields: Any) -> None:
        self.log, self.folder, self.clock = log, folder, ManualClock(START_NS + 3600 * NS_PER_S)
        metrics = Noting()
        self.makings = metrics.makings
        settings = LookoutSettings(evidence=EvidenceSettings(url=str(folder), **fields))
        with ExitStack() as stack:
            kept = begin_evidence(settings, load_bundle(bundle), log, self.clock, metrics, None, stack)
        assert kept is not None
        self.keeper, self.store = kept.keeper, kept.store
        self.state: dict[str, bytes] = {}

    def turn(self, *alerts: Alert) -> None:
        """One of the worker's: what it keeps afterwards is all that survives."""
        list(self.keeper.process(alerts))
        self.keeper.advance(self.clock.now_ns())
        self.state |= self.keeper.snapshot()
        self.state = {camera: value for camera, value in self.state.items() if value}

    def turns(self, count: int, seconds: float = 1.0) -> None:
        for _ in range(count):
            self.clock.sleep(seconds)
            self.turn()

    def files(self, event: Event) -> list[str]:
        folder = self.folder / event.id
        return sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def event(bundle: Path) -> Event:
    """As it is when its alert is made."""
    return events(bundle, embeddings())[0]


@pytest.fixture(scope="module")
def segments(media: Media) -> list[Segment]:
    film = media("story.mp4", seconds=24.0, audio_codec="aac")
    return fitted(segments_of(film), embeddings())


@pytest.fixture
def stage(log: EmbeddedLog, bundle: Path, segments: list[Segment], tmp_path: Path) -> Stage:
    """A log with all of the story, its events and its media."""
    append(log, *segments, *embeddings(), *events(bundle, embeddings()))
    return Stage(log, bundle, tmp_path / "evidence")


def test_an_alert_s_evidence_is_made_once_however_many_alerts_tell_of_it(stage: Stage, event: Event) -> None:
    alert = an_alert_of(event)
    stage.turn(alert, msgspec.structs.replace(alert, id="f" * 32, escalated=True))
    assert stage.keeper.pending == 1
    stage.turns(4)
    assert stage.keeper.pending == 0
    assert stage.state == {}
    assert stage.files(event) == MADE
    (only,) = stage.makings
    assert (only.made, only.failed) == (("clip", "snapshot", "why"), {})
    record = json.loads((stage.folder / event.id / "evidence.json").read_bytes())
    assert record["clip"]["container"] == "mp4"
    assert record["clip"]["start"] <= record["start"] < record["peak"] < record["end"] < record["clip"]["end"]
    before = {file: file.stat().st_mtime_ns for file in (stage.folder / event.id).iterdir()}
    stage.turn(msgspec.structs.replace(alert, id="e" * 32))
    stage.turns(4)
    assert {file: file.stat().st_mtime_ns for file in (stage.folder / event.id).iterdir()} == before
    assert len(stage.makings) == 1


def test_a_replayed_alert_makes_nothing(stage: Stage, event: Event) -> None:
    stage.turn(msgspec.structs.replace(an_alert_of(event), replayed=True))
    assert stage.keeper.pending == 0


def test_where_the_segments_are_gone_the_picture_is_still_made(
        log: EmbeddedLog, bundle: Path, event: Event, tmp_path: Path) -> None:
    append(log, *embeddings(), *events(bundle, embeddings()))
    stage = Stage(log, bundle, tmp_path / "evidence")
    stage.turn(an_alert_of(event))
    stage.turns(4)
    assert stage.files(event) == ["evidence.json", "why.png"]
    assert stage.makings[0].failed == {"clip": "gone", "snapshot": "gone"}


def test_where_nothing_is_left_nothing_is_kept_and_all_is_counted(
        log: EmbeddedLog, bundle: Path, event: Event, tmp_path: Path) -> None:
    stage = Stage(log, bundle, tmp_path / "evidence")
    stage.turn(an_alert_of(event))
    stage.turns(4)
    assert stage.files(event) == []
    assert stage.makings == [Making((), dict.fromkeys(PARTS, "gone"), stage.makings[0].took_s)]


def test_damaged_segments_spoil_only_what_is_made_of_them(
        log: EmbeddedLog, bundle: Path, event: Event, segments: list[Segment], tmp_path: Path) -> None:
    broken = [msgspec.structs.replace(segment, media=b"rubbish") for segment in segments]
    append(log, *broken, *embeddings(), *events(bundle, embeddings()))
    stage = Stage(log, bundle, tmp_path / "evidence")
    stage.turn(an_alert_of(event))
    stage.turns(4)
    assert stage.files(event) == ["evidence.json", "why.png"]
    assert stage.makings[0].failed == {"clip": "unreadable", "snapshot": "unreadable"}


@pytest.mark.parametrize(("broken", "part"), [("remux", "clip"), ("pictures_at", "snapshot"), ("draw", "why")])
def test_a_part_that_breaks_takes_no_other_with_it(
        broken: str, part: str, stage: Stage, event: Event, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(making, broken, fail)
    stage.turn(an_alert_of(event))
    stage.turns(4)
    (told,) = stage.makings
    assert told.failed[part] == "unexpected"
    assert "why" in told.made or part == "why"
    assert "clip" in told.made or part == "clip"


def test_an_alert_of_a_camera_s_health_has_evidence_without_scores(stage: Stage, event: Event) -> None:
    covered = msgspec.structs.replace(event, id="c" * 32, label="camera_covered", end_ns=event.time_ns, kind="close")
    stage.turn(an_alert_of(covered))
    stage.turns(4)
    assert stage.files(covered) == MADE


def test_dying_between_any_two_parts_the_next_process_makes_all_of_it(
        stage: Stage, event: Event, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        """As final as kill -9 to whoever is at work."""

    stage.turn(an_alert_of(event))
    put, left = stage.store.put, 0
    for survived in range(4):
        left = survived

        def dying(event_id: str, file: Path) -> None:
            nonlocal left
            if not left:
                raise Killed
            left -= 1
            put(event_id, file)

        monkeypatch.setattr(stage.store, "put", dying)
        with pytest.raises(Killed):
            stage.turns(4)
        assert "evidence.json" not in stage.files(event)
        stage.keeper.restore(stage.state)
        if survived == TRIES - 2:
            break
    monkeypatch.setattr(stage.store, "put", put)
    stage.turns(4)
    assert stage.files(event) == MADE
    assert stage.keeper.pending == 0


def test_what_processes_die_of_is_given_up_after_a_few_of_them(
        stage: Stage, event: Event, monkeypatch: pytest.MonkeyPatch) -> None:
    deaths = 0

    def die(*_: object) -> None:
        nonlocal deaths
        deaths += 1
        raise SystemExit

    monkeypatch.setattr(making, "remux", die)
    stage.turn(an_alert_of(event))
    for _ in range(TRIES):
        with pytest.raises(SystemExit):
            stage.turns(4)
        stage.keeper.restore(stage.state)
    stage.turns(4)
    assert deaths == TRIES
    assert stage.makings == [Making((), dict.fromkeys(PARTS, "lethal"), 0.0)]
    assert stage.keeper.pending == 0


@pytest.mark.parametrize(("error", "reason"), [(StorageError("full"), "storage"), (LogUnavailable("away"), "log")])
def test_what_fails_for_a_while_is_tried_again_and_given_up_in_the_end(
        error: Exception, reason: str, stage: Stage, event: Event, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = 0

    def fail(*_: object) -> None:
        nonlocal tries
        tries += 1
        raise error

    monkeypatch.setattr(stage.store, "put", fail)
    stage.turn(an_alert_of(event))
    stage.turns(TRIES * 4, seconds=RETRY_NS / NS_PER_S)
    assert tries == TRIES
    assert stage.makings == [Making((), dict.fromkeys(PARTS, reason), 0.0)]
    assert stage.keeper.pending == 0


def test_nothing_is_made_while_alerts_are_in_hand_or_before_that_it_began_is_kept(stage: Stage, event: Event) -> None:
    stage.turn(an_alert_of(event))
    assert b"tries" in stage.state["cam"]
    stage.turn()  # looks, and begins
    kept_as_begun = msgspec.msgpack.decode(stage.state["cam"])
    assert [one["tries"] for one in kept_as_begun] == [1]
    assert stage.files(event) == []
    stage.turn(an_alert_of(msgspec.structs.replace(event, id="d" * 32)))
    assert stage.files(event) == []
    stage.turn()
    assert stage.files(event) == MADE


def test_more_than_can_be_waited_for_is_counted_and_let_go(stage: Stage) -> None:
    stage.turn(*(an_alert_of(an_event(camera=f"c{number}")) for number in range(MAX_PENDING + 3)))
    assert stage.keeper.pending == MAX_PENDING
    assert stage.makings == [Making((), dict.fromkeys(PARTS, "overload"), 0.0)] * 3


def test_what_is_kept_is_bounded(log: EmbeddedLog, bundle: Path, segments: list[Segment], event: Event,
                                 tmp_path: Path) -> None:
    append(log, *segments, *embeddings(), *events(bundle, embeddings()))
    stage = Stage(log, bundle, tmp_path / "evidence", keep_bytes=2**20)
    old = tmp_path / "evidence" / ("0" * 32)
    old.mkdir(parents=True)
    (old / "clip.mp4").write_bytes(b"x" * 2**20)
    stage.turn(an_alert_of(event))
    stage.turns(6)
    assert not old.exists()
    assert stage.files(event) == MADE
    assert stage.store.kept_bytes == sum(file.stat().st_size for file in (stage.folder / event.id).iterdir())


@pytest.fixture
def working(stage: Stage) -> Iterator[Callable[[], threading.Event]]:
    """Runs the stage by a real worker on the log, until the event that this gives is set."""
    running = []

    def run() -> threading.Event:
        stop = threading.Event()
        worker = Worker(OPTIONAL[0].lane, stage.keeper, stage.log, stage.clock, Watcher())
        running.append((stop, in_background("evidence", worker.run, stop)))
        return stop

    yield run
    for stop, (thread, result) in running:
        stop.set()
        thread.join(WITHIN_S)
        result.result(0)


def test_a_worker_takes_alerts_off_the_log_and_evidence_stands_there(
        stage: Stage, working: Callable[[], threading.Event], event: Event) -> None:
    working()
    append(stage.log, an_alert_of(event))
    until(lambda: stage.files(event) == MADE, WITHIN_S)
    until(lambda: not any(stage.log.lag("evidence", "alerts").values()), WITHIN_S)
    until(lambda: not any(stage.log.state("evidence", partition) for partition in range(2)), WITHIN_S)
