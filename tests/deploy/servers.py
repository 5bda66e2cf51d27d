"""Real Prometheus and Alertmanager processes over the configuration in deploy/, hurried where it says."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import yaml

from tests.deploy.composition import SERVICES
from tests.deploy.names import DEPLOY
from tests.rtsp import free_port, wait_for_port

HISTORY_S = 300.0


def composed(service: str, folders: Mapping[str, Path]) -> list[str]:
    """The arguments that deploy/compose.yaml gives to a service, in folders of this machine."""
    def here(argument: str) -> str:
        flag, _, value = argument.partition("=")
        folder = next((folder for folder in folders if value.startswith(folder)), None)
        return f"{flag}={folders[folder]}{value.removeprefix(folder)}" if folder else argument

    return [here(argument) for argument in SERVICES[service]["command"]]


class Server:
    """A process that listens on a port of 127.0.0.1 from `__enter__` to `__exit__`."""

    def __init__(self, log: Path) -> None:
        self.port = free_port()
        self._log = log
        self._stack = ExitStack()

    def command(self) -> list[str]:
        raise NotImplementedError

    def __enter__(self) -> Self:
        out = self._stack.enter_context(self._log.open("w"))
        process = subprocess.Popen(self.command(), stdout=out, stderr=out)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        wait_for_port(self.port, process)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def answers(self, path: str) -> bool:
        """Whether it is as well as a health check wants it."""
        return self._page(path)[0] == 200

    def get(self, path: str, **parameters: str) -> Any:
        status, body = self._page(f"{path}?{urlencode(parameters)}")
        assert status == 200, body
        return json.loads(body)

    def _page(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


class Prometheus(Server):
    """Scrapes `target` every other second and asks the committed rules as often."""

    def __init__(self, folder: Path, target: int, alertmanager: int, hurried: dict[str, tuple[str, str, str]]) -> None:
        """`hurried`: alert -> what to replace in its expression, by what, and its `for`."""
        super().__init__(folder / "prometheus.log")
        self._folder = folder
        config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "2s", "evaluation_interval": "2s"}
        del config["scrape_configs"][0]["dns_sd_configs"]
        config["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{target}"]}]
        config["alerting"]["alertmanagers"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{alertmanager}"]}]
        rules = yaml.safe_load((DEPLOY / "prometheus/lookout.rules.yml").read_text())
        for rule in rules["groups"][0]["rules"]:
            if change := hurried.get(rule.get("alert", "")):
                assert change[0] in rule["expr"]
                rule["expr"], rule["for"] = rule["expr"].replace(change[0], change[1]), change[2]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        (folder / "lookout.rules.yml").write_text(yaml.safe_dump(rules))

    def command(self) -> list[str]:
        return ["prometheus", *composed("prometheus", {"/etc/prometheus": self._folder, "/prometheus":
                                                       self._folder / "tsdb"}),
                f"--web.listen-address=127.0.0.1:{self.port}"]

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Every series' labels and value, now."""
        return list(self.get("/api/v1/query", query=expr)["data"]["result"])

    def history(self, expr: str) -> list[dict[str, Any]]:
        """Every series' labels and values of the last minutes, as Grafana asks for them."""
        now_s = time.time()
        return list(self.get("/api/v1/query_range", query=expr, start=str(now_s - HISTORY_S), end=str(now_s),
                             step="2")["data"]["result"])


class Alertmanager(Server):
    """Notifies `receiver` by the committed routes, without the waiting."""

    def __init__(self, folder: Path, receiver: str) -> None:
        super().__init__(folder / "alertmanager.log")
        self._folder = folder
        config = yaml.safe_load((DEPLOY / "alertmanager/alertmanager.yml").read_text())
        config["route"] |= {"group_wait": "1s", "group_interval": "1s"}
        config["receivers"][0]["webhook_configs"][0]["url"] = receiver
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))

    def command(self) -> list[str]:
        return ["prometheus-alertmanager", *composed("alertmanager", {"/etc/alertmanager": self._folder,
                                                                      "/alertmanager": self._folder / "silences"}),
                f"--web.listen-address=127.0.0.1:{self.port}"]
