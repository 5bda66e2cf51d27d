"""`kill -9` at random instants between event and receiver: every alert arrives, signed, in order per camera."""

from __future__ import annotations

import base64
import random
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

from operators.records import Event, alert_id
from pipeline import codec
from pipeline.alerts.ledger import entries
from pipeline.settings import LogSettings
from pipeline.topics.embedded_log import EmbeddedLog
from pipeline.topology import EVENTS, topics
from tests.operators.notify.events import an_event
from tests.operators.notify.receiver import RESET, Answer, Receiver
from tests.waiting import until

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
CAMERAS = ("gate", "hall", "lobby", "yard", "attic")
EVENTS_A_KILL = 15
SEED = 20261122
ROOT = Path(__file__).parents[3]


class Notifying:
    """The process that is killed."""

    def __init__(self, folder: Path, url: str) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", "tests.pipeline.alerts.notifying", folder, url],
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def append(log: EmbeddedLog, numbers: range) -> list[Event]:
    events = [an_event("close", start_s=number, at_s=number + 1, camera=CAMERAS[number % len(CAMERAS)])
              for number in numbers]
    with log.transaction("test") as transaction:
        for event in events:
            value, headers = codec.encode(event)
            transaction.append(EVENTS, event.camera, value, headers)
    return events


def survive(folder: Path, kills: int) -> None:
    chance = random.Random(SEED)  # noqa: S311 - reproducible, not secret
    (folder / "secret").write_text(SECRET)
    log = EmbeddedLog(folder)
    log.ensure(topics(LogSettings(partitions=2)))
    trouble = [chance.choice([Answer(200)] * 12 + [Answer(500), RESET, Answer(301), Answer(429, {"Retry-After": "0"})])
               for _ in range(kills * EVENTS_A_KILL // 2)]
    events: list[Event] = []
    with Receiver(*trouble, 200) as receiver:
        for kill in range(kills):
            running = Notifying(folder, receiver.url)
            events += append(log, range(kill * EVENTS_A_KILL, (kill + 1) * EVENTS_A_KILL))
            time.sleep(chance.uniform(0.0, 0.8))  # the instant of the kill is what is tried here
            running.kill()
        running = Notifying(folder, receiver.url)
        expected = {alert_id("all", event.id) for event in events}
        until(lambda: all(entry.status == "delivered" for entry in entries(log)) and expected <= set(receiver.ids),
              120, lambda: [(entry.line(), entry.lines()) for entry in entries(log) if entry.status != "delivered"])
        running.kill()
        assert set(receiver.ids) == expected
        assert all(request.verified(SECRET) for request in receiver.requests)
        first: defaultdict[str, list[str]] = defaultdict(list)
        camera_of = {alert_id("all", event.id): event.camera for event in events}
        for name in receiver.ids:
            if name not in first[camera_of[name]]:
                first[camera_of[name]].append(name)
    for camera in CAMERAS:
        assert first[camera] == [alert_id("all", event.id) for event in events if event.camera == camera]
    assert [entry.status for entry in entries(log)] == ["delivered"] * len(events)
    log.close()


@pytest.mark.slow
def test_a_few_kills_lose_no_alert(tmp_path: Path) -> None:
    survive(tmp_path, kills=6)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_fifty_kills_lose_no_alert(tmp_path: Path) -> None:
    survive(tmp_path, kills=50)
