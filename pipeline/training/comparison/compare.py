"""Cross-attention against other ways of fusing and each sense alone, with every source held out once.

Both trunks have the weights that others have taught them and have met none of the data; all that comes after
them is learnt anew for each fold, on that fold's training sources. So nothing that is scored was learnt from.
What takes long is kept, and a run that was killed goes on where it stood.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from operators.errors import SettingsError
from operators.models.bundle import Bundle
from pipeline.training.comparison.baselines import METHODS
from pipeline.training.comparison.contest import Contest, Effort, Fold
from pipeline.training.comparison.diagrams import draw
from pipeline.training.comparison.verdict import judge
from pipeline.training.dataset import SAMPLING, Problem, Row, read_labels
from pipeline.training.export import port
from pipeline.training.features import Features, prepare
from pipeline.training.folds import cut
from pipeline.training.frozen import Frozen
from pipeline.training.kept import kept
from pipeline.training.network import (
    ACOUSTIC_FEATURES,
    FEELINGS,
    VISUAL_FEATURES,
    AcousticTrunk,
    VisualTrunk,
    evidence_of,
)
from pipeline.training.scenes.spoilt import Views, prepare_spoilt
from pipeline.training.scenes.stage import CONDITIONS
from pipeline.training.split import Part, Source, split
from pipeline.training.train import PICTURES, WINDOW_STEPS


@dataclass(frozen=True)
class Terms:
    """How the comparison is made."""

    folds: int = 5
    effort: Effort = Effort()


def compare(bundle: Bundle, data: Path, out: Path, terms: Terms | None = None, *,
            console: Console | None = None) -> tuple[dict[str, Any], list[Problem]]:
    """Compare on the clips of `data`; diagrams and what is kept go into `out`. Also gives the rows not usable.

    Raises:
        SettingsError: the data or the bundle does not allow it; the message says why.
    """
    terms, started = terms or Terms(), time.monotonic()
    rows, problems = read_labels(data, bundle.label_names)
    folds = cut([(row.source, row.label) for row in rows], terms.folds, terms.effort.seed)
    if not all(folds):
        message = f"{data}: {len(frozenset().union(*folds))} sources are too few for {terms.folds} folds"
        raise SettingsError(message)
    with Progress(TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                  console=console or Console(stderr=True)) as bars:
        run = _Run(bundle, data, out / "work", terms, bars)
        clips, faults = run.features(rows)
        scored = [run.fold(number, fold, clips) for number, fold in enumerate(folds)]
    labels = [label for label in bundle.manifest.labels if label.alertable]
    diagrams = draw(scored, [label.name for label in labels], out)
    return {
        "method": _method(bundle, terms, clips, folds),
        **judge(scored, labels),
        "diagrams": [str(file) for file in diagrams],
        "speed": {"wall_s": round(time.monotonic() - started, 1)},
    }, [*problems, *faults]


class _Run:
    """The stages of one comparison, each taken from the work folder if it is there."""

    def __init__(self, bundle: Bundle, data: Path, work: Path, terms: Terms, bars: Progress) -> None:
        self._bundle, self._data, self._work, self._terms, self._bars = bundle, data, work, terms, bars
        work.mkdir(parents=True, exist_ok=True)
        self._trunk = Frozen(VisualTrunk(), port("frames", "uint8", *PICTURES),
                             port("embedding", "float32", VISUAL_FEATURES), work / "trunk.onnx")
        self._hear = Frozen(AcousticTrunk(SAMPLING.sample_rate_hz), port("samples", "float32", SAMPLING.samples),
                            port("embedding", "float32", ACOUSTIC_FEATURES), work / "acoustic.onnx")
        self._views: Mapping[str, Views] = {}

    def features(self, rows: Sequence[Row]) -> tuple[list[Features], list[Problem]]:
        """All clips, and how their pictures look when they are spoilt."""
        bar = self._bars.add_task("decode and see", total=len(rows))
        clips, problems = prepare(rows, self._data, self._work / "clips", self._trunk, partial(self._bars.advance, bar))
        seen = [clip for clip in clips if clip.seen]
        if not seen or not any(clip.heard for clip in clips):
            message = f"{self._data}: clips to be seen and clips to be heard are wanted"
            raise SettingsError(message)
        bar = self._bars.add_task("spoil pictures", total=len(seen))
        self._views = prepare_spoilt(seen, self._data, self._work / "spoilt", self._trunk, self._terms.effort.seed,
                                     partial(self._bars.advance, bar))
        return clips, problems

    @cached_property
    def _black(self) -> NDArray[np.float16]:
        """(3840,): trunk features of a black picture that stays black."""
        found = kept(self._work / "trunk-black.pt", lambda: {
            "features": torch.from_numpy(self._trunk(np.zeros((1, *PICTURES), np.uint8))[0])})
        features: NDArray[np.float16] = found["features"].numpy()
        return features

    def fold(self, number: int, held_out: frozenset[Source], clips: Sequence[Features]) -> Fold:
        """The scores of one fold."""
        parts = self._parts(held_out, clips)
        labels = self._bundle.manifest.labels
        facts = (self._terms, sorted(held_out), [(clip.row, len(clip.samples)) for clip in clips],
                 [(label.name, label.sense, label.alertable) for label in labels])
        stem = f"{number}-{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}"
        bar = self._bars.add_task(f"fold {number + 1}, methods", total=len(METHODS))
        file = self._work / f"{stem}.npz"
        if not file.exists():
            contest = Contest(parts, labels, self._hear, self._views, self._black, self._terms.effort)
            contest.run(lambda method, make: kept(self._work / f"{stem}-{method}.pt", make),
                        partial(self._bars.advance, bar)).save(file)
        self._bars.update(bar, completed=len(METHODS))
        return Fold.load(file)

    def _parts(self, held_out: frozenset[Source], clips: Sequence[Features]) -> dict[Part, list[Features]]:
        """What is scored, what calibrates, and all the rest to learn from."""
        others = [clip for clip in clips if clip.row.source not in held_out]
        chosen = split([(clip.row.source, clip.row.label) for clip in others], self._terms.effort.seed)
        validation = [clip for clip in others if chosen.get(clip.row.source) == "validation"]
        train = [clip for clip in others if chosen.get(clip.row.source) != "validation"]
        return {"held_out": [clip for clip in clips if clip.row.source in held_out],
                "validation": validation or train, "train": train}


def _method(bundle: Bundle, terms: Terms, clips: Sequence[Features], folds: Sequence[frozenset[Source]],
            ) -> dict[str, Any]:
    """How the figures came about, for whoever reads them."""
    labels = bundle.manifest.labels
    counts = [Counter(clip.row.label for clip in clips if clip.row.source in fold) for fold in folds]
    senses = [label.sense for label in labels]
    evidence = evidence_of(senses)
    fusions = {name: make(visual=evidence.visual, acoustic=evidence.acoustic + FEELINGS, senses=senses,
                          steps=WINDOW_STEPS) for name, make in METHODS.items()}
    return {
        "grouped_by": "source", "interval": "95 %, Student's t over folds",
        "trunks": "weights that others have taught; they have met none of the data",
        "composed_scenes": "pictures of held-out sources with sounds of other held-out sources mixed over them",
        "conditions": {name: condition.says for name, condition in CONDITIONS.items()},
        "effort": asdict(terms.effort),
        "parameters": {name: sum(weight.numel() for weight in fusion.parameters()) for name, fusion in fusions.items()},
        "folds": [{"sources": len(fold), "clips": dict(sorted(count.items()))}
                  for fold, count in zip(folds, counts, strict=True)],
    }
