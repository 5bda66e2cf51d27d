"""A real Prometheus and Alertmanager watch a running Lookout: every panel and rule shows something, and a camera that
stops becomes a notification.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from tests.deploy.composition import SERVICES
from tests.deploy.names import DEPLOY
from tests.deploy.servers import Alertmanager, Prometheus
from tests.end_to_end.lookout import command
from tests.operators.notify.receiver import Receiver
from tests.rtsp import RtspServer, free_port
from tests.tiny_bundle import make_bundle

pytestmark = [
    pytest.mark.slow, pytest.mark.timeout(500),
    pytest.mark.skipif(shutil.which("prometheus-alertmanager") is None or shutil.which("prometheus") is None,
                       reason="no prometheus or prometheus-alertmanager: Debian packages of these names")]

WAIT_S = 180.0
CAMERA = "gate"
HURRIED = {"LookoutCameraSilent": ("> 60", "> 8", "1s")}


def draw(time_s: float, picture: NDArray[np.uint8]) -> None:
    """White for two seconds of every four."""
    picture[:] = 250 if time_s % 4 < 2 else 20


def tone(time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Loud meanwhile."""
    return np.asarray(np.where(time_s % 4 < 2, 0.6, 0.001) * np.sin(2 * np.pi * 440 * time_s))


@dataclass
class Running:
    """What the tests look at."""

    prometheus: Prometheus
    alertmanager: Alertmanager
    notified: Receiver
    gate: RtspServer
    lookout: subprocess.Popen[bytes]
    log: Path

    def until(self, condition: Callable[[], bool], what: Callable[[], object]) -> None:
        deadline_s = time.monotonic() + WAIT_S
        while not condition():
            assert self.lookout.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline_s, what()
            time.sleep(0.3)  # another process decides when

    def notifications(self) -> list[dict[str, Any]]:
        return [alert for request in list(self.notified.requests) for alert in json.loads(request.body)["alerts"]]


@pytest.fixture(scope="module")
def running(media: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("live")
    film = media("film.mp4", seconds=8.0, fps=10, gop=10, audio_codec="aac", draw=draw, tone=tone)
    with ExitStack() as stack:
        servers = []
        for name in (CAMERA, "yard"):
            (folder / name).mkdir()
            shutil.copy(film, folder / name)
            servers.append(server := RtspServer(folder / name))
            stack.callback(server.stop)
            server.start()
        good, poor, gone, notified = (stack.enter_context(Receiver(*answers))
                                      for answers in ((), (500,), (413,), ()))
        config = folder / "lookout.yml"
        port = free_port()
        config.write_text(yaml.safe_dump({
            "cameras": [{"source": f"{name}={server.url(film.name, loop=True)}", "backoff_max_s": 1.0}
                        for name, server in zip((CAMERA, "yard"), servers, strict=True)],
            "rules": [{"name": "light", "labels": ["bright"], "cooldown_s": 0, "escalate": {"after_s": 1}},
                      {"name": "noise", "labels": ["loud"], "cooldown_s": 3600}],
            "webhooks": [{"name": name, "url": receiver.url, "allow": ["127.0.0.1"]}
                         for name, receiver in (("good", good), ("poor", poor), ("gone", gone))],
            "metrics": {"port": port}, "model": str(make_bundle(folder / "bundle"))}))
        log = folder / "lookout.log"
        lookout = subprocess.Popen(command("watch", "--config", config, "--data", folder / "data"),
                                   stdout=subprocess.DEVNULL, stderr=stack.enter_context(log.open("wb")))
        stack.callback(lookout.wait, 60)
        stack.callback(lookout.send_signal, signal.SIGINT)
        alertmanager = stack.enter_context(Alertmanager(folder, notified.url))
        prometheus = stack.enter_context(Prometheus(folder, port, alertmanager.port, HURRIED))
        yield Running(prometheus, alertmanager, notified, servers[0], lookout, log)


def filled_in(query: str) -> str:
    """What Grafana asks for the camera that is chosen."""
    return query.replace("$__rate_interval", "30s").replace("$camera", CAMERA)


def panels() -> Iterator[tuple[str, str, set[str]]]:
    """Where a query stands, itself, and the labels that its legend is made of."""
    for path in sorted((DEPLOY / "grafana/generated").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                labels = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
                yield f"{path.stem}: {panel['title']}", filled_in(target["expr"]), labels


def rules() -> Iterator[tuple[str, str, set[str]]]:
    """The series that each rule records, and what each alert compares, with the labels that its words are made of."""
    for rule in yaml.safe_load((DEPLOY / "prometheus/lookout.rules.yml").read_text())["groups"][0]["rules"]:
        if "record" in rule:
            level = rule["record"].partition(":")[0]
            yield rule["record"], rule["record"], {level} - {"lookout"}
            continue
        compared = re.fullmatch(r"(.*) (?:>|==) [\d.]+", rule["expr"], re.DOTALL)
        assert compared, rule["alert"]
        labels = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        yield rule["alert"], compared[1], labels


def test_the_compositions_health_checks_are_answered(running: Running) -> None:
    servers = {"prometheus": running.prometheus, "alertmanager": running.alertmanager}
    paths = {name: urlsplit(SERVICES[name]["healthcheck"]["test"][-1]).path for name in servers}
    running.until(lambda: all(server.answers(paths[name]) for name, server in servers.items()), lambda: paths)


def test_every_panel_and_every_rule_shows_something(running: Running) -> None:
    open_: dict[tuple[str, str], set[str]] = {(where, query): labels for where, query, labels in (*panels(), *rules())}
    running.until(lambda: bool(running.prometheus.query(f'camera:lookout_sight:state{{camera="{CAMERA}"}} == 2')),
                  running.log.read_text)
    running.gate.restart()  # a reconnect, and an error of the source, for the panels that show them

    def all_answered() -> bool:
        for (where, query), labels in list(open_.items()):
            found = running.prometheus.history(query)
            if any(not isnan(float(value)) for series in found for _, value in series["values"]):
                for series in found:
                    assert labels <= series["metric"].keys(), (where, query)
                del open_[where, query]
        return not open_

    running.until(all_answered, lambda: (list(open_), running.log.read_text()[-3000:]))


def test_a_camera_that_stops_is_notified_and_so_is_its_return(running: Running) -> None:
    silent = {"alertname": "LookoutCameraSilent", "camera": CAMERA, "severity": "critical"}
    running.until(lambda: not running.prometheus.query(f'ALERTS{{alertname="LookoutCameraSilent",camera="{CAMERA}"}}'),
                  running.log.read_text)
    before = len(running.notifications())

    def told(status: str) -> list[dict[str, Any]]:
        return [alert for alert in running.notifications()[before:]
                if (alert["status"], alert["labels"]) == (status, silent)]

    running.gate.stop()
    running.until(lambda: bool(told("firing")), running.notifications)
    assert told("firing")[0]["annotations"]["summary"] == f"Nothing comes from camera {CAMERA}"
    running.gate.start()
    running.until(lambda: bool(told("resolved")), running.notifications)
