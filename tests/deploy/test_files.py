"""What is said in deploy/ and k8s/ exists: commands, flags, settings, ports, pages and files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from pipeline import settings
from pipeline.cli import app

ROOT = Path(__file__).parent.parent.parent
LOGINS = {"GATE_LOGIN": "user:password", "GUARD_SECRET": "unused"}
CONFIGS = ("deploy/cameras.example.yaml", "k8s/base/cameras.yaml")


def stateful_set() -> dict[str, Any]:
    documents = yaml.safe_load_all((ROOT / "k8s/base/lookout.yaml").read_text())
    return next(document for document in documents if document["kind"] == "StatefulSet")


def docker(instruction: str) -> list[str]:
    """The arguments of an instruction in JSON form."""
    (found,) = re.findall(rf"^{instruction} (\[.*\])$", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE)
    return list(json.loads(found))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_is_one_that_lookout_takes(name: str) -> None:
    assert settings.load(ROOT / name, LOGINS).cameras


def test_the_probes_port_is_the_one_that_is_served() -> None:
    (container,) = stateful_set()["spec"]["template"]["spec"]["containers"]
    (port,) = container["ports"]
    assert settings.load(ROOT / "k8s/base/cameras.yaml", LOGINS).metrics.port == port["containerPort"]
    health = (ROOT / "pipeline/health.py").read_text()
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == port["name"]
        assert f'"{container[probe]["httpGet"]["path"]}"' in health


@pytest.mark.parametrize("arguments", [
    docker("CMD"), stateful_set()["spec"]["template"]["spec"]["containers"][0]["args"]], ids=["docker", "k8s"])
def test_the_command_and_its_flags_exist(arguments: list[str]) -> None:
    command = typer.main.get_command(app).commands[arguments[0]]  # type: ignore[attr-defined]
    known = {flag for parameter in command.params for flag in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("--")} <= known


def test_what_the_image_copies_is_there() -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE)
    for name in " ".join(copied).split():
        assert (ROOT / name).exists(), name
