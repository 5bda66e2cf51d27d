"""deploy/compose.yaml keeps the specification, what it names exists, and its commands bring up what it promises."""

from __future__ import annotations

import re
import subprocess
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
import yaml
from compose_spec import PyCompose
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource
from typing_extensions import override

from operators.capture.source import parse
from pipeline import settings
from pipeline.cli import app
from pipeline.cluster.run_stages import STAGE_NAMES
from tests.end_to_end.lookout import command, lines
from tests.kafka.broker import Broker, missing
from tests.rtsp import free_port, wait_for_port

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
COMPOSE = (DEPLOY / "compose.yaml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "lookout"}
CONFIG = "/etc/lookout/cluster.yaml"
PATIENCE_S = 150.0


def properties() -> dict[str, str]:
    """What the image makes of its variables."""
    return {name.removeprefix("KAFKA_").lower().replace("_", "."): str(value)
            for name, value in SERVICES["kafka"]["environment"].items()}


def check(compose: str) -> None:
    """Raise ValueError where the Compose specification does not allow it; YAML's `<<` is none of its keys."""
    PyCompose.from_yaml(yaml.safe_dump(yaml.safe_load(compose))).validate()


def test_it_keeps_the_specification() -> None:
    check(COMPOSE)
    for right, wrong in (("restart:", "restarts:"), ("condition: service_healthy", "condition: healthy")):
        with pytest.raises(ValueError, match=wrong.split()[-1].strip(":")):
            check(COMPOSE.replace(right, wrong))


def test_the_broker_is_the_one_of_the_tests_and_needs_no_zookeeper() -> None:
    (version,) = re.findall(r"<artifactId>kafka_2.13</artifactId>\s*<version>(.*)</version>",
                            (DEPLOY.parent / "tests/kafka/pom.xml").read_text())
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{version}"
    assert properties()["process.roles"] == "broker,controller"
    assert "zookeeper" not in COMPOSE


def test_one_service_builds_the_image_of_all_others_from_files_that_are_there() -> None:
    (build,) = [service["build"] for service in OURS.values() if "build" in service]
    dockerfile = (DEPLOY / build["context"] / build["dockerfile"]).read_text()
    assert set(build["args"]) <= set(re.findall(r"^ARG (\w+)", dockerfile, re.MULTILINE))
    extras = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert "demo" in build["args"]["EXTRAS"].split(",")
    assert set(build["args"]["EXTRAS"].split(",")) <= extras.keys()
    assert all(service["pull_policy"] == "never" for service in OURS.values())


def test_volumes_and_files_that_are_mounted_exist() -> None:
    named = set(yaml.safe_load(COMPOSE)["volumes"])
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source, target = volume.split(":")[:2]
            assert (DEPLOY / source).is_file() if source.startswith(".") else source in named
            assert not source.startswith(".") or target == CONFIG


@pytest.mark.parametrize("name", OURS)
def test_its_command_and_flags_exist(name: str) -> None:
    arguments, known = list(OURS[name]["command"]), typer.main.get_command(app)
    while hasattr(known, "commands"):
        known = known.commands[arguments.pop(0)]
    flags = {flag for parameter in known.params for flag in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("--")} <= flags


def test_every_stage_has_a_service_that_waits_for_the_topics() -> None:
    running = {service["command"][1]: service for service in OURS.values() if service["command"][0] == "run"}
    assert running.keys() == set(STAGE_NAMES)
    for service in running.values():
        assert service["depends_on"] == {"topics": {"condition": "service_completed_successfully"}}


def test_addresses_lead_to_services_that_listen_there() -> None:
    found = settings.load(DEPLOY / "cluster.yaml", {})
    assert found.kafka
    advertised = dict(re.findall(r"(\w+)://([^,]+)", properties()["advertised.listeners"]))
    assert list(found.kafka.servers) == [advertised["INTERNAL"]]
    assert SERVICES["kafka"]["ports"] == ["127.0.0.1:29092:29092"]
    assert advertised["EXTERNAL"] == "localhost:29092"
    camera = urlsplit(parse(OURS["cameras"]["command"][2]).url)
    assert camera.hostname in SERVICES
    assert SERVICES[camera.hostname]["command"][-1] == f"0.0.0.0:{camera.port}"
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert f"127.0.0.1:{found.metrics.port}/healthz" in dockerfile
    for host in (advertised["INTERNAL"], properties()["controller.quorum.voters"].partition("@")[2]):
        assert host.partition(":")[0] in SERVICES


class ComposedBroker(Broker):
    """Apache Kafka with the variables of the composition, at ports of this machine."""

    @override
    def _properties(self) -> str:
        ports = {"INTERNAL://:9092": f"INTERNAL://:{self._ports['plain']}", "kafka:9092": self.address,
                 "29092": str(self._ports["sasl"]), ":9093": f":{self._ports['controller']}",
                 "kafka:": "127.0.0.1:", "/var/lib/kafka/data": str(self._folder / "data")}
        text = "\n".join(f"{key}={value}" for key, value in properties().items())
        for there, here in ports.items():
            text = text.replace(there, here)
        return text

    @override
    def _format_options(self) -> list[str]:
        return []


@contextmanager
def composed(tmp_path: Path, broker: Broker, camera_port: int) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """The composition as processes; those that end by themselves have done so."""
    config = tmp_path / "cluster.yaml"
    config.write_text((DEPLOY / "cluster.yaml").read_text().replace("kafka:9092", broker.address)
                      .replace("host: 0.0.0.0", "host: 127.0.0.1").replace("port: 9000", "port: 0"))
    here = {CONFIG: str(config), "/data": str(tmp_path / "data"), "0.0.0.0:8554": f"127.0.0.1:{camera_port}",
            OURS["cameras"]["command"][2]: OURS["cameras"]["command"][2].replace(
                "camera:8554", f"127.0.0.1:{camera_port}")}
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, service in sorted(OURS.items(), key=lambda item: ("camera", "topics", "cameras").index(item[0])
                                    if item[0] in ("camera", "topics", "cameras") else 3):
            words = [here.get(word, word) for word in service["command"]]
            with (tmp_path / f"{name}.out").open("wb") as out, (tmp_path / f"{name}.err").open("wb") as err:
                processes[name] = subprocess.Popen(command(*words), stdout=out, stderr=err)
            if "restart" not in service:
                assert processes.pop(name).wait(PATIENCE_S) == 0, (tmp_path / f"{name}.err").read_text()
        yield processes
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.wait(60)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(bool(missing()), reason=missing())
def test_its_commands_deliver_an_alert_of_the_demo_camera(tmp_path: Path) -> None:
    broker = ComposedBroker(tmp_path)
    broker.start()
    try:
        admin = KafkaAdminClient(bootstrap_servers=broker.address)
        ((_, taken),) = admin.describe_configs([ConfigResource("BROKER", "1")], config_filter="all")["broker"].items()
        admin.close()
        assert properties().keys() <= taken.keys(), "Kafka knows all of them"
        port = free_port()
        with composed(tmp_path, broker, port) as processes:
            wait_for_port(port, processes["camera"], PATIENCE_S)
            deadline_s, told = time.monotonic() + PATIENCE_S, tmp_path / "deliver.out"
            while not told.read_bytes().endswith(b"\n"):
                for name, process in processes.items():
                    assert process.poll() is None, (tmp_path / f"{name}.err").read_text()
                assert time.monotonic() < deadline_s, (tmp_path / "capture.err").read_text()
                time.sleep(0.1)
            alert, *_ = lines(told.read_text())
            assert (alert["data"]["camera"], alert["data"]["label"]) == ("street", "siren")
    finally:
        broker.stop()
