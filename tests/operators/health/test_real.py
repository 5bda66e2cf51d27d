"""Real recordings give no condition: every clip plays over and over, as a camera of its own.

A clip's end and beginning show one place through one camera, so people leap and nothing else does. Clips of under two
seconds play once: over and over, a look a second would meet the same picture each time, which *is* frozen.
`lobby.mp4` shows one clip after another: to a camera, each cut is a move, and often a change of focus, so those two are
not asked of it.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from operators.records import HEALTH_LABELS
from tests.operators.decode.segments import segments_of
from tests.operators.health.played import embeddings_of, joined, told

DATA = Path(__file__).parents[4] / "shared" / "data"
CLIPS = [*sorted(DATA.glob("fights/*.mp4")), *sorted(DATA.glob("cameras/*.mp4")), *sorted(DATA.glob("streams/*.mp4"))]
FEW = [clip for clip in CLIPS if clip.stem in {  # the stillest, the most changing, and a road without edges
    "nofi114", "fi146", "fi144", "car-detection"}]
CUT = {"camera_moved", "camera_defocused"}
PLAYED_S, LONG_ENOUGH_S = 16.0, 1.9
WANTED_MINUTES = 30.0

needs_data = pytest.mark.skipif(not CLIPS, reason="needs the recordings of ../shared/data")


def quiet_minutes(clips: list[Path]) -> float:
    """How long they played; none may have a condition."""
    played_s, found = 0.0, []
    for clip in clips:
        segments = segments_of(clip)
        clip_s = sum(segment.duration_ns for segment in segments) / 1e9
        times = math.ceil(PLAYED_S / clip_s) if clip_s >= LONG_ENOUGH_S else 1
        played_s += times * clip_s
        found += [(clip.stem, event.label) for event in told(embeddings_of(joined(segments, times=times)))
                  if clip.parent.name != "streams" or event.label not in CUT]
    assert found == []
    return played_s / 60


@needs_data
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_hardest_recordings_show_no_condition() -> None:
    assert quiet_minutes(FEW) > len(FEW) * PLAYED_S / 60


@needs_data
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_no_recording_shows_a_condition() -> None:
    assert set(HEALTH_LABELS.values()) > CUT
    assert quiet_minutes(CLIPS) >= WANTED_MINUTES
