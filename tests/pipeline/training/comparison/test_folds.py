from __future__ import annotations

from collections import Counter

from pipeline.training.comparison.folds import cut
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
