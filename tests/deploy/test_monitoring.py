"""Rules, dashboards and the table of metrics: right by their own tools, up to date, and about metrics that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.build import files
from tests.deploy.names import ALERTS, DEPLOY, RECORDED, RULES, exposed

BOARDS = sorted((DEPLOY / "grafana/generated").glob("*.json"))

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool: Debian's package prometheus")
needs_amtool = pytest.mark.skipif(shutil.which("amtool") is None,
                                  reason="no amtool: Debian's package prometheus-alertmanager")


def queries(board: Path) -> Iterator[str]:
    for panel in json.loads(board.read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_what_is_generated_is_up_to_date(path: Path) -> None:
    assert path.read_text() == files()[path], "run: python -m deploy.build"


def test_nothing_else_lies_among_what_is_generated() -> None:
    assert set(BOARDS) == {path for path in files() if path.suffix == ".json"}


@needs_promtool
@pytest.mark.parametrize("arguments", [
    ("check", "config", "prometheus.yml"), ("check", "rules", "lookout.rules.yml"),
    ("test", "rules", "lookout.rules.test.yml")], ids=" ".join)
def test_promtool_agrees(arguments: tuple[str, ...]) -> None:
    run = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False,
                         cwd=DEPLOY / "prometheus")
    assert run.returncode == 0, run.stdout + run.stderr


@needs_amtool
def test_amtool_agrees() -> None:
    run = subprocess.run(["amtool", "check-config", "alertmanager.yml"], capture_output=True, text=True, check=False,
                         cwd=DEPLOY / "alertmanager")
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert_has_a_test_of_when_it_fires(alert: dict[str, Any]) -> None:
    tests = yaml.safe_load((DEPLOY / "prometheus/lookout.rules.test.yml").read_text())["tests"]
    fired = [case for test in tests for case in test["alert_rule_test"]
             if case["alertname"] == alert["alert"] and case["exp_alerts"]]
    assert fired
    assert alert["labels"]["severity"] in {"warning", "critical"}
    assert alert["annotations"].keys() == {"summary", "description", "runbook"}


def test_what_is_hushed_and_what_hushes_are_alerts() -> None:
    names = {alert["alert"] for alert in ALERTS}
    for rule in yaml.safe_load((DEPLOY / "alertmanager/alertmanager.yml").read_text())["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            pattern = re.fullmatch(r"alertname =~? \"?([^\"]*)\"?", matcher)
            assert pattern
            assert any(re.fullmatch(pattern[1], name) for name in names), matcher


ASKED = [*((rule.get("record") or rule["alert"], rule["expr"]) for rule in RULES),
         *((board.stem, query) for board in BOARDS for query in queries(board))]


@pytest.mark.parametrize(("where", "query"), ASKED, ids=lambda text: text[:60])
def test_a_query_names_only_series_that_there_are(where: str, query: str) -> None:
    known = exposed()
    for name in re.findall(r"(?<![:\w])[a-z]*:?lookout[_:][\w:]+", re.sub(r'"[^"]*"', '""', query)):
        if ":" in name:
            assert name in RECORDED, where
        else:
            assert name in known, where
    for name, matchers in re.findall(r"(lookout_\w+)\{([^}]*)\}", query):
        for label in re.findall(r"(\w+)(?:=~|!=|=)", re.sub(r'"[^"]*"', '""', matchers)):
            assert label in known.get(name, (label,)), f"{where}: {name} has no label {label}"


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.stem)
def test_a_dashboard_is_one_to_grafanas_own_model(board: Path) -> None:
    """Whatever Grafana's generated model does not know is lost on the way through it."""
    register_default_plugins()
    given = json.loads(board.read_text())
    through = json.loads(json.dumps(Dashboard.from_json(given), cls=JSONEncoder))
    assert lost(given, through) == []


def lost(given: Any, through: Any, where: str = "") -> list[str]:
    """Where something given is not the same afterwards; defaults may have been added."""
    if isinstance(given, dict) and isinstance(through, dict):
        return [place for key in given for place in lost(given[key], through.get(key), f"{where}.{key}")]
    if isinstance(given, list) and isinstance(through, list) and len(given) == len(through):
        pairs = enumerate(zip(given, through, strict=True))
        return [place for i, (one, other) in pairs for place in lost(one, other, f"{where}[{i}]")]
    return [] if given == through else [where]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.stem)
def test_panels_lie_beside_each_other(board: Path) -> None:
    panels = json.loads(board.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        apart = (one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
                 or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"])
        assert apart, (one, other)
        assert one["x"] + one["w"] <= 24
