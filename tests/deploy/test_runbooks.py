"""A page for every alert: what it means and what to do, in commands, series and settings that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

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
