from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.split import split

CLIPS = st.lists(st.tuples(st.tuples(st.sampled_from(["one", "other"]), st.text("abcdef", min_size=1, max_size=2)),
                           st.sampled_from(["fight", "no_fight", "siren"])), max_size=200)


@given(CLIPS, st.integers(0, 5))
def test_every_source_is_in_one_part_and_every_label_is_learnt(
        clips: list[tuple[tuple[str, str], str]], seed: int) -> None:
    parts = split(clips, seed)

    assert set(parts) == {source for source, _ in clips}  # a dict: no source can be in two parts
    groups: dict[tuple[str, str], set[str]] = {}
    for source in parts:
        labels = [label for other, label in clips if other == source]
        commonest = max(sorted(set(labels)), key=labels.count)
        groups.setdefault((source[0], commonest), set()).add(parts[source])
    assert all("train" in found for found in groups.values())


@given(CLIPS, st.integers(0, 5), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(
        clips: list[tuple[tuple[str, str], str]], seed: int, random: Random) -> None:
    shuffled = list(clips)
    random.shuffle(shuffled)
    assert split(shuffled, seed) == split(clips, seed)


def test_about_a_fifth_of_every_label_is_held_out() -> None:
    clips = [(("set", f"{label}{source}"), label)
             for label in ("fight", "siren") for source in range(30) for _ in range(4)]
    parts = split(clips, 0)
    for label in ("fight", "siren"):
        held_out = [source for source, name in clips if name == label and parts[source] == "held_out"]
        assert 0.17 <= len(held_out) / 120 <= 0.25


def test_another_seed_holds_out_others() -> None:
    clips = [(("set", str(source)), "siren") for source in range(50)]
    assert split(clips, 0) != split(clips, 1)
