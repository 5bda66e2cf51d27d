"""Which sources are learnt from, which calibrate a comparison of methods, and which are only ever measured.

A source (one original recording, film or actor) is never divided: clips cut from it resemble each
other, and a model that has seen one of them has all but seen the others.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping
from typing import Literal

Source = tuple[str, str]  # data set, source
Part = Literal["train", "validation", "held_out"]
CHOSEN: Mapping[Part, tuple[float, int]] = {  # share of a label's clips, and how many sources it must have
    "held_out": (0.2, 2),
    "validation": (0.13, 4),
}


def split(clips: Iterable[tuple[Source, str]], seed: int) -> dict[Source, Part]:
    """Divide the sources of labelled clips, so that each part has about its share of every label's clips.

    A label with one source is only learnt; with two, the smaller is held out; validation comes with four.
    """
    labels: dict[Source, Counter[str]] = defaultdict(Counter)
    for source, label in clips:
        labels[source][label] += 1
    groups: dict[Hashable, list[Source]] = defaultdict(list)
    for source, count in labels.items():
        groups[source[0], max(sorted(count), key=count.__getitem__)].append(source)
    parts: dict[Source, Part] = dict.fromkeys(labels, "train")
    for group in groups.values():
        sizes = {source: labels[source].total() for source in group}
        rest = sorted(group, key=lambda source: shuffled(source, seed))
        for part, (share, fewest) in CHOSEN.items():
            if len(group) >= fewest:
                for source in _take(rest, sizes, share * sum(sizes.values())):
                    parts[source] = part
                    rest.remove(source)
    return parts


def _take(rest: list[Source], sizes: Mapping[Source, int], wanted: float) -> list[Source]:
    """Sources in their shuffled order that together hold about `wanted` clips; at least one, never all."""
    taken: list[Source] = []
    held = 0
    for source in rest[:-1]:
        if held + sizes[source] <= wanted * 1.25:
            taken.append(source)
            held += sizes[source]
        if held >= wanted:
            break
    return taken or [min(rest, key=sizes.__getitem__)]


def shuffled(source: Source, seed: int) -> str:
    """What to sort sources by, so that the seed decides and nothing else."""
    return hashlib.sha256("\x1f".join((str(seed), *source)).encode()).hexdigest()
