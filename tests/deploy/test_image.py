"""deploy/Dockerfile: pinned, without root, and what it copies, runs and asks for exists; without a container engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from operators.backends.tensorrt_engine import engine_folder
from pipeline import settings
from tests.deploy.dockerfile import DOCKERFILE, last, stages
from tests.deploy.names import DEPLOY, PROJECT, ROOT, check_command

CONSTRAINTS = (DEPLOY / "constraints.txt").read_text()


def test_both_targets_are_there_and_the_cpu_is_meant_unless_told() -> None:
    assert list(stages())[-2:] == ["gpu", "cpu"]
    for target, build in (("cpu", "build"), ("gpu", "build-gpu")):
        assert stages()[target][1][-1] == ("COPY", f"--from={build} /opt/lookout /opt/lookout"), "nothing else is kept"
    assert '".[gpu]"' in stages()["build-gpu"][1][0][1]
    assert dict(part.split("=") for part in last("gpu", "ENV").split())["NVIDIA_DRIVER_CAPABILITIES"] == (
        "compute,utility")


def test_it_begins_from_one_exact_python_that_the_project_allows() -> None:
    outside = {base for base, _ in stages().values()} - stages().keys()
    (image,) = outside
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", image)


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_it_runs_as_nobody_of_importance_and_writes_under_data(target: str) -> None:
    user = last(target, "USER")
    assert user.isdigit()
    assert int(user) > 999
    assert f"--uid {user}" in last(target, "RUN")
    assert last(target, "VOLUME") == "/data"


def test_engines_are_kept_where_it_may_write(monkeypatch: pytest.MonkeyPatch) -> None:
    variable, _, value = last("cpu", "ENV").partition("=")
    monkeypatch.setenv(variable, value)
    assert engine_folder().is_relative_to("/data")


def test_what_it_copies_is_there_and_in_the_context() -> None:
    allowed = {line.removeprefix("!") for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
               if line.startswith("!")}
    copied = {source for stage in stages() for name, arguments in stages()[stage][1]
              if name == "COPY" and not arguments.startswith("--from") for source in arguments.split()[:-1]}
    assert copied == allowed
    for source in copied:
        assert (ROOT / source).exists(), source


def test_its_command_exists_and_its_port_is_the_one_that_is_asked_for_health() -> None:
    check_command(json.loads(last("cpu", "CMD")))
    assert json.loads(last("cpu", "ENTRYPOINT")) == ["/opt/lookout/bin/lookout"]
    port = settings.load(DEPLOY / "cameras.example.yaml", {"GATE_LOGIN": "user:password"}).metrics.port
    assert last("cpu", "EXPOSE") == str(port)
    assert f"127.0.0.1:{port}/healthz" in last("cpu", "HEALTHCHECK")


def test_the_tag_is_the_version() -> None:
    assert set(re.findall(r"lookout:([\d.]+)", DOCKERFILE)) == {PROJECT["version"]}


def test_all_that_the_images_install_is_pinned_as_the_project_allows() -> None:
    pinned: dict[str, list[Requirement]] = {}
    for line in CONSTRAINTS.splitlines():
        if not line.startswith("#"):
            pinned.setdefault(canonicalize_name(Requirement(line).name), []).append(Requirement(line))
    extras = set(re.findall(r"--extra (\w+)", CONSTRAINTS))
    optional = PROJECT["optional-dependencies"]
    assert {"gpu", *last("build", "ARG").partition("=")[2].split(",")} <= extras <= optional.keys()
    for wanted in map(Requirement, (*PROJECT["dependencies"], *(text for extra in extras for text in optional[extra]))):
        assert canonicalize_name(wanted.name) in pinned, f"write deploy/constraints.txt anew: {wanted.name}"
        for pin in pinned[canonicalize_name(wanted.name)]:
            ((operator, version),) = ((item.operator, item.version) for item in pin.specifier)
            assert operator == "=="
            assert wanted.specifier.contains(version), f"write deploy/constraints.txt anew: {pin}"


@pytest.mark.long
@pytest.mark.timeout(900)
def test_its_steps_install_a_lookout_that_runs(tmp_path: Path) -> None:
    """The build stage step by step, in a virtual environment of this machine."""
    context, installed = tmp_path / "src", tmp_path / "lookout"
    context.mkdir()
    for name, arguments in stages()["build"][1]:
        if name == "COPY":
            *sources, target = arguments.split()
            for source in sources:
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, context / target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / source, context / target)
        elif name == "RUN":
            extras = last("build", "ARG").partition("=")[2]
            subprocess.run(["bash", "-euc", arguments.replace("/opt/lookout", str(installed))], check=True,
                           cwd=context,
                           env=os.environ | {"EXTRAS": extras, "PATH": f"{sys.exec_prefix}/bin:{os.environ['PATH']}"})
    (entrypoint,) = json.loads(last("cpu", "ENTRYPOINT"))
    version = subprocess.run([entrypoint.replace("/opt/lookout", str(installed)), "--version"], check=True,
                             capture_output=True, text=True, cwd=tmp_path)
    assert version.stdout.split() == ["lookout", PROJECT["version"]]
    frozen = subprocess.run([installed / "bin/pip", "freeze"], check=True, capture_output=True, text=True)
    pins = {canonicalize_name(Requirement(line).name): Requirement(line).specifier
            for line in CONSTRAINTS.splitlines() if not line.startswith("#") and ">=" not in line}
    for line in frozen.stdout.splitlines():
        if "==" in line:
            name, _, version_ = line.partition("==")
            assert pins[canonicalize_name(name)].contains(version_), line
