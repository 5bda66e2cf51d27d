"""Which picture is shown at which step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from tests.operators.decode.segments import (
    PICTURES,
    RATE_HZ,
    SIZE_PX,
    STEP_NS,
    clips_of,
    index_bars,
    index_in,
    segments_of,
    shown,
)

FPS = 10
Media = Callable[..., Path]
bars = index_bars(FPS)


def expected(step_s: float, seconds: float, fps: int = FPS) -> list[int]:
    """The newest picture at each of the step's three times; the first and last stand in where there is none."""
    return [min(max(int((step_s - back) * fps + 1e-6), 0), round(seconds * fps) - 1) for back in (0.5, 0.25, 0.0)]


KINDS: dict[str, dict[str, Any]] = {
    "h264": {},
    "hevc": {"codec": "hevc"},
    "mjpeg": {"codec": "mjpeg", "name": "clip.mkv"},
    "with sound": {"audio_codec": "aac"},
    "b-frames": {"options": {"preset": "medium", "bf": "3", "b_strategy": "0"}},
    "keyframes 10 s apart": {"gop": 100},
    "keyframes 10 s apart, b-frames, sound": {"gop": 100, "audio_codec": "aac",
                                              "options": {"preset": "medium", "bf": "2", "b_strategy": "0"}},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_step_shows_the_pictures_up_to_its_time(media: Media, kind: str) -> None:
    arguments = {"name": "clip.mp4", **KINDS[kind]}
    segments = segments_of(media(**arguments, seconds=11, fps=FPS, draw=bars))
    assert any(segment.continues for segment in segments) == ("10 s" in kind)
    seen = shown(segments, clips_of(segments))
    assert list(seen) == [step / 2 for step in range(1, 23)]
    assert seen == {step_s: expected(step_s, 11) for step_s in seen}


def test_arrays_are_of_the_promised_shape_and_steps_lie_on_the_grid(media: Media) -> None:
    segments = segments_of(media("clip.mp4", seconds=3.3, fps=FPS, audio_codec="aac", draw=bars))
    clips = clips_of(segments)
    for segment, clip in zip(segments, clips, strict=True):
        count = len(clip.step_ns)
        assert clip.frames.shape == (count, PICTURES, SIZE_PX, SIZE_PX, 3)
        assert clip.frames.dtype == np.uint8
        assert clip.samples.shape == (count, RATE_HZ)
        assert clip.samples.dtype == np.float32
        assert clip.frames_valid.shape == clip.samples_valid.shape == (count,)
        assert segment.media_start_ns is not None
        assert not ((clip.step_ns - (segment.start_ns - segment.media_start_ns)) % STEP_NS).any()
        assert (clip.camera, clip.session, clip.sequence, clip.start_ns, clip.duration_ns, clip.final) == (
            segment.camera, segment.session, segment.sequence, segment.start_ns, segment.duration_ns, segment.final)
    steps = np.concatenate([clip.step_ns for clip in clips])
    assert np.array_equal(np.diff(steps), np.full(len(steps) - 1, STEP_NS))
    assert len(steps) == 7  # the last one for what began after 3.0 s


def test_a_live_camera_has_its_steps_on_whole_multiples_of_the_step(media: Media) -> None:
    segments = [msgspec.structs.replace(segment, media_start_ns=None)
                for segment in segments_of(media("clip.mp4", seconds=3, fps=FPS, draw=bars))]
    steps = np.concatenate([clip.step_ns for clip in clips_of(segments)])
    assert not (steps % STEP_NS).any()
    assert abs(len(steps) - 6) <= 1


def test_colours_are_rgb(media: Media) -> None:
    def red(_time_s: float, picture: Any) -> None:
        picture[:] = (255, 0, 0)

    clip = clips_of(segments_of(media("red.mp4", seconds=1, fps=FPS, draw=red)))[0]
    assert np.abs(clip.frames[0].reshape(-1, 3).mean(axis=0) - (255, 0, 0)).max() < 6


def test_a_file_without_pictures_has_none_valid(media: Media) -> None:
    clips = clips_of(segments_of(media("sound.mp4", seconds=3, codec=None, audio_codec="aac")))
    assert sum(len(clip.step_ns) for clip in clips) >= 6
    assert not any(clip.frames_valid.any() or clip.frames.any() for clip in clips)
    assert all(clip.health.frames == 0 and clip.health.skew_ns is None for clip in clips)


def test_a_picture_is_shown_for_two_seconds_and_no_longer(media: Media) -> None:
    """The camera sends pictures up to 3 s, then nothing until 8 s."""
    segments = segments_of(media("clip.mp4", seconds=11, fps=FPS, draw=bars))
    gap = [msgspec.structs.replace(segment, media=b"") if 3 <= segment.sequence < 8 else segment
           for segment in segments]
    seen = shown(gap, clips_of(gap))
    assert seen[4.5] == [29, 29, 29]
    assert all(seen[step_s] is None for step_s in (5.0, 5.5, 6.0, 7.5))
    assert seen[8.0] == [80, 80, 80]  # the first picture after the gap stands in for the two before it
    assert seen[8.5] == [80, 82, 85]


def test_the_first_picture_stands_in_for_the_time_before_it(media: Media) -> None:
    segments = segments_of(media("clip.mp4", seconds=3, fps=FPS, draw=bars))
    clip = clips_of(segments)[0]
    assert [index_in(picture) for picture in clip.frames[0]] == [0, 2, 5]


def test_without_the_keyframe_pictures_are_counted_and_not_guessed(media: Media) -> None:
    segments = segments_of(media("clip.mp4", seconds=13, fps=FPS, gop=100, draw=bars))
    assert [segment.continues for segment in segments] == [False, True, True, False]
    late = segments[1:]
    clips = clips_of(late)
    assert [clip.health.shed for clip in clips] == [{"no_keyframe": 40}, {"no_keyframe": 20}, {}]
    assert not clips[0].frames_valid.any()
    assert not clips[1].frames_valid.any()
    assert shown(late, clips)[10.5] == [100, 102, 105]


def test_a_segment_without_media_has_steps_and_nothing_in_them(media: Media) -> None:
    segment = segments_of(media("clip.mp4", seconds=1, fps=FPS, draw=bars))[0]
    empty = msgspec.structs.replace(segment, media=b"", video=None)
    clip = clips_of([empty])[0]
    assert len(clip.step_ns) == 2
    assert not clip.frames_valid.any()
    assert not clip.samples_valid.any()
    assert clip.health.level_dbfs is None


def test_cameras_do_not_touch_each_other(media: Media) -> None:
    one = segments_of(media("clip.mp4", seconds=4, fps=FPS, draw=bars))
    other = [msgspec.structs.replace(segment, camera="other")
             for segment in segments_of(media("other.mp4", seconds=4, fps=FPS, gop=100, draw=index_bars(1)))]
    longest = max(len(one), len(other))
    mixed = [segments[i] for i in range(longest) for segments in (one, other) if i < len(segments)]
    clips = clips_of(mixed)
    for segments, camera in ((one, "cam"), (other, "other")):
        own = [clip for clip in clips if clip.camera == camera]
        assert shown(segments, own) == shown(segments, clips_of(segments))


def test_a_new_session_begins_anew(media: Media) -> None:
    first = segments_of(media("clip.mp4", seconds=3, fps=FPS, draw=bars))
    second = [msgspec.structs.replace(segment, session="second") for segment in first]
    clips = clips_of([*first, *second])
    assert shown(second, clips[len(first):]) == shown(first, clips[:len(first)])
