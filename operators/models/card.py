"""The model card: a bundle's manifest for people, as Markdown. Nothing stands in it that the manifest does not say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from operators.models.bundle import Manifest

CARD = "MODEL_CARD.md"  # its name in a bundle


def card(manifest: Manifest) -> str:
    """The whole card."""
    return "\n".join([
        f"# {manifest.name} {manifest.version}", "",
        f"Looks and listens every {manifest.step_s:g} s, back over {manifest.window_steps * manifest.step_s:g} s.", "",
        "## Use", "", f"{manifest.licence.rstrip('.')}.", "", "It must not be used:", "",
        *(f"- {what}" for what in manifest.not_for), "",
        "## Labels", "", *_labels(manifest), "",
        "## Training", "", *_training(manifest.training), "",
        "## Quality", "", *_quality(manifest.quality), "",
        "## Files", "", *_files(manifest), ""])


def _labels(manifest: Manifest) -> Iterator[str]:
    return _table(("label", "learnt from", "alerts", "opens at", "closes below", "shortest"), (
        (label.name, label.sense, "yes" if label.alertable else "no", f"{label.open:.2f}", f"{label.close:.2f}",
         f"{label.min_length_s:g} s") for label in manifest.labels))


def _training(training: Mapping[str, Any]) -> Iterator[str]:
    if not training:
        yield "Nobody has written down what it was trained on."
        return
    sources, held_out = (training.get(part, {}) for part in ("sources", "held_out"))
    yield from _table(("data set", "licence", "origin", "sources learnt from", "held out"), (
        (group or "(no name)", facts.get("licence", "–"), facts.get("origin", "–"), str(len(sources.get(group, ()))),
         str(len(held_out.get(group, ())))) for group, facts in training.get("data", {}).items()))
    yield "\nA source is one recording or one speaker: none is on both sides.\n"
    told = {"data", "sources", "held_out"}
    yield from _figures({key: value for key, value in training.items() if key not in told})


def _quality(quality: Mapping[str, Any]) -> Iterator[str]:
    if not quality:
        yield "Not measured."
        return
    yield "As `lookout evaluate` measured it, on sources it was not trained on.\n"
    yield from _figures(quality)


def _files(manifest: Manifest) -> Iterator[str]:
    return _table(("file", "precision", "sha256"), (
        (graph.file, graph.precision, graph.sha256) for graph in (manifest.visual, manifest.acoustic, manifest.fusion)))


def _figures(values: Mapping[str, Any]) -> Iterator[str]:
    return _table(("figure", "value"), ((" / ".join(path), _written(value)) for path, value in _leaves(values)))


def _leaves(value: object, *path: str) -> Iterator[tuple[tuple[str, ...], object]]:
    """Every single value with the keys that lead to it."""
    if isinstance(value, Mapping) and not _spread(value):
        for key, inner in value.items():
            yield from _leaves(inner, *path, str(key))
    elif isinstance(value, Sequence) and any(isinstance(inner, Mapping) for inner in value) and path:
        for number, inner in enumerate(value, start=1):
            yield from _leaves(inner, *path, str(number))
    else:
        yield path, value


def _spread(value: Mapping[str, Any]) -> bool:
    """Whether it is one figure with its interval."""
    return value.keys() >= {"mean", "low", "high"}


def _written(value: object) -> str:
    match value:
        case {"mean": mean, "low": low, "high": high, **more}:
            over = f" over {more['over']}" if "over" in more else ""
            return f"{_written(mean)} ({_written(low)} to {_written(high)}){over}"
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case list() | tuple():
            return ", ".join(map(_written, value))
    return str(value)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '/').replace(chr(10), ' ') for cell in row)} |"
