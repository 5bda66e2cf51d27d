"""Which events there are in somebody's data, and which of them are worth waking anybody."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from operators.models.bundle import Label
from pipeline.training.features import Features

# Heard every day: worth writing down, not worth waking anybody. Every other label is alertable.
ROUTINE = frozenset({"air_conditioner", "baby_laugh", "car_horn", "children_playing", "dog_bark", "drilling",
                     "engine_idling", "jackhammer", "street_music"})


def labels_of(clips: Sequence[Features]) -> tuple[Label, ...]:
    """The events in the data: those seen first, then those heard."""
    senses: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        if clip.row.event:
            there = (("visual", clip.seen), ("acoustic", clip.heard))
            senses[clip.row.event] |= {sense for sense, is_there in there if is_there}
    return tuple(
        Label(name=name, sense="both" if len(by) > 1 else "visual" if "visual" in by else "acoustic",
              alertable=name not in ROUTINE, open=0.5, close=0.25, min_length_s=1.0, merge_gap_s=1.5)
        for name, by in sorted(senses.items(), key=lambda item: ("visual" not in item[1], item[0])))
