"""What the code knows by name: commands with their flags, settings, series and alerts."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import typer
import yaml
from msgspec import inspect

from pipeline.cli import app
from pipeline.cluster.run_stages import check_names
from pipeline.metrics.metrics import Metrics
from pipeline.settings import LookoutSettings

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((DEPLOY / "prometheus/lookout.rules.yml").read_text())["groups"]
    for rule in group["rules"]]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
ALERTS = [rule for rule in RULES if "alert" in rule]


def check_command(words: Sequence[str]) -> dict[str, Any]:
    """Parse what follows `lookout` as it would; gives the parameters, refuses what it does not know."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while hasattr(command, "commands"):
        assert rest[0] in command.commands, f"there is no command lookout {' '.join(words)}"
        command = command.commands[rest.pop(0)]
    parameters: dict[str, Any] = command.make_context("lookout", rest).params
    if command.name == "run":
        check_names(parameters["stages"])
    return parameters


def exposed() -> dict[str, tuple[str, ...]]:
    """Series name -> its labels, as the code declares them."""
    found: dict[str, tuple[str, ...]] = {}
    for row in Metrics().table():
        suffixes = ("_bucket", "_sum", "_count") if row.type == "histogram" else ("",)
        found |= {row.name + suffix: row.labels for suffix in suffixes}
    return found


def setting_names(settings: type[msgspec.Struct] = LookoutSettings, prefix: str = "") -> set[str]:
    """Every key of the configuration, dotted; those of lists without an index."""
    names = set()
    for field in inspect.type_info(settings).fields:  # type: ignore[attr-defined]
        name = prefix + field.encode_name
        names.add(name)
        for struct in _structs(field.type):
            names |= setting_names(struct, f"{name}.")
    return names


def _structs(kind: Any) -> list[type[msgspec.Struct]]:
    if isinstance(kind, inspect.StructType):
        return [kind.cls]
    parts = getattr(kind, "types", ()) or [getattr(kind, name) for name in ("type", "item_type") if hasattr(kind, name)]
    return [struct for part in parts for struct in _structs(part)]
