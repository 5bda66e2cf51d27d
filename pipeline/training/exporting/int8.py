"""`lookout export --int8 DIR`: the visual graph in int8, calibrated and measured on somebody's own clips.

The visual graph is nearly all of the arithmetic; the others stay as they are, the acoustic one also
because the spectrum inside it needs its range. Calibrated on sources that the bundle was trained on
where `DIR` has any, else on up to half of its sources; measured on the others, before and after.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from operators.errors import BundleError, LookoutError, SettingsError
from operators.models.bundle import RANK_OF_CLIP, Bundle, load, sha256_of
from pipeline.training.dataset import Row, read_labels, read_media
from pipeline.training.evaluate import evaluate
from pipeline.training.exporting.pack import agreement, writing
from pipeline.training.exporting.quantise import quantised
from pipeline.training.exporting.target import Target
from pipeline.training.measuring.quality import record
from pipeline.training.split import Source

STEPS, CHECKED, OF_A_CLIP = 160, 16, 4  # to calibrate on, to compare engines on, at most of one clip
FEWEST = 8  # steps
TOLERANCE = 0.01  # one point
SPARED = (0.0, 0.05, 0.1, 0.2, 0.4)  # shares of the convolutions left in float32, tried in turn
MEASURES = ("accuracy", "ap", "uar", "f1")
DEPTH = 3  # clips / fight / ap
Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Shown:
    """What the ranges are taken from."""

    frames: Frames  # (S, ...) as the visual port takes them
    sources: frozenset[Source]


def export_int8(bundle: Bundle, data: Path, out: Path, target: Target = Target.CPU) -> tuple[Bundle, dict[str, float]]:
    """Write `bundle` with its visual graph in int8 to `out`; also gives what each figure has lost, 0.01 being a point.

    Raises:
        SettingsError: `out` is there already, or `data` has too little to calibrate or to measure.
        BundleError: it is int8 already, an engine differs too much from float32, or a figure loses more than a point.
    """
    if bundle.manifest.visual.precision == "int8":
        message = f"{bundle.path} is an int8 bundle already"
        raise BundleError(message)
    with writing(out) as partial:
        shown = _shown(bundle, data)
        lost = _write(_aware(bundle, shown.sources), shown.frames, data, target, partial)
    return load(out), lost


def losses(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, float]:
    """What every figure has lost; below zero where it gained.

    Raises:
        SettingsError: there is no figure.
        BundleError: one has lost more than a point.
    """
    figures = dict(_figures(after))
    lost = {name: value - figures[name] for name, value in _figures(before) if name in figures}
    if not lost:
        message = "nothing to measure the loss on: every clip with a picture is of a source that was learnt from"
        raise SettingsError(message)
    worst = max(lost, key=lambda name: lost[name])
    if lost[worst] > TOLERANCE + 1e-9:
        message = f"int8 costs too much: {worst} falls by {100 * lost[worst]:.1f} points, 1 is allowed"
        raise BundleError(message)
    return lost


def _figures(value: object, *path: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping) and len(path) < DEPTH:
        for key, inner in value.items():
            yield from _figures(inner, *path, str(key))
    elif isinstance(value, float) and len(path) == DEPTH and path[-1] in MEASURES:
        yield " / ".join(path), value


def _write(bundle: Bundle, frames: Frames, data: Path, target: Target, folder: Path) -> dict[str, float]:
    """The bundle in int8 in `folder`, with as little left in float32 as is good enough; also what it has lost."""
    before, _ = evaluate(bundle, data)
    refused = ""
    for name in (bundle.manifest.acoustic.file, bundle.manifest.fusion.file):
        shutil.copy(bundle.path / name, folder)
    for spared in SPARED:
        try:
            int8, facts = _quantised(bundle, frames, target, folder, spared)
            after, _ = evaluate(int8, data)
            lost = losses(before, after)
        except BundleError as error:
            refused = str(error)
            continue
        facts["lost"] = {name: round(value, 4) for name, value in lost.items()}
        manifest = msgspec.structs.replace(int8.manifest, training={**bundle.manifest.training, "int8": facts})
        record(Bundle(folder, manifest), after)
        return lost
    message = f"{refused}, with {SPARED[-1]:.0%} of its convolutions left in fp32"
    raise BundleError(message)


def _quantised(bundle: Bundle, frames: Frames, target: Target, folder: Path, spared: float,
               ) -> tuple[Bundle, dict[str, Any]]:
    """The bundle with this share of its convolutions left in float32, and how it was made; engines must agree on it."""
    graph = bundle.manifest.visual
    onnx.save(quantised(bundle.file(graph), graph, frames[CHECKED:], target, spared), folder / graph.file)
    made = msgspec.structs.replace(graph, precision="int8", sha256=sha256_of(folder / graph.file))
    int8 = Bundle(folder, msgspec.structs.replace(bundle.manifest, visual=made))
    agreed = agreement(int8.file(made), made, {graph.inputs[0].name: frames[:CHECKED]}, (bundle.file(graph), graph))
    return int8, {"target": str(target), "steps": len(frames) - CHECKED, "convolutions_in_fp32": spared,
                  "agreement": agreed}


def _aware(bundle: Bundle, sources: frozenset[Source]) -> Bundle:
    """The bundle with `sources` among those it has seen, so that nothing is measured on them."""
    known = {group: set(names) for group, names in bundle.manifest.training.get("sources", {}).items()}
    for group, source in sources:
        known.setdefault(group, set()).add(source)
    training = {**bundle.manifest.training, "sources": {group: sorted(names) for group, names in sorted(known.items())}}
    return Bundle(bundle.path, msgspec.structs.replace(bundle.manifest, training=training))


def _shown(bundle: Bundle, data: Path) -> Shown:
    """Steps of clips that the bundle may have seen."""
    rows, _ = read_labels(data, bundle.label_names)
    known = {(group, source) for group, names in bundle.manifest.training.get("sources", {}).items()
             for source in names}
    steps: list[Frames] = []
    sources: set[Source] = set()
    for row in _to_show(rows, known):
        if sum(map(len, steps)) >= STEPS + CHECKED:
            break
        try:
            media = read_media(data / row.path, bundle.sampling)
        except LookoutError:
            continue  # the measurement tells of it
        valid = media.frames[media.frames_valid]
        if len(valid):
            sources.add(row.source)
            steps.append(valid[np.linspace(0, len(valid) - 1, min(OF_A_CLIP, len(valid))).astype(int)])
    count = sum(map(len, steps))
    if count < FEWEST + CHECKED:
        message = f"{data}: {count} steps with a picture to calibrate on, at least {FEWEST + CHECKED} are wanted"
        raise SettingsError(message)
    frames = np.concatenate(steps)
    order = np.random.default_rng(0).permutation(len(frames))
    clip = len(bundle.manifest.visual.inputs[0].shape) == RANK_OF_CLIP
    return Shown(frames[order] if clip else frames[order][:, -1], frozenset(sources))


def _to_show(rows: Sequence[Row], known: set[Source]) -> list[Row]:
    """Rows of known sources in random order; where there are none, source by source, of half of them."""
    draw = random.Random(0)  # noqa: S311 - a choice of clips
    chosen = [row for row in rows if row.source in known]
    draw.shuffle(chosen)
    if chosen:
        return chosen
    sources = sorted({row.source for row in rows})
    draw.shuffle(sources)
    return [row for source in sources[: len(sources) // 2] for row in rows if row.source == source]
