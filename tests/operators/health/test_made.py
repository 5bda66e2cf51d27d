"""Each condition made, through the real capture and decoder: found within 10 s, ended within 10 s, and no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from operators.health.monitor import HealthMonitor
from operators.records import Event, Segment
from tests.operators.decode.segments import segments_of
from tests.operators.health import made
from tests.operators.health.made import BEGINS_S, ENDS_S, FPS, LENGTH_S, SIZE
from tests.operators.health.played import embeddings_of, told

Media = Callable[..., Path]
WITHIN_S = 10.0


def story(events: list[Event], start_ns: int) -> list[tuple[str, str, float]]:
    """(label, kind, when it was told in seconds since the beginning) of each."""
    return [(event.label, event.kind, (event.time_ns - start_ns) / 1e9) for event in events if event.kind != "update"]


def assert_found(segments: list[Segment], label: str, begins_s: float = BEGINS_S, ends_s: float = ENDS_S,
                 monitor: HealthMonitor | None = None) -> None:
    """It is the only one told, in time, and says itself when it began and ended."""
    events = told(embeddings_of(segments), monitor)
    found = story(events, segments[0].start_ns)
    assert [(name, kind) for name, kind, _ in found] == [(label, "open"), (label, "close")], found
    (*_, opened_s), (*_, closed_s) = found
    assert begins_s <= opened_s <= begins_s + WITHIN_S
    assert ends_s <= closed_s <= ends_s + WITHIN_S
    start_ns, end_ns = events[-1].start_ns, events[-1].end_ns or 0
    assert begins_s - 2.5 <= (start_ns - segments[0].start_ns) / 1e9 <= opened_s
    assert (end_ns - segments[0].start_ns) / 1e9 == pytest.approx(ends_s, abs=2.5)
    assert len({event.id for event in events}) == 1


@pytest.mark.parametrize("fault", ["frozen", "black", "covered", "taped", "defocused", "moved"])
def test_what_is_wrong_with_the_picture_is_found_and_ends(media: Media, fault: str) -> None:
    draw = made.filmed(getattr(made, fault))
    segments = segments_of(media(f"{fault}.mp4", seconds=LENGTH_S, fps=FPS, size=SIZE, gop=2 * FPS, draw=draw))
    assert_found(segments, f"camera_{'covered' if fault == 'taped' else fault}")


@pytest.mark.parametrize("life", ["at_night", "infrared", "near_the_lens", "crowd", "brighter"])
def test_ordinary_life_is_not_told(media: Media, life: str) -> None:
    draw = made.filmed(getattr(made, life))
    segments = segments_of(media(f"{life}.mp4", seconds=LENGTH_S, fps=FPS, size=SIZE, gop=2 * FPS, draw=draw))
    assert story(told(embeddings_of(segments)), 0) == []
