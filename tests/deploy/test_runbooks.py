"""A page for every alert: what it means and what to do, in commands, series and settings that exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from pipeline.cluster.run_stages import NAMES
from tests.deploy.composition import SERVICES
from tests.deploy.names import ALERTS, DEPLOY, RECORDED, ROOT, check_command, exposed, setting_names

RUNBOOKS = sorted((DEPLOY / "runbooks").glob("*.md"))
HEADINGS = ["What it means", "Who is hit", "Look first", "Mend", "Silence"]


def test_every_alert_has_one_and_leads_to_it() -> None:
    assert {alert["annotations"]["runbook"] for alert in ALERTS} == {
        str(path.relative_to(ROOT)) for path in RUNBOOKS}
    for alert in ALERTS:
        assert alert["annotations"]["runbook"] == f"deploy/runbooks/{alert['alert']}.md"


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_it_fits_a_page_and_keeps_the_order(path: Path) -> None:
    text = path.read_text()
    assert text.startswith(f"# {path.stem}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS
    assert len(text.splitlines()) <= 50
    assert f"amtool silence add alertname={path.stem} " in text
    for link in re.findall(r"\]\(([^)]*)\)", text):
        assert (path.parent / link).is_file(), link


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_its_commands_exist(path: Path) -> None:
    text = path.read_text()
    shown = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    for line in shown + re.findall(r"`([a-z]+ [^`\n]*)`", text):
        program, *words = shlex.split(line)
        if program == "lookout":
            check_command(words)
        elif program == "docker":
            assert any(word.partition("=")[0] in SERVICES for word in words), line
        elif component := re.search(r"component=(\w+)", line):
            assert component[1] in NAMES, line


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_its_series_and_settings_exist(path: Path) -> None:
    text = path.read_text()
    for name in re.findall(r"\b(?:\w+:)?lookout_\w+(?::\w+)?", text):
        assert name in RECORDED or name in exposed(), name
    known = setting_names()
    for name in re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)(?::[^`]*)?`", text):
        assert name in known, name


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool: Debian's package prometheus")
def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    asked = [line for path in RUNBOOKS for block in re.findall(r"```promql\n(.*?)```", path.read_text(), re.DOTALL)
             for line in block.splitlines()]
    assert len(asked) > len(RUNBOOKS)
    rules = [{"record": f"runbook_{i}", "expr": line} for i, line in enumerate(asked)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "runbooks", "rules": rules}]}))
    run = subprocess.run(["promtool", "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True,
                         check=False)
    assert run.returncode == 0, run.stdout + run.stderr
