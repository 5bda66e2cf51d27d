"""Parts of equal size, so that every source is held out once: for measuring, and for stacking."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pipeline.training.features import Features
from pipeline.training.split import Source, shuffled

FOLDS = 5  # of the sources that are learnt from


def cut(clips: Iterable[tuple[Source, str]], count: int, seed: int) -> tuple[frozenset[Source], ...]:
    """Divide the sources of labelled clips into `count` parts with about as many clips of every label.

    A label with fewer sources than parts is missing in some of them.
    """
    labels: dict[Source, Counter[str]] = defaultdict(Counter)
    for source, label in clips:
        labels[source][label] += 1
    groups: dict[tuple[str, str], list[Source]] = defaultdict(list)
    for source, counted in labels.items():
        groups[source[0], max(sorted(counted), key=counted.__getitem__)].append(source)
    folds: list[set[Source]] = [set() for _ in range(count)]
    whole = [0] * count
    for _, group in sorted(groups.items()):
        held = [0] * count
        for source in sorted(group, key=lambda one: (-labels[one].total(), shuffled(one, seed))):
            fold = min(range(count), key=lambda index: (held[index], whole[index]))
            folds[fold].add(source)
            held[fold] += labels[source].total()
            whole[fold] += labels[source].total()
    return tuple(map(frozenset, folds))


def divided(clips: Sequence[Features], seed: int) -> list[Features]:
    """The same clips, with the fold of the sources that each belongs to, 1 to `FOLDS`."""
    folds = cut([(clip.row.source, clip.row.label) for clip in clips], FOLDS, seed)
    number = {source: fold for fold, sources in enumerate(folds, start=1) for source in sources}
    return [replace(clip, fold=number[clip.row.source]) for clip in clips]
