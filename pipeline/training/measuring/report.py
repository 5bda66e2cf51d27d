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
    speed, left_out, quiet = report["speed"], report["left_out"], report["quiet"]
    calm = (f"quiet footage: {quiet['events']} false events in {quiet['media_s'] / 60:.1f} minutes, "
            f"{_figure(quiet['false_per_hour'])} an hour")
    line = (f"{speed['media_s']:.0f} s of media in {speed['wall_s']:.0f} s; clips left out: "
            f"{left_out['trained_on']} of sources the bundle was trained on, {left_out['unusable']} unusable; engines: "
            + ", ".join(f"{file} {engine}" for file, engine in report["engines"].items()))
    return [clips, sounds, streams, calm, line]


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def comparison(report: Mapping[str, Any]) -> list[RenderableType]:
    """What `compare` measured: the methods side by side under every condition, and what the fusion gains."""
    composed, method = report["composed_scenes"], report["method"]
    names = list(method["parameters"])
    table = Table(title=f"Composed scenes, mean average precision in points, {len(method['folds'])} folds of sources "
                        "held out, ± 95 %", box=None)
    for column in ("", *(name.replace("_", " ") for name in names)):
        table.add_column(column, justify="right" if column else "left")
    for condition, by in composed["mean_ap"].items():
        table.add_row(method["conditions"][condition], *(_points(by[name]) for name in names))
    real = Table(title="Real clips with their own sound, average precision in points", box=None)
    for column in ("", *(name.replace("_", " ") for name in names), "n"):
        real.add_column(column, justify="right" if column else "left")
    for label, figures in report["real_clips_with_sound"].items():
        real.add_row(label, *(_points(figures["ap"][name]) for name in names), str(figures["n"]))
    gains = Table(title="Cross-attention gains, paired by fold, in points", box=None)
    for column in ("composed scenes", "over", "gain"):
        gains.add_column(column)
    rows = [*composed["gain"].items(), *((f"{label}, over better sense", gain) for label, gain
                                         in composed["gain_over_better_sense_by_label"].items())]
    for name, gain in rows:
        gains.add_row(name.replace("_", " "), gain["over"].replace("_", " "), _points(gain))
    errors = ", ".join(f"{method['conditions'][name]}: {by['cross_attention']:.3f}"
                       for name, by in composed["calibration_error"].items())
    lines = [f"Expected calibration error of cross-attention: {errors}",
             f"Trunks: {method['trunks']}.",
             f"Diagrams: {', '.join(report['diagrams'])}"]
    return [table, real, gains, *lines]


def _points(spread: Mapping[str, Any] | None) -> str:
    if not spread or spread.get("mean") is None:
        return "–"
    half = "" if spread["high"] is None else f" ±{spread['high'] - spread['mean']:.1f}"
    return f"{spread['mean']:.1f}{half}"
