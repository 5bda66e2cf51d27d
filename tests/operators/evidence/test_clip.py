"""A clip holds the very packets of its segments, begins at a keyframe, and goes into what a browser plays if it can."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import msgspec
import pytest

from operators.clock import NS_PER_S
from operators.errors import MediaError
from operators.evidence.clip import Clip, remux
from operators.records import Segment
from tests.operators.decode.segments import segments_of

needs_ffprobe = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="no ffprobe: Debian's package ffmpeg")
Media = Callable[..., Path]

Film = tuple[str, dict[str, Any]]  # its name, and what `make_video` makes it of
BROWSER: dict[str, Film] = {
    "h264-aac": ("clip.mp4", {"audio_codec": "aac", "sample_rate": 44_100, "options": {"bf": "2"}}),
    "hevc-aac": ("clip.mp4", {"codec": "hevc", "audio_codec": "aac"}),
    "vp9": ("clip.mkv", {"codec": "vp9"}),
    "h264-opus": ("clip.mkv", {"audio_codec": "opus", "sample_rate": 48_000}),
    "aac": ("clip.m4a", {"codec": None, "audio_codec": "aac"}),
}
OTHERS: dict[str, Film] = {
    "h264-g711": ("clip.mov", {"audio_codec": "pcm_mulaw"}),
    "mjpeg": ("clip.mkv", {"codec": "mjpeg"}),
    "pcm": ("clip.wav", {"codec": None, "audio_codec": "pcm_s16le"}),
}


def cut(media: Media, name: str, arguments: dict[str, Any]) -> list[Segment]:
    return segments_of(media(name, seconds=6.0, **arguments))


def bytes_of(container: Any, kind: str) -> list[bytes]:
    streams = getattr(container.streams, kind)
    return [bytes(packet) for packet in container.demux(streams[0]) if packet.size] if streams else []


def packets_of(segments: Sequence[Segment], kind: str) -> list[bytes]:
    found: list[bytes] = []
    for segment in segments:
        with av.open(io.BytesIO(segment.media)) as container:
            found += bytes_of(container, kind)
    return found


def packets_in(clip: Clip, kind: str) -> list[bytes]:
    with av.open(clip.path) as container:
        return bytes_of(container, kind)


@pytest.mark.parametrize("case", [*BROWSER, *OTHERS])
def test_the_packets_are_those_of_the_segments_and_none_is_encoded_anew(
        case: str, media: Media, tmp_path: Path) -> None:
    segments = cut(media, *(BROWSER | OTHERS)[case])[1:]
    clip = remux(segments, tmp_path)
    assert clip.container == ("mp4" if case in BROWSER else "matroska")
    assert clip.path.name == ("clip.mp4" if case in BROWSER else "clip.mkv")
    assert packets_in(clip, "audio") == packets_of(segments, "audio")
    pictures, given = packets_in(clip, "video"), packets_of(segments, "video")
    lost = len(given) - len(pictures)  # those that reach back before the first keyframe, which nobody could show
    assert lost <= (2 if case == "hevc-aac" else 0)
    assert pictures == [*given[:1], *given[1 + lost:]] * bool(given)


@needs_ffprobe
@pytest.mark.parametrize("case", BROWSER)
def test_times_are_those_of_the_segments_and_rise_as_players_want(case: str, media: Media, tmp_path: Path) -> None:
    segments = cut(media, *BROWSER[case])[1:-1]
    clip = remux(segments, tmp_path)
    assert clip.start_ns == pytest.approx(segments[0].start_ns, abs=0.1 * NS_PER_S)
    assert clip.end_ns == segments[-1].end_ns
    shown = subprocess.run(["ffprobe", "-v", "warning", "-of", "json", "-show_packets", clip.path],
                           capture_output=True, text=True, check=True)
    assert shown.stderr == ""
    times: dict[str, list[tuple[float, float]]] = {}
    for packet in json.loads(shown.stdout)["packets"]:
        times.setdefault(packet["codec_type"], []).append((float(packet["pts_time"]), float(packet["dts_time"])))
    length_s = (clip.end_ns - clip.start_ns) / NS_PER_S
    for of_track in times.values():
        pts, dts = zip(*of_track, strict=True)
        assert list(dts) == sorted(set(dts))
        assert all(shown_at >= decoded_at for shown_at, decoded_at in of_track)
        assert (min(pts), max(pts)) == pytest.approx((0, length_s), abs=0.25)
        assert max(after - before for before, after in zip(sorted(pts), sorted(pts)[1:], strict=False)) < 0.15


def test_a_player_can_begin_before_it_has_all_of_it(media: Media, tmp_path: Path) -> None:
    data = remux(cut(media, *BROWSER["h264-aac"]), tmp_path).path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_it_begins_at_a_keyframe(media: Media, tmp_path: Path) -> None:
    segments = segments_of(media("rare.mp4", seconds=12.0, gop=60))
    assert segments[1].continues
    clip = remux(segments[1:], tmp_path)
    with av.open(clip.path) as container:
        first = next(packet for packet in container.demux(video=0))
    assert first.is_keyframe
    assert first.pts == 0
    assert clip.start_ns == pytest.approx(segments[0].start_ns + 6 * NS_PER_S, abs=0.1 * NS_PER_S)


def test_what_is_damaged_is_left_out_and_if_nothing_is_left_it_is_said(media: Media, tmp_path: Path) -> None:
    segments = cut(media, *BROWSER["h264-aac"])
    broken = [msgspec.structs.replace(one, media=b"rubbish" if i == 2 else one.media) for i, one in enumerate(segments)]
    assert packets_in(remux(broken, tmp_path), "video") == packets_of(segments[:2] + segments[3:], "video")
    with pytest.raises(MediaError, match="^none of 2 segments can be read$"):
        remux([msgspec.structs.replace(one, media=b"rubbish") for one in segments[:2]], tmp_path)


def test_a_segment_that_lies_about_its_times_makes_no_clip_of_years(media: Media, tmp_path: Path) -> None:
    segments = cut(media, "silent.mp4", {})
    with av.open(io.BytesIO(segments[2].media), "r") as given, av.open(tmp_path / "lying.mkv", "w") as lying:
        stream = lying.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.size and packet.pts is not None:
                packet.stream, packet.pts, packet.dts = stream, packet.pts + 10**9, packet.pts + 10**9
                lying.mux(packet)
    liar = msgspec.structs.replace(segments[2], media=(tmp_path / "lying.mkv").read_bytes())
    clip = remux([*segments[:2], liar, *segments[3:]], tmp_path)
    assert packets_in(clip, "video") == packets_of(segments[:2] + segments[3:], "video")


def test_where_the_tracks_change_the_longest_run_of_equal_ones_is_kept(media: Media, tmp_path: Path) -> None:
    with_sound, silent = cut(media, *BROWSER["h264-aac"]), cut(media, "silent.mp4", {})
    clip = remux([*with_sound[:2], *silent], tmp_path)
    assert (clip.video, clip.audio) == ("h264", None)
    assert packets_in(clip, "video") == packets_of(silent, "video")
