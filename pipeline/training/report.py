"""What `lookout evaluate` measured, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table


def tables(report: Mapping[str, Any]) -> list[RenderableType]:
    """The JSON report as tables: clips, sounds one by one, streams, and a line on speed."""
    clips = Table("clips", "measure", "value", "n", box=None)
    for name, figures in report["clips"].items():
        for measure, value in figures.items():
            if isinstance(value, float):
                clips.add_row(name, measure, f"{value:.3f}", str(figures["n"]))
    sounds = Table("sound", "average precision", box=None)
    for label, value in report["clips"].get("sound", {}).get("ap", {}).items():
        sounds.add_row(label, "–" if value is None else f"{value:.3f}")
    streams = Table("stream", "precision", "recall", "F1", "false an hour", "events", box=None)
    for name, row in report["streams"].items():
        streams.add_row(name, *(_figure(row[key]) for key in ("precision", "recall", "f1", "false_per_hour")),
                        str(row["events"]))
    speed, left_out = report["speed"], report["left_out"]
    line = (f"{speed['media_s']:.0f} s of media in {speed['wall_s']:.0f} s; clips left out: "
            f"{left_out['trained_on']} of sources the bundle was trained on, {left_out['unusable']} unusable")
    return [clips, sounds, streams, line]


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
