"""A live camera that waits too long is thinned out and every picture is accounted for; a file never is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from operators.clock import ManualClock
from operators.decode.decoder import Decoder, DecodeSettings
from operators.records import Clip, Segment
from tests.operators.decode.segments import a_decoder, clips_of, index_bars, same, segments_of

Media = Callable[..., Path]
NOW_NS = 2_000_000_000_000_000_000
SETTINGS = DecodeSettings(halve_after_s=3.0, skip_after_s=10.0, drop_after_s=30.0)


def waiting(media: Media, waited_s: float, *, live: bool = True, gop: int = 10) -> list[Segment]:
    """Segments of a file, as if they had come from a camera and waited."""
    segments = segments_of(media("clip.mp4", seconds=8, fps=10, gop=gop, audio_codec="aac", draw=index_bars(10)))
    received_ns = NOW_NS - round(waited_s * 1e9)
    if not live:
        return [msgspec.structs.replace(segment, received_ns=received_ns) for segment in segments]
    return [msgspec.structs.replace(segment, received_ns=received_ns, media_start_ns=None) for segment in segments]


def decoder_now() -> Decoder:
    return a_decoder(SETTINGS, ManualClock(NOW_NS))


def in_time(media: Media) -> list[Clip]:
    return clips_of(waiting(media, 0), decoder_now())


def seen(clips: list[Clip]) -> int:
    return int(sum(clip.frames_valid.sum() for clip in clips))


def adds_up(clip: Clip) -> bool:
    return 0 <= sum(clip.health.shed.values()) <= clip.health.frames


@pytest.mark.parametrize("waited_s", [0.0, 2.9])
def test_in_time_nothing_is_shed(media: Media, waited_s: float) -> None:
    clips = clips_of(waiting(media, waited_s), decoder_now())
    assert sum(clip.health.frames for clip in clips) == 80
    assert all(clip.health.shed == {} and clip.frames_valid.all() for clip in clips)
    assert sum(clip.health.sampled for clip in clips) == 3 * sum(len(clip.step_ns) for clip in clips)


def test_late_every_second_step_is_shown(media: Media) -> None:
    clips = clips_of(waiting(media, 3.1), decoder_now())
    steps, shown = (np.concatenate([getattr(clip, name) for clip in clips]) for name in ("step_ns", "frames_valid"))
    assert np.array_equal(shown, steps // 500_000_000 % 2 == 0)
    assert {reason for clip in clips for reason in clip.health.shed} == {"sampling"}
    assert sum(sum(clip.health.shed.values()) for clip in clips) == pytest.approx(40, abs=10)
    assert all(adds_up(clip) for clip in clips)
    assert all(clip.samples_valid.all() for clip in clips)


def test_very_late_only_the_sound_is_decoded(media: Media) -> None:
    segments = waiting(media, 10.1)
    clips, in_time = clips_of(segments, decoder_now()), clips_of(waiting(media, 0), decoder_now())
    assert seen(clips) == 0
    assert [clip.health.shed for clip in clips] == [{"overload": clip.health.frames} for clip in clips]
    assert all(adds_up(clip) for clip in clips)
    assert all(np.array_equal(late.samples, good.samples) for late, good in zip(clips, in_time, strict=True))
    assert [clip.health.skew_ns for clip in clips] == [clip.health.skew_ns for clip in in_time]


def test_much_too_late_nothing_is_decoded(media: Media) -> None:
    clips = clips_of(waiting(media, 30.1), decoder_now())
    assert sum(clip.health.frames for clip in clips) == 80
    assert [clip.health.shed for clip in clips] == [{"overload": clip.health.frames} for clip in clips]
    assert {clip.health.skipped for clip in clips} == {"overload"}
    assert not any(clip.frames_valid.any() or clip.samples_valid.any() or clip.samples.any() for clip in clips)
    assert {clip.health.level_dbfs for clip in clips} == {clip.health.skew_ns for clip in clips} == {None}
    assert sum(len(clip.step_ns) for clip in clips) == sum(len(clip.step_ns) for clip in in_time(media))


def test_what_was_late_already_when_it_came_into_the_log_is_not_thinned(media: Media) -> None:
    """After an outage the log gets old segments; only what waits there tells that we cannot keep up."""
    late = [msgspec.structs.replace(segment, queued_ns=NOW_NS - 10**9) for segment in waiting(media, 100)]
    assert all(clip.health.shed == {} and clip.frames_valid.all() for clip in clips_of(late, decoder_now()))


def test_after_dropped_segments_sound_and_picture_are_there_again(media: Media) -> None:
    segments = waiting(media, 0)
    segments[2:4] = waiting(media, 31)[2:4]
    clips = clips_of(segments, decoder_now())
    assert [clip.health.skipped for clip in clips[:5]] == ["", "", "overload", "overload", ""]
    for clip, other in list(zip(clips, in_time(media), strict=True))[6:]:  # one step's window of sound reaches back
        assert np.array_equal(clip.frames, other.frames)
        assert np.allclose(clip.samples, other.samples, atol=1e-3)


def test_after_a_skipped_segment_the_old_picture_is_not_shown_again(media: Media) -> None:
    segments = waiting(media, 0)
    segments[3] = waiting(media, 11)[3]
    clips = clips_of(segments, decoder_now())
    assert [bool(clip.frames_valid.all()) for clip in clips] == [True, True, True, False, *[True] * (len(clips) - 4)]


def test_what_continues_a_skipped_segment_waits_for_the_keyframe(media: Media) -> None:
    segments = waiting(media, 0, gop=70)
    assert [segment.continues for segment in segments] == [False, True, False]
    segments[0] = waiting(media, 11, gop=70)[0]
    clips = clips_of(segments, decoder_now())
    assert [list(clip.health.shed) for clip in clips] == [["overload"], ["no_keyframe"], []]
    assert all(adds_up(clip) for clip in clips)


@pytest.mark.parametrize("waited_s", [5.0, 5000.0])
def test_files_are_never_thinned(media: Media, waited_s: float) -> None:
    clips = clips_of(waiting(media, waited_s, live=False), decoder_now())
    fresh = clips_of(waiting(media, 0, live=False), decoder_now())
    for clip, other in zip(clips, fresh, strict=True):
        assert same(msgspec.structs.replace(clip, received_ns=0), msgspec.structs.replace(other, received_ns=0))
        assert clip.health.shed == {}


def test_what_is_seen_again_after_a_restart_is_not_thinned(media: Media) -> None:
    """So a camera with few keyframes does not have to wait for the next one because the restart took long."""
    segments = waiting(media, 0, gop=70)
    decoder = decoder_now()
    clips_of(segments[:1], decoder)
    late = a_decoder(SETTINGS, ManualClock(NOW_NS + 11 * 10**9))
    late.restore(decoder.snapshot())
    late.replay(segments[:1])
    following = [msgspec.structs.replace(segment, received_ns=NOW_NS + 11 * 10**9) for segment in segments[1:]]
    assert all(clip.health.shed == {} and clip.frames_valid.all() for clip in clips_of(following, late))
