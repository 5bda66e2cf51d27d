"""Each condition made, through the real capture and decoder: found within 10 s, ended within 10 s, and no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from operators.health.monitor import HealthMonitor
from operators.health.settings import CameraHealthSettings, HealthSettings
from operators.records import Embedding, Event, Segment
from tests.operators.decode.segments import segments_of
from tests.operators.decode.test_sound import together
from tests.operators.health import made
from tests.operators.health.made import BEGINS_S, ENDS_S, FPS, LENGTH_S, SIZE
from tests.operators.health.played import embeddings_of, joined, told

Media = Callable[..., Path]
WITHIN_S = 10.0


def story(events: list[Event], start_ns: int) -> list[tuple[str, str, float]]:
    """(label, kind, when it was told in seconds since the beginning) of each."""
    return [(event.label, event.kind, (event.time_ns - start_ns) / 1e9) for event in events if event.kind != "update"]


def assert_told(segments: list[Segment], label: str, begins_s: float = BEGINS_S, ends_s: float = ENDS_S,
                ) -> list[Event]:
    """It is the only one told, and its beginning and its end are told in time."""
    events = told(embeddings_of(segments))
    found = story(events, segments[0].start_ns)
    assert [(name, kind) for name, kind, _ in found] == [(label, "open"), (label, "close")], found
    (*_, opened_s), (*_, closed_s) = found
    assert begins_s <= opened_s <= begins_s + WITHIN_S
    assert ends_s <= closed_s <= ends_s + WITHIN_S
    return events


def assert_found(segments: list[Segment], label: str, begins_s: float = BEGINS_S, ends_s: float = ENDS_S) -> None:
    """It is told, and says itself when it began and ended."""
    events = assert_told(segments, label, begins_s, ends_s)
    start_ns, end_ns = events[-1].start_ns, events[-1].end_ns or 0
    assert begins_s - 2.5 <= (start_ns - segments[0].start_ns) / 1e9 <= (events[0].time_ns - segments[0].start_ns) / 1e9
    assert (end_ns - segments[0].start_ns) / 1e9 == pytest.approx(ends_s, abs=2.5)
    assert len({event.id for event in events}) == 1


@pytest.mark.parametrize("fault", ["frozen", "black", "covered", "taped", "defocused", "moved"])
def test_what_is_wrong_with_the_picture_is_found_and_ends(media: Media, fault: str) -> None:
    draw = made.filmed(getattr(made, fault))
    fps = 10 if fault == "frozen" else FPS  # some encoders refine a picture that stays, for some fifty pictures
    segments = segments_of(media(f"{fault}.mp4", seconds=LENGTH_S, fps=fps, size=SIZE, gop=2 * fps, draw=draw))
    assert_found(segments, f"camera_{'covered' if fault == 'taped' else fault}")


@pytest.mark.parametrize("life", ["at_night", "infrared", "near_the_lens", "crowd", "brighter"])
def test_ordinary_life_is_not_told(media: Media, life: str) -> None:
    draw = made.filmed(getattr(made, life))
    segments = segments_of(media(f"{life}.mp4", seconds=LENGTH_S, fps=FPS, size=SIZE, gop=2 * FPS, draw=draw))
    assert story(told(embeddings_of(segments)), 0) == []


SOUND: dict[str, Any] = {"audio_codec": "aac", "sample_rate": 16_000}
SMALL: dict[str, Any] = {"size": (64, 48), "fps": FPS, "gop": FPS}
HEARD_S = 30.0  # long enough to know that the camera is usually heard


def quiet_between(begins_s: float, ends_s: float) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """A tone, and digital silence between."""
    return lambda at_s: np.where((at_s >= begins_s) & (at_s < ends_s), 0.0, 0.3 * np.sin(2 * np.pi * 440 * at_s))


@pytest.fixture(scope="session")
def playing(media: Media) -> list[Segment]:
    """Half a minute with picture and sound."""
    return segments_of(media("playing.mp4", seconds=HEARD_S, **SMALL, **SOUND))


def test_a_sound_track_that_falls_silent_is_found(media: Media) -> None:
    tone = quiet_between(HEARD_S, HEARD_S + 15)
    segments = segments_of(media("silent.mp4", seconds=HEARD_S + 25, tone=tone, **SMALL, **SOUND))
    assert_found(segments, "camera_no_audio", HEARD_S, HEARD_S + 15)


@pytest.mark.parametrize(("label", "lost"), [("camera_no_audio", "audio_codec"), ("camera_no_video", "codec")])
def test_a_track_that_is_lost_is_found(media: Media, playing: list[Segment], label: str, lost: str) -> None:
    rest: dict[str, Any] = {**SMALL, **SOUND, lost: None}
    without = segments_of(media(f"without_{lost}.mkv", seconds=15.0, **rest))
    assert_found(list(joined(playing, without, playing[:12])), label, HEARD_S, HEARD_S + 15)


def test_sound_is_missed_where_it_is_expected_and_nowhere_else(media: Media) -> None:
    never_heard = segments_of(media("without_audio_codec.mkv", seconds=15.0, **{**SMALL, **SOUND, "audio_codec": None}))
    assert told(embeddings_of(never_heard)) == []
    wanted = HealthSettings(cameras=(CameraHealthSettings(cameras=("c*",), sound="always"),))
    assert story(told(embeddings_of(never_heard), HealthMonitor(wanted)), never_heard[0].start_ns)[0][:2] == (
        "camera_no_audio", "open")


def test_sound_that_pauses_by_itself_is_not_missed(media: Media) -> None:
    """A camera whose microphone gives nothing while the room is quiet: three seconds of every six."""
    segments = segments_of(media("gated.mp4", seconds=60.0, tone=lambda at_s: np.where(
        at_s % 6 < 3, 0.3 * np.sin(2 * np.pi * 440 * at_s), 0.0), **SMALL, **SOUND))
    assert told(embeddings_of(segments)) == []


def test_sound_that_is_not_with_its_pictures_is_found(media: Media) -> None:
    """Every segment's sound ends 0.8 s after its pictures."""
    pictures, sound, longer = (segments_of(media(name, codec=codec, audio_codec=audio, seconds=seconds, fps=10,
                                                 sample_rate=16_000), segment_s=3)[0]
                               for name, codec, audio, seconds in (("pictures.mkv", "h264", None, 2.0),
                                                                   ("sound.mkv", None, "pcm_s16le", 2.0),
                                                                   ("longer.mkv", None, "pcm_s16le", 2.8)))
    well, skewed = ([msgspec.structs.replace(pictures, audio=other.audio, media=together(pictures.media, other.media))]
                    for other in (sound, longer))
    assert_found(list(joined(*[well] * 10, *[skewed] * 8, *[well] * 8)), "camera_clock_skew", 20.0, 36.0)


def live(segments: list[Segment], late_s: float = 0.2, **changes: int) -> Iterator[Segment]:
    """As if a camera had sent them, and late, or otherwise changed, from the 20th to the 36th second."""
    for segment in segments:
        changed = BEGINS_S <= (segment.start_ns - segments[0].start_ns) / 1e9 < ENDS_S + 1
        received_ns = segment.end_ns + round((late_s if changed else 0.2) * 1e9)
        yield msgspec.structs.replace(segment, media_start_ns=None, received_ns=received_ns,
                                      **(changes if changed else {}))


@pytest.mark.parametrize(("label", "change"), [
    ("camera_lagging", {"late_s": 7.0}), ("camera_clock_skew", {"ahead_ns": 60 * 10**9}),
    ("camera_clock_skew", {"ahead_ns": -60 * 10**9}), ("camera_clock_skew", {"sound_late_ns": 800_000_000}),
])
def test_what_comes_late_or_by_another_clock_is_found(playing: list[Segment], label: str,
                                                      change: dict[str, Any]) -> None:
    assert_found(list(live(list(joined(playing, playing)), **change)), label, BEGINS_S, ENDS_S + 1)


@pytest.mark.parametrize("fault", ["moved", "black"])
def test_a_kill_changes_nothing(media: Media, fault: str) -> None:
    draw = made.filmed(getattr(made, fault))
    segments = segments_of(media(f"{fault}.mp4", seconds=LENGTH_S, fps=FPS, size=SIZE, gop=2 * FPS, draw=draw))
    records = list(embeddings_of(segments))
    expected = told(records)
    assert len(expected) == 2
    assert told_by_mortals(records) == expected


def told_by_mortals(records: list[Embedding]) -> list[Event]:
    """Every record is taken by a monitor that knows what the one before had written down, and nothing else."""
    kept: dict[str, bytes] = {}
    events: list[Event] = []
    for record in records:
        monitor = HealthMonitor()
        monitor.restore({camera: state for camera, state in kept.items() if state})
        events += told([record], monitor)
        kept |= monitor.snapshot()
    assert not any(kept.values()), "a file that has ended leaves nothing"
    return events


def test_what_is_switched_off_is_not_told(media: Media) -> None:
    segments = segments_of(media("moved.mp4", seconds=LENGTH_S, fps=FPS, size=SIZE, gop=2 * FPS,
                                 draw=made.filmed(made.moved)))
    assert told(embeddings_of(segments), HealthMonitor(HealthSettings(ignore=("moved",)))) == []
    here = HealthSettings(cameras=(CameraHealthSettings(cameras=("ptz-*", "cam"), ignore=("moved",)),))
    assert told(embeddings_of(segments), HealthMonitor(here)) == []
