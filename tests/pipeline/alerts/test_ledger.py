"""`lookout alerts` says what became of every alert, and gives those that were given up out again."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from typing_extensions import override

from operators.base import Operator
from operators.clock import SystemClock
from operators.errors import DeliveryError, DeliveryRefused, SettingsError
from operators.notify.alerter import Alerter
from operators.notify.outbox import Outbox
from operators.notify.rules import RuleSettings
from operators.notify.sink import Sink
from operators.records import Alert, Event, alert_id
from pipeline import codec
from pipeline.alerts.ledger import Entry, entries, entry_of, held_back, replay
from pipeline.cli import app
from pipeline.topics.embedded_log import EmbeddedLog
from pipeline.topology import EVENTS, STAGES
from pipeline.watcher import Watcher
from pipeline.workers.worker import Worker
from tests.end_to_end.lookout import run
from tests.operators.notify.events import an_event
from tests.waiting import until

RULE = RuleSettings(name="all", labels=("siren",), cooldown_s=0.0, min_score=0.5)
WAIT_S = 60.0


class Told(Sink):
    """Keeps what it is told, unless told not to."""

    def __init__(self, name: str, refuse: DeliveryError | None = None) -> None:
        self.name, self.refuse = name, refuse
        self.got: list[str] = []

    @override
    def deliver(self, alert: Alert) -> None:
        if self.refuse:
            raise self.refuse
        self.got.append(alert.id)

    @override
    def close(self) -> None:
        pass


@contextmanager
def at_work(log: EmbeddedLog, *sinks: Sink, stages: tuple[str, ...] = ("notify", "deliver"),
            ) -> Iterator[Callable[[Callable[[], bool]], None]]:
    """The last stages; gives what waits for a condition."""
    stop, clock = threading.Event(), SystemClock()
    operators: dict[str, Operator[Any, Any]] = {"notify": Alerter([RULE], ()), "deliver": Outbox(sinks, clock=clock)}
    threads = [threading.Thread(target=Worker(stage.lane, operators[stage.lane.stage], log, clock, Watcher()).run,
                                args=(stop,)) for stage in STAGES if stage.lane.stage in stages]
    for thread in threads:
        thread.start()

    try:
        yield partial(until, within_s=WAIT_S, told=lambda: [entry.line() for entry in entries(log)])
    finally:
        stop.set()
        for thread in threads:
            thread.join(WAIT_S)


def give(log: EmbeddedLog, *events: Event) -> None:
    with log.transaction("test") as transaction:
        for event in events:
            value, headers = codec.encode(event)
            transaction.append(EVENTS, event.camera, value, headers)


def an_event_of(number: int) -> Event:
    return an_event("close", start_s=number, at_s=number + 1, camera=f"camera{number}")


def statuses(log: EmbeddedLog) -> list[str]:
    return [entry.status for entry in entries(log)]


def test_every_alert_has_its_status(log: EmbeddedLog) -> None:
    give(log, an_event_of(1))
    fine, failing = Told("fine"), Told("failing")
    with at_work(log, fine, failing) as wait_for:
        wait_for(lambda: statuses(log) == ["delivered"])
        failing.refuse = DeliveryError("not now")
        give(log, an_event_of(2))
        wait_for(lambda: [pending.failures for entry in entries(log) for pending in entry.waiting.values()] == [1])
        failing.refuse = DeliveryRefused("never")
        give(log, an_event_of(3))
        wait_for(lambda: statuses(log) == ["delivered", "waiting", "dead"])
        waiting, dead = entries(log)[1:]
        assert set(waiting.waiting) == {"failing"}
        assert "failing: waits, 1 failures, next try " in waiting.lines()[0]
        assert dead.lines() == ["failing: dead: failing: given up after 0 retries: never"]
        assert len(fine.got) == 3
    give(log, an_event_of(4))
    with at_work(log, stages=("notify",)) as wait_for:
        wait_for(lambda: statuses(log)[3:] == ["queued"])


def test_what_was_given_up_is_replayed_to_those_who_did_not_get_it(log: EmbeddedLog) -> None:
    fine, refusing = Told("fine"), Told("refusing", DeliveryRefused("never"))
    give(log, an_event_of(1), an_event_of(2))
    with at_work(log, fine, refusing) as wait_for:
        wait_for(lambda: statuses(log) == ["dead", "dead"])
        refusing.refuse = None
        first = entry_of(log, entries(log)[0].alert.id[:10])
        assert replay(log, [(first, list(first.dead))]) == 1
        wait_for(lambda: statuses(log) == ["delivered", "dead"])
        assert refusing.got == [first.alert.id]
        assert len(fine.got) == 2  # it has them already
        with pytest.raises(SettingsError, match="alerts have an id that begins with 'zz'"):
            entry_of(log, "zz")


def test_an_alert_that_is_given_up_again_is_dead_again(log: EmbeddedLog) -> None:
    refusing = Told("refusing", DeliveryRefused("never"))
    give(log, an_event_of(1))
    with at_work(log, refusing) as wait_for:
        wait_for(lambda: statuses(log) == ["dead"])
        entry, = entries(log)
        replay(log, [(entry, ["refusing"])])
        wait_for(lambda: sum(end - first for first, end in log.ends("dead.deliver").values()) == 2)
        wait_for(lambda: statuses(log) == ["dead"])


def test_what_was_held_back_is_listed_with_its_reason(log: EmbeddedLog) -> None:
    give(log, an_event("close", peak_score=0.2), an_event("close", start_s=5, label="dog_bark"), an_event_of(7))
    with at_work(log, Told("fine")) as wait_for:
        wait_for(lambda: statuses(log) == ["delivered"])
        wait_for(lambda: len(held_back(log)) == 2)
    assert [(held.rule, held.reason, held.event.label) for held in held_back(log)] == [
        ("all", "score", "siren"), ("", "unmatched", "dog_bark")]


def said(*arguments: object) -> str:
    """What `lookout alerts …` writes."""
    done = CliRunner().invoke(app, ["alerts", *map(str, arguments)])
    if done.exception:
        raise done.exception
    return done.stdout


def test_the_commands(log: EmbeddedLog, tmp_path: Path) -> None:
    refusing = Told("refusing", DeliveryRefused("never"))
    give(log, an_event_of(1), an_event("close", peak_score=0.2))
    name = alert_id("all", an_event_of(1).id)
    with at_work(log, Told("fine"), refusing) as wait_for:
        wait_for(lambda: statuses(log) == ["dead"] and len(held_back(log)) == 1)
        listed = run("alerts", "list", "--data", tmp_path)  # another process, while this one works
        assert listed.returncode == 0, listed.stderr
        assert f"{name} 2023-11-14T22:13:22.000Z dead      warning  all: siren at camera1" in listed.stdout
        assert said("list", "--status", "waiting", "--data", tmp_path) == ""
        held = json.loads(said("list", "--suppressed", "--json", "--data", tmp_path))
        assert (held["reason"], held["event"]["subject"]) == ("score", "siren")
        shown = json.loads(said("show", name[:12], "--data", tmp_path))
        assert (shown["status"], shown["alert"]["id"]) == ("dead", name)
        assert shown["dead"] == {"refusing": "refusing: given up after 0 retries: never"}
        refusing.refuse = None
        assert said("replay", "--data", tmp_path) == "replayed 1\n"
        wait_for(lambda: refusing.got == [name])
        wait_for(lambda: statuses(log) == ["delivered"])
        with pytest.raises(SettingsError, match="was not given up"):
            said("replay", name, "--data", tmp_path)
        with pytest.raises(SettingsError, match="--sink needs the ID"):
            said("replay", "--sink", "refusing", "--data", tmp_path)
        assert said("replay", name, "--sink", "refusing", "--data", tmp_path) == "replayed 1\n"
        wait_for(lambda: refusing.got == [name, name])
    with pytest.raises(SettingsError, match="no such folder"):
        said("list", "--data", tmp_path / "nowhere")


def test_an_entry_is_in_the_worst_state_of_its_receivers(log: EmbeddedLog) -> None:
    alert = Alert(id="a", rule="r", created_ns=0, event=an_event())
    assert [Entry(alert, 0, taken).status for taken in (False, True)] == ["queued", "delivered"]
    assert Entry(alert, 0, True, dead={"x": "y"}).status == "dead"
