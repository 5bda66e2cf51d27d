"""Measure a bundle through the serving path: decode, encode, fuse, as `lookout watch` runs them.

Clips of sources the bundle was trained on are left out and counted, so on its own training data a
bundle is measured on what was held out, and on anybody else's on everything. No torch is needed.
"""

from __future__ import annotations

import csv
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from operators.backends.load import BackendName
from operators.backends.load import load as load_backend
from operators.clock import NS_PER_S
from operators.encode.encoder import Encoder
from operators.errors import LookoutError, SettingsError
from operators.fuse.fuser import Fuser, Scores
from operators.models.bundle import Bundle
from operators.records import Clip, Embedding, Event
from pipeline.training.dataset import BACKGROUND, Problem, Row, decode, read_labels
from pipeline.training.measuring.clips import Scored, measure_clips
from pipeline.training.measuring.matching import Matched, Span, match

BATCH = 8  # windows per inference
FILES_AT_ONCE = 8  # clips served together, each as a camera of its own
DECODERS = 2  # threads
STREAM_SUFFIX = ".mp4"

Done = Callable[[], None]


class _Serving:
    """The operators after decoding, as a worker has them."""

    def __init__(self, bundle: Bundle, backend: BackendName) -> None:
        manifest = bundle.manifest
        self.bundle = bundle
        backends = [load_backend(bundle, graph, batch=BATCH, backend=backend)
                    for graph in (manifest.visual, manifest.acoustic, manifest.fusion)]
        self.engines = {one.path.name: f"{one.name} {one.precision}" for one in backends}
        visual, acoustic, self._fusion = backends
        self._encoder = Encoder(visual, acoustic)

    def score(self, files: Sequence[Sequence[Clip]]) -> list[list[Scores]]:
        """Every file as a camera of its own: the scores of its clips."""
        clips = [clip for file in files for clip in file]
        embeddings = self._embed(clips, [str(number) for number, file in enumerate(files) for _ in file])
        scores = iter(Fuser(self.bundle, self._fusion).score(embeddings))
        return [list(islice(scores, len(file))) for file in files]

    def events(self, clips: Iterator[Clip]) -> Iterator[Event]:
        """The events of one stream."""
        fuser = Fuser(self.bundle, self._fusion)
        for clip in clips:
            yield from fuser.process(self._embed([clip], [clip.camera]))

    def _embed(self, clips: Sequence[Clip], cameras: Sequence[str]) -> list[Embedding]:
        embeddings = list(self._encoder.process(clips))
        return [msgspec.structs.replace(embedding, camera=camera)
                for embedding, camera in zip(embeddings, cameras, strict=True)]


def evaluate(bundle: Bundle, data: Path, *, backend: BackendName = "auto",
             console: Console | None = None) -> tuple[dict[str, Any], list[Problem]]:
    """Measure `bundle` on `data/labels.csv`, `data/streams/` and, for false alarms, on `data/cameras/`.

    Also gives the rows that could not be used.

    Raises:
        SettingsError: there is neither, or labels.csv or a stream's table cannot be read.
        BackendError: no engine can serve the bundle.
    """
    started = time.monotonic()
    streams = sorted((data / "streams").glob(f"*{STREAM_SUFFIX}"))
    rows: list[Row] = []
    problems: list[Problem] = []
    if (data / "labels.csv").exists() or not streams:
        rows, problems = read_labels(data, bundle.label_names)
    trained = {(group, source) for group, names in bundle.manifest.training.get("sources", {}).items()
               for source in names}
    measured = [row for row in rows if row.source not in trained]
    serving = _Serving(bundle, backend)
    with Progress(TextColumn("{task.description:16}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                  console=console or Console(stderr=True)) as bars:
        bar = bars.add_task("clips", total=len(measured))
        scored, faults = _score_clips(serving, measured, data, lambda: bars.advance(bar))
        bar = bars.add_task("streams", total=len(streams))
        results, media_s = {}, sum(clip.duration_s for clip in scored)
        for file in streams:
            results[file.stem], length_s = measure_stream(serving, file)
            media_s += length_s
            bars.advance(bar)
        quiet_files = [*sorted((data / "cameras").glob(f"*{STREAM_SUFFIX}")),
                       *(data / clip.row.path for clip in scored if clip.row.absent or clip.row.label in BACKGROUND)]
        bar = bars.add_task("quiet footage", total=len(quiet_files))
        quiet = measure_quiet(serving, quiet_files, lambda: bars.advance(bar))
    report = {
        "clips": measure_clips(bundle, scored),
        "streams": results,
        "quiet": quiet,
        "engines": serving.engines,  # which round differently: a score near its threshold falls to either side
        "speed": {"media_s": round(media_s + quiet["media_s"], 1), "wall_s": round(time.monotonic() - started, 1)},
        "left_out": {"trained_on": len(rows) - len(measured), "unusable": len(problems) + len(faults)},
    }
    return report, [*problems, *faults]


def measure_stream(serving: _Serving, file: Path) -> tuple[dict[str, Any], float]:
    """Events of a long file against its table; also gives its length in seconds."""
    true = _true_spans(file.with_suffix(".csv"))
    reported, length_s = _reported(serving, file)
    total, by_label = Matched(), {}
    for label in serving.bundle.manifest.labels:
        matched = match(reported[label.name], true.get(label.name, []))
        if not label.alertable:
            matched = Matched(matched.found, matched.missed, matched.right, 0)  # nobody is woken by it
        if matched != Matched():
            by_label[label.name] = {"found": matched.found, "missed": matched.missed, "false": matched.false}
        total += matched
    unknown = sum(len(spans) for name, spans in true.items() if name not in serving.bundle.label_names)
    total += Matched(missed=unknown)
    hours = length_s / 3600
    return {"precision": total.precision, "recall": total.recall, "f1": total.f1,
            "false_per_hour": total.false / hours if hours else 0.0,
            "events": sum(map(len, reported.values())), "by_label": by_label}, length_s


def measure_quiet(serving: _Serving, files: Sequence[Path], done: Done = lambda: None) -> dict[str, Any]:
    """Footage in which nothing alertable happens: every event of an alertable label is a false alarm."""
    alertable = [label.name for label in serving.bundle.manifest.labels if label.alertable]
    false = dict.fromkeys(alertable, 0)
    media_s = 0.0
    for file in files:
        reported, length_s = _reported(serving, file)
        media_s += length_s
        for name in alertable:
            false[name] += len(reported[name])
        done()
    return {"files": len(files), "media_s": round(media_s, 1), "events": sum(false.values()),
            "false_per_hour": sum(false.values()) * 3600 / media_s if media_s else None,
            "by_label": {name: count for name, count in false.items() if count}}


def _reported(serving: _Serving, file: Path) -> tuple[dict[str, list[Span]], float]:
    """The events of a file by label, and its length in seconds."""
    length_ns = 0

    def clips() -> Iterator[Clip]:
        nonlocal length_ns
        for clip in decode(file, serving.bundle.sampling):
            length_ns += clip.duration_ns
            yield clip

    reported: dict[str, list[Span]] = defaultdict(list)
    for event in serving.events(clips()):
        if event.kind == "close":
            start_s, end_s = ((at_ns or 0) / NS_PER_S for at_ns in (event.media_start_ns, event.media_end_ns))
            reported[event.label].append(Span(start_s, end_s))
    return reported, length_ns / NS_PER_S


def _true_spans(file: Path) -> Mapping[str, list[Span]]:
    spans: dict[str, list[Span]] = defaultdict(list)
    try:
        for row in csv.DictReader(file.read_text(encoding="utf-8-sig").splitlines()):
            spans[row["label"]].append(Span(float(row["start_s"]), float(row["end_s"])))
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        message = f"{file}: a table of start_s,end_s,label is wanted: {error!r}"
        raise SettingsError(message) from None
    return spans


def _score_clips(serving: _Serving, rows: Sequence[Row], data: Path, done: Done) -> tuple[list[Scored], list[Problem]]:
    scored: list[Scored] = []
    problems: list[Problem] = []

    def read(row: Row) -> list[Clip] | str:
        try:
            return list(decode(data / row.path, serving.bundle.sampling))
        except LookoutError as error:
            return str(error)

    with ThreadPoolExecutor(DECODERS) as pool:
        groups = [rows[start : start + FILES_AT_ONCE] for start in range(0, len(rows), FILES_AT_ONCE)]
        following = [pool.submit(read, row) for row in (groups[0] if groups else ())]
        for number, group in enumerate(groups):
            decoded = [future.result() for future in following]
            following = [pool.submit(read, row) for row in (groups[number + 1] if number + 1 < len(groups) else ())]
            usable = [(row, clips) for row, clips in zip(group, decoded, strict=True) if not isinstance(clips, str)]
            problems += [Problem(row.number, row.path, clips) for row, clips in zip(group, decoded, strict=True)
                         if isinstance(clips, str)]
            for (row, clips), scores in zip(usable, serving.score([clips for _, clips in usable]), strict=True):
                events = np.concatenate([one.events for one in scores])
                if len(events):
                    length_s = sum(clip.duration_ns for clip in clips) / NS_PER_S
                    scored.append(Scored(row, length_s, events, np.concatenate([one.sentiment for one in scores])))
                else:
                    problems.append(Problem(row.number, row.path, "nothing in it"))
            for _ in group:
                done()
    return scored, problems
