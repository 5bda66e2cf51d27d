"""Damaged and hostile segments: rejected or counted, never another error, and the next good one is right."""

from __future__ import annotations

import io
import resource
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.base import Rejected
from operators.decode import video
from operators.decode.decoder import MAX_STEPS, Decoder
from operators.decode.packets import MAX_PACKETS
from operators.errors import MediaError
from operators.records import Clip, Segment
from tests.operators.decode.segments import a_decoder, clips_of, index_bars, segments_of, shown

Media = Callable[..., Path]
KINDS: dict[str, dict[str, Any]] = {
    "aac": {"name": "clip.mp4", "audio_codec": "aac"},
    "opus": {"name": "clip.mkv", "audio_codec": "opus", "sample_rate": 48_000},
    "mjpeg": {"name": "clip.mkv", "codec": "mjpeg", "audio_codec": "pcm_s16le"},
    "b-frames": {"name": "clip.mp4", "audio_codec": "aac", "options": {"preset": "medium", "bf": "2"}},
}
SECONDS = 5


@pytest.fixture(scope="module")
def stream(media: Media) -> Callable[[str], tuple[list[Segment], list[Clip]]]:
    """A stream's segments and the clips that they give undamaged."""
    @cache
    def make(kind: str) -> tuple[list[Segment], list[Clip]]:
        segments = some(media, kind)
        return segments, clips_of(segments)
    return make


def some(media: Media, kind: str) -> list[Segment]:
    return segments_of(media(**KINDS[kind], seconds=SECONDS, fps=10, draw=index_bars(10)))


def replaced(segment: Segment, media: bytes) -> Segment:
    return msgspec.structs.replace(segment, media=media)


def takes(decoder: Decoder, segment: Segment) -> Clip | Rejected[Segment]:
    result, = decoder.process([segment])
    if isinstance(result, Rejected):
        assert type(result.error) is MediaError
        assert f"camera cam: segment {segment.sequence} " in str(result.error)
        assert result.record is segment
    return result


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_bit_flips_and_cuts(stream: Callable[[str], tuple[list[Segment], list[Clip]]], kind: str,
                            data: st.DataObject) -> None:
    segments, undamaged = stream(kind)
    damaged = bytearray(segments[1].media)
    # The first half kilobyte holds the headers, where damage does most.
    place = st.one_of(st.integers(0, min(600, len(damaged) - 1)), st.integers(0, len(damaged) - 1))
    for bit in data.draw(st.lists(st.tuples(place, st.integers(0, 7)), max_size=20), "flipped bits"):
        damaged[bit[0]] ^= 1 << bit[1]
    kept = data.draw(st.one_of(st.just(len(damaged)), st.integers(1, len(damaged))), "bytes kept")
    decoder = a_decoder()
    clips_of(segments[:1], decoder)
    takes(decoder, replaced(segments[1], bytes(damaged[:kept])))
    following = clips_of(segments[2:], decoder)
    seen, good = (shown(segments[3:], clips) for clips in (following[1:], undamaged[3:]))
    assert {at_s: pictures for at_s, pictures in seen.items() if at_s > 4} == {
        at_s: pictures for at_s, pictures in good.items() if at_s > 4}
    assert all(clip.samples_valid.all() for clip in following)


@pytest.mark.parametrize("garbage", [b"\0", b"no media at all" * 100, b"\x1a\x45\xdf\xa3", b"\x1a\x45\xdf\xa3" * 1000])
def test_garbage_is_rejected_by_name(media: Media, garbage: bytes) -> None:
    segment = some(media, "aac")[1]
    assert isinstance(takes(a_decoder(), replaced(segment, garbage)), Rejected)


def test_what_continues_a_lost_segment_waits_for_the_keyframe(media: Media) -> None:
    """A segment that became a dead letter leaves no half-right pictures behind it."""
    path = media("gop.mp4", seconds=6, fps=10, gop=40, draw=index_bars(10))
    segments = segments_of(path, segment_s=1.0, max_segment_s=1.0)
    assert [segment.continues for segment in segments] == [False, True, True, True, False, True]
    clips = clips_of([segment for segment in segments if segment.sequence != 1])
    assert [list(clip.health.shed) for clip in clips] == [[], ["no_keyframe"], ["no_keyframe"], [], []]


def test_the_others_of_a_batch_are_processed(media: Media) -> None:
    segments = some(media, "aac")
    segments[1] = replaced(segments[1], b"garbage")
    results = list(a_decoder().process(segments))
    assert [isinstance(result, Rejected) for result in results] == [False, True, False, False, False]
    steps = np.concatenate([result.step_ns for result in results if isinstance(result, Clip)])
    assert (np.diff(steps) == 500_000_000).all()  # the steps of the rejected one come with the next


def matroska(like: Segment, packets: list[tuple[int, bytes]]) -> bytes:
    """A file of hand-made packets, each with its time in milliseconds, in a track like the first of `like`."""
    file = io.BytesIO()
    with av.open(io.BytesIO(like.media)) as source, av.open(file, "w", format="matroska") as output:
        stream = output.add_stream_from_template((*source.streams.video, *source.streams.audio)[0])
        for time_ms, data in packets:
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.pts = packet.dts = time_ms
            packet.is_keyframe = True
            output.mux_one(packet)
    return file.getvalue()


def jpeg(width: int, height: int) -> bytes:
    """A real picture whose header claims another size."""
    context = av.CodecContext.create("mjpeg", "w")
    context.width, context.height, context.pix_fmt, context.time_base = 64, 64, "yuvj420p", Fraction(1, 10)
    frame = av.VideoFrame(64, 64, "yuvj420p")
    data = bytearray(b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)]))
    start = data.find(b"\xff\xc0")
    data[start + 5:start + 9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(data)


def memory_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_a_huge_picture_is_not_unpacked(media: Media) -> None:
    good = some(media, "mjpeg")
    huge = matroska(good[0], [(i * 100, jpeg(20_000, 20_000)) for i in range(10)])
    before = memory_bytes()
    decoder = a_decoder()
    result = takes(decoder, replaced(good[0], huge))
    assert memory_bytes() - before < 200 * 2**20
    assert isinstance(result, Rejected) or (not result.frames_valid.any() and result.health.decode_errors == 10)
    assert clips_of(good[1:], decoder)[1].frames_valid.all()


@pytest.mark.parametrize("kind", ["aac", "mjpeg"])
def test_a_picture_above_the_limit_is_an_error(media: Media, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(video, "MAX_PIXELS", 160 * 120 - 1)
    result = takes(a_decoder(), some(media, kind)[0])
    assert isinstance(result, Rejected) or (not result.frames_valid.any() and result.health.decode_errors > 0)


def test_more_packets_than_a_second_can_have_are_rejected(media: Media) -> None:
    segment = some(media, "mjpeg")[0]
    flood = matroska(segment, [(i // 100, b"\xff\xd8") for i in range(MAX_PACKETS + 2)])
    result = takes(a_decoder(), replaced(segment, flood))
    assert isinstance(result, Rejected)
    assert f"more than {MAX_PACKETS} packets" in str(result.error)


def test_times_outside_of_the_segment_are_counted_and_ignored(media: Media) -> None:
    segments = some(media, "mjpeg")
    with av.open(io.BytesIO(segments[1].media), "r") as container:
        pictures = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    stray = matroska(segments[1], [*((i * 100, data) for i, data in enumerate(pictures[:9])), (3_600_000, pictures[9])])
    decoder = a_decoder()
    clips_of(segments[:1], decoder)
    clip = takes(decoder, replaced(segments[1], stray))
    assert isinstance(clip, Clip)
    assert clip.health.decode_errors == 1
    assert clip.health.frames == 9
    following = clips_of(segments[2:], decoder)
    # The damaged one has no sound, so its last step comes only with the next one.
    seen, good = (shown(segments[2:], clips) for clips in (following, clips_of(segments)[2:]))
    assert {at_s: seen[at_s] for at_s in good} == good


@pytest.mark.parametrize("far", [{"duration_ns": 10**18}, {"start_ns": 9 * 10**18}, {"duration_ns": -10**15}])
def test_absurd_times_of_a_segment_cost_no_memory(media: Media, far: dict[str, int]) -> None:
    segments = some(media, "aac")
    decoder = a_decoder()
    clips_of(segments[:1], decoder)
    before = memory_bytes()
    result = takes(decoder, msgspec.structs.replace(segments[1], **far))
    assert isinstance(result, Rejected) or len(result.step_ns) <= MAX_STEPS
    assert memory_bytes() - before < 200 * 2**20


def test_sound_that_never_ends_is_cut(media: Media) -> None:
    """An Opus packet of two bytes is up to 120 ms of sound."""
    segment = segments_of(media("sound.ogg", codec=None, audio_codec="opus", sample_rate=48_000, seconds=2))[0]
    # Code 3 with six frames of 20 ms, all of them empty.
    flood = matroska(segment, [(0, b"\x0b\x06")] * 8000)
    before = memory_bytes()
    result = takes(a_decoder(), replaced(segment, flood))
    assert isinstance(result, Rejected) or result.health.decode_errors > 1000
    assert memory_bytes() - before < 200 * 2**20
