"""A restart at any segment gives the clips of an undisturbed run, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.models.bundle import Sampling
from operators.records import Clip, Segment
from tests.operators.decode.segments import SAMPLING, a_decoder, clips_of, index_bars, same, segments_of

Media = Callable[..., Path]
STREAMS: dict[str, dict[str, Any]] = {
    "aac": {"name": "clip.mp4", "audio_codec": "aac"},
    "opus": {"name": "clip.mkv", "audio_codec": "opus", "sample_rate": 48_000},
    "g711": {"name": "clip.mov", "audio_codec": "pcm_mulaw"},
    "pcm 44.1 kHz": {"name": "clip.mkv", "audio_codec": "pcm_s16le", "sample_rate": 44_100},
    "b-frames": {"name": "clip.mp4", "audio_codec": "aac", "options": {"preset": "medium", "bf": "2"}},
    "keyframes 10 s apart": {"name": "clip.mp4", "audio_codec": "aac", "gop": 100},
    "no pictures": {"name": "clip.mp4", "codec": None, "audio_codec": "aac"},
    "no sound": {"name": "clip.mp4"},
}
SEGMENTS = 12


@pytest.fixture(scope="module")
def stream(media: Media) -> Callable[[str], tuple[list[Segment], list[Clip]]]:
    """A stream's segments and the clips of an undisturbed run."""
    @cache
    def make(kind: str) -> tuple[list[Segment], list[Clip]]:
        segments = segments_of(media(**STREAMS[kind], seconds=SEGMENTS, fps=10, draw=index_bars(10)),
                               max_segment_s=1.0)
        return segments, clips_of(segments)
    return make


def with_restarts(segments: Sequence[Segment], restarts: Sequence[int], sampling: Sampling = SAMPLING) -> list[Clip]:
    """As the worker runs it: state and recalled segments are kept with every commit, then the process dies."""
    decoder, kept, clips, first = a_decoder(sampling=sampling), dict[str, bytes](), list[Clip](), 0
    for number, segment in enumerate(segments):
        if number in restarts:
            decoder = a_decoder(sampling=sampling)
            decoder.restore(kept)
            decoder.replay(segments[first:number])
            assert not decoder.snapshot()  # nothing new to write
        clips += clips_of([segment], decoder)
        kept |= decoder.snapshot()
        first = number + 1 - decoder.recall("cam")
        assert 0 <= first <= number
    return clips


@pytest.mark.parametrize("kind", STREAMS)
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_restart_anywhere_changes_nothing(stream: Callable[[str], tuple[list[Segment], list[Clip]]], kind: str,
                                            data: st.DataObject) -> None:
    segments, undisturbed = stream(kind)
    if kind == "keyframes 10 s apart":
        assert sum(segment.continues for segment in segments) > 8
    lost = data.draw(st.sets(st.integers(0, len(segments) - 1), max_size=4), "segments without media")
    if lost:
        segments = [msgspec.structs.replace(segment, media=b"") if number in lost else segment
                    for number, segment in enumerate(segments)]
        undisturbed = clips_of(segments)
    restarts = data.draw(st.sets(st.integers(1, len(segments) - 1), min_size=1, max_size=3), "restarts before")
    again = with_restarts(segments, sorted(restarts))
    assert [number for number, pair in enumerate(zip(undisturbed, again, strict=True)) if not same(*pair)] == []


@pytest.mark.parametrize(("kind", "lost", "restarts"), [
    ("aac", {2, 3, 4, 5}, {7}),  # sound begins again after a gap, just before
    ("keyframes 10 s apart", {1}, {6}),  # a hole between the keyframe and now
    ("keyframes 10 s apart", set(), {1, 10}),  # the pictures of one keyframe are over, but still in the memory
    ("opus", set(), {3, 6, 7, 11}),
    ("pcm 44.1 kHz", set(), {4, 9}),
])
def test_restarts_that_went_wrong_once(stream: Callable[[str], tuple[list[Segment], list[Clip]]], kind: str,
                                       lost: set[int], restarts: set[int]) -> None:
    segments = [msgspec.structs.replace(segment, media=b"") if number in lost else segment
                for number, segment in enumerate(stream(kind)[0])]
    again = with_restarts(segments, sorted(restarts))
    assert [number for number, pair in enumerate(zip(clips_of(segments), again, strict=True)) if not same(*pair)] == []


@pytest.mark.parametrize("kind", ["aac", "opus", "no pictures"])
def test_a_long_window_of_sound_is_recalled_whole(stream: Callable[[str], tuple[list[Segment], list[Clip]]],
                                                  kind: str) -> None:
    long = msgspec.structs.replace(SAMPLING, samples=4 * SAMPLING.sample_rate_hz)
    segments, _ = stream(kind)
    undisturbed = clips_of(segments, a_decoder(sampling=long))
    again = with_restarts(segments, [6, 9], long)
    assert [number for number, pair in enumerate(zip(undisturbed, again, strict=True)) if not same(*pair)] == []


def test_the_keyframe_is_recalled_however_far_back_it_is(media: Media) -> None:
    segments = segments_of(media("long.mp4", seconds=9, fps=10, gop=100, draw=index_bars(10)), max_segment_s=1.0)
    decoder = a_decoder()
    for number, segment in enumerate(segments[:-1], start=1):
        clips_of([segment], decoder)
        assert decoder.recall("cam") == number
    assert decoder.recall("unknown") == 0


def test_a_short_memory_is_enough_where_every_segment_has_a_keyframe(media: Media) -> None:
    segments = segments_of(media("clip.mp4", seconds=12, fps=10, audio_codec="aac"))
    decoder = a_decoder()
    clips_of(segments[:-1], decoder)
    assert decoder.recall("cam") <= 6


def test_restoring_forgets_everything_else(media: Media) -> None:
    segments = segments_of(media("clip.mp4", seconds=12, fps=10, audio_codec="aac"))
    decoder = a_decoder()
    clips_of(segments[:3], decoder)
    decoder.restore({})
    assert decoder.recall("cam") == 0
    assert same(clips_of(segments[:1], decoder)[0], clips_of(segments[:1])[0])


def test_a_segment_that_was_rejected_is_rejected_on_replay_without_an_error(media: Media) -> None:
    segments = segments_of(media("clip.mp4", seconds=12, fps=10, audio_codec="aac"))
    segments[2] = msgspec.structs.replace(segments[2], media=b"no media")
    decoder, again = a_decoder(), a_decoder()
    before = [item for item in decoder.process(segments[:4]) if isinstance(item, Clip)]
    assert len(before) == 3
    again.restore(decoder.snapshot())
    again.replay(segments[:4])
    assert all(same(*pair) for pair in zip(clips_of(segments[4:], decoder), clips_of(segments[4:], again),
                                           strict=True))
