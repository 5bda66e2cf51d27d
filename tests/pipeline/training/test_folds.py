from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

pytest.importorskip("torch", reason="the train extra is not installed")

from pipeline.training.dataset import Row
from pipeline.training.features import Features
from pipeline.training.folds import FOLDS, cut, divided
from pipeline.training.split import Source

CLIPS: list[tuple[Source, str]] = [
    *(((("s", f"fight{n}"), label)) for n in range(15) for label in ("fight", "no_fight", "fight")),
    *((("s", f"siren{n}"), "siren") for n in range(7) for _ in range(1 + n)),
    *((("s", "lonely"), "baby") for _ in range(9))]


def test_every_source_is_in_one_fold() -> None:
    folds = cut(CLIPS, 5, 0)
    assert sum(map(len, folds)) == len({source for source, _ in CLIPS})
    assert frozenset().union(*folds) == {source for source, _ in CLIPS}


def test_folds_hold_about_as_many_clips_of_every_label() -> None:
    counts = [Counter(label for source, label in CLIPS if source in fold) for fold in cut(CLIPS, 5, 0)]
    assert [count["fight"] for count in counts] == [6] * 5
    assert all(4 <= count["siren"] <= 7 for count in counts)


def test_the_seed_decides() -> None:
    assert cut(CLIPS, 5, 0) == cut(list(reversed(CLIPS)), 5, 0)
    assert cut(CLIPS, 5, 0) != cut(CLIPS, 5, 1)


def test_clips_are_told_their_source_s_fold_seen_or_heard() -> None:
    clips = [Features(Row(2, "", label, ("s", f"{label}{i // 3}")), np.zeros(8, np.float16),
                      np.zeros((1, steps, 4), np.float16), np.zeros((2, 4), np.float16))
             for label, steps in (("fight", 2), ("siren", 0)) for i in range(60)]
    found = divided(clips, 0)
    of = {clip.row.source: {other.fold for other in found if other.row.source == clip.row.source} for clip in found}
    assert all(len(folds) == 1 for folds in of.values())
    counts = Counter((clip.row.label, clip.fold) for clip in found)
    assert set(counts) == {(label, fold) for label in ("fight", "siren") for fold in range(1, FOLDS + 1)}
    assert set(counts.values()) == {12}
