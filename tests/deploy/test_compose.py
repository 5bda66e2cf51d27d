"""deploy/compose.yaml keeps the specification, what it names exists, and its commands bring up what it promises."""

from __future__ import annotations

import http.client
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from compose_spec import PyCompose
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource
from typing_extensions import override

from operators.capture.source import parse
from pipeline import settings
from pipeline.cluster.run_stages import NAMES
from tests.deploy.composition import COMPOSE, GRACE_S, OURS, RUNNING, SERVICES
from tests.deploy.names import DEPLOY, PROJECT, check_command
from tests.end_to_end.lookout import command, lines
from tests.kafka.broker import Broker, missing
from tests.rtsp import free_port, wait_for_port

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
    extras = PROJECT["optional-dependencies"]
    assert "demo" in build["args"]["EXTRAS"].split(",")
    assert set(build["args"]["EXTRAS"].split(",")) <= extras.keys()
    assert all(service["pull_policy"] == "never" for service in OURS.values())


def test_every_image_is_pinned_to_the_version_that_tests_know() -> None:
    for service in SERVICES.values():
        assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", service["image"])
    assert {service["image"] for service in OURS.values()} == {f"lookout:{PROJECT['version']}"}
    (sdk,) = [item for item in PROJECT["optional-dependencies"]["test"] if item.startswith("grafana-foundation-sdk")]
    assert SERVICES["grafana"]["image"].partition(":")[2] == sdk.rpartition("!")[2]


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - {"kafka"}))  # which writes its configuration as it starts
def test_it_cannot_write_but_where_it_must_and_has_no_privileges(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    if name not in OURS:  # whose user is that of the image
        assert int(service["user"].partition(":")[0]) > 0


def test_volumes_and_files_that_are_mounted_exist() -> None:
    named = set(yaml.safe_load(COMPOSE)["volumes"])
    mounted = [volume.split(":") for service in SERVICES.values() for volume in service.get("volumes", ())]
    for source, target, *how in mounted:
        assert (DEPLOY / source).exists() if source.startswith(".") else source in named
        assert not source.startswith(".") or how == ["ro"]
        assert (DEPLOY / source).is_dir() or target == CONFIG or source in named
    assert named == {source for source, *_ in mounted} & named


@pytest.mark.parametrize("name", OURS)
def test_its_command_and_flags_exist(name: str) -> None:
    check_command(OURS[name]["command"])


def test_every_stage_has_a_service_that_waits_for_the_topics_and_may_finish_its_batch() -> None:
    assert RUNNING.keys() == set(NAMES)
    for service in RUNNING.values():
        assert service["depends_on"] == {"topics": {"condition": "service_completed_successfully"}}
        assert service["stop_grace_period"] == f"{GRACE_S}s"


def test_who_watches_finds_what_it_watches() -> None:
    prometheus = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    ((found,),) = [scrape["dns_sd_configs"] for scrape in prometheus["scrape_configs"]]
    assert set(found["names"]) == {"lookout", *RUNNING}
    assert found["port"] == settings.load(DEPLOY / "cluster.yaml", {}).metrics.port
    targets = prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    for name, address in (("alertmanager", targets[0]), ("prometheus", urlsplit(source["url"]).netloc)):
        port = address.removeprefix(f"{name}:")
        assert SERVICES[name]["ports"] == [f"127.0.0.1:{port}:{port}"]
        assert f"localhost:{port}/" in SERVICES[name]["healthcheck"]["test"][-1]
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]


def test_grafana_finds_its_provisioning_and_the_dashboards() -> None:
    mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in SERVICES["grafana"]["volumes"]}
    provided = DEPLOY / mounted["/etc/grafana/provisioning"]
    (provider,) = yaml.safe_load((provided / "dashboards/lookout.yml").read_text())["providers"]
    boards = DEPLOY / mounted[provider["options"]["path"]]
    (source,) = yaml.safe_load((provided / "datasources/prometheus.yml").read_text())["datasources"]
    for board in boards.glob("*.json"):
        assert set(re.findall(r'"type": "(\w+)",\s*"uid": "\${datasource}"', board.read_text())) == {source["type"]}
    assert list(boards.glob("*.json"))


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


def page(port: int, path: str) -> tuple[int, bytes]:
    """A page of a process, as a probe asks for it; 0 where nobody listens yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except ConnectionError:
        return 0, b""
    finally:
        connection.close()


@contextmanager
def composed(tmp_path: Path, broker: Broker, camera_port: int,
             pages: dict[str, int]) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """The composition as processes; those that end by themselves have done so. Ports of their pages go into `pages`."""
    config = tmp_path / "cluster.yaml"
    config.write_text((DEPLOY / "cluster.yaml").read_text().replace("kafka:9092", broker.address)
                      .replace("host: 0.0.0.0", "host: 127.0.0.1").replace("port: 9000", "port: 0")
                      .replace("url: /data", f"url: {tmp_path}/data"))
    here = {CONFIG: str(config), "/data": str(tmp_path / "data"), "0.0.0.0:8554": f"127.0.0.1:{camera_port}",
            OURS["cameras"]["command"][2]: OURS["cameras"]["command"][2].replace(
                "camera:8554", f"127.0.0.1:{camera_port}")}
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, service in sorted(OURS.items(), key=lambda item: ("camera", "topics", "cameras").index(item[0])
                                    if item[0] in ("camera", "topics", "cameras") else 3):
            words = [here.get(word, word) for word in service["command"]]
            if name in RUNNING:
                pages[name] = free_port()
                words += ["--metrics-port", str(pages[name])]
            with (tmp_path / f"{name}.out").open("wb") as out, (tmp_path / f"{name}.err").open("wb") as err:
                processes[name] = subprocess.Popen(command(*words), stdout=out, stderr=err)
            if "restart" not in service:
                assert processes.pop(name).wait(PATIENCE_S) == 0, (tmp_path / f"{name}.err").read_text()
        yield processes
        for process in processes.values():
            process.terminate()
        for name, process in processes.items():
            assert process.wait(GRACE_S) == 0 or name not in RUNNING, (tmp_path / f"{name}.err").read_text()
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


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
        port, pages = free_port(), dict[str, int]()
        with composed(tmp_path, broker, port, pages) as processes:
            wait_for_port(port, processes["camera"], PATIENCE_S)
            deadline_s, told = time.monotonic() + PATIENCE_S, tmp_path / "deliver.out"
            while not told.read_bytes().endswith(b"\n"):
                for name, process in processes.items():
                    assert process.poll() is None, (tmp_path / f"{name}.err").read_text()
                assert time.monotonic() < deadline_s, (tmp_path / "capture.err").read_text()
                time.sleep(0.1)
            alert, *_ = lines(told.read_text())
            assert (alert["data"]["camera"], alert["data"]["label"]) == ("street", "siren")
            for name in RUNNING:
                assert page(pages[name], "/healthz") == page(pages[name], "/readyz") == (200, b"ok\n"), name
                assert b"lookout_build_info" in page(pages[name], "/metrics")[1]
    finally:
        broker.stop()
