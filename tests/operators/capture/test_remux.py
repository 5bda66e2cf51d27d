from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from operators.capture.bitstream import START_CODE
from operators.records import Segment
from tests.operators.capture.watching import assert_whole, capture, decode, ffprobe, packets

Media = Callable[..., Path]

FILES: dict[str, tuple[str, dict[str, Any]]] = {
    "h264+aac": ("a.mp4", {"audio_codec": "aac"}),
    "h264 with B-frames": ("b.mp4", {"options": {"bf": "2", "preset": "veryfast"}, "audio_codec": "aac"}),
    "h264+aac in TS": ("c.ts", {"audio_codec": "aac"}),
    "h264 with B-frames in TS": ("d.ts", {"options": {"bf": "2", "preset": "veryfast"}}),
    "h265+opus": ("e.mkv", {"codec": "hevc", "audio_codec": "opus", "sample_rate": 48_000}),
    "h265+aac in TS": ("f.ts", {"codec": "hevc", "audio_codec": "aac"}),
    "mjpeg+mp3": ("g.avi", {"codec": "mjpeg", "audio_codec": "mp3", "sample_rate": 44_100}),
    "h264+G.711 mu-law": ("h.mov", {"audio_codec": "pcm_mulaw"}),
    "h264+G.711 A-law": ("i.mov", {"audio_codec": "pcm_alaw"}),
    "h264+PCM": ("j.avi", {"audio_codec": "pcm_s16le"}),
    "mpeg4": ("k.mp4", {"codec": "mpeg4"}),
    "vp8": ("l.webm", {"codec": "vp8"}),
    "vp9+opus": ("m.webm", {"codec": "vp9", "audio_codec": "opus", "sample_rate": 48_000}),
    "h264+aac in FLV": ("n.flv", {"audio_codec": "aac", "sample_rate": 44_100}),
    "mu-law alone": ("o.wav", {"codec": None, "audio_codec": "pcm_mulaw"}),
    "opus alone": ("p.ogg", {"codec": None, "audio_codec": "opus", "sample_rate": 48_000}),
    "aac alone": ("q.m4a", {"codec": None, "audio_codec": "aac"}),
    "mp3 alone": ("r.mp3", {"codec": None, "audio_codec": "mp3", "sample_rate": 44_100}),
    "aac without a container": ("s.aac", {"codec": None, "audio_codec": "aac"}),
    "h264 without a container": ("t.h264", {}),
}


def payloads(segments: list[Segment], kind: str) -> list[bytes]:
    return [bytes(packet) for segment in segments for packet in packets(segment, kind)]


def original(path: Path, kind: str) -> list[bytes]:
    """Packets of a file, less the sound before its beginning: the priming of the encoder."""
    with av.open(path) as container:
        start_s = (container.start_time or 0) / av.time_base
        return [
            bytes(packet)
            for packet in container.demux()
            if packet.size and packet.stream.type == kind
            and not (kind == "audio" and packet.pts is not None
                     and (packet.pts + (packet.duration or 0)) * packet.time_base <= start_s)
        ]


def units(data: bytes) -> list[bytes]:
    """NAL units behind start codes or lengths: Matroska keeps H.264 and H.265 with lengths only."""
    if data.startswith((START_CODE, b"\0" + START_CODE)):
        return [unit.rstrip(b"\0") for unit in data.split(START_CODE)[1:] if unit.rstrip(b"\0")]
    found = []
    while data:
        size = int.from_bytes(data[:4], "big")
        found.append(data[4 : 4 + size].rstrip(b"\0"))
        data = data[4 + size :]
    return found


@pytest.mark.parametrize("kind", FILES)
def test_packets_go_in_bit_by_bit(media: Media, kind: str) -> None:
    name, arguments = FILES[kind]
    path = media(name, seconds=3, **arguments)
    segments = capture(path)
    assert_whole(segments)
    assert len(segments) >= 2
    for track in ("video", "audio"):
        found, wanted = payloads(segments, track), original(path, track)
        if track == "video" and ("h264" in kind or "h265" in kind):
            assert [units(data) for data in found] == [units(data) for data in wanted]
        elif wanted and wanted[0][:1] == b"\xff" and "aac" in kind:  # Matroska keeps AAC without ADTS headers
            assert found == [data[7:] for data in wanted]
        else:
            assert found == wanted


@pytest.mark.parametrize("kind", FILES)
def test_every_segment_plays_by_itself(media: Media, kind: str) -> None:
    name, arguments = FILES[kind]
    for segment in capture(media(name, seconds=3, **arguments)):
        pictures, sounds = decode(segment)
        assert len(pictures) >= len(packets(segment, "video")) - 2  # leading pictures of an open group may go
        if segment.video:
            assert (pictures[0].width, pictures[0].height) == (segment.video.width, segment.video.height) == (160, 120)
        assert bool(sounds) == bool(segment.audio)
        if segment.audio:
            assert sounds[0].sample_rate == segment.audio.sample_rate_hz
            assert sounds[0].layout.nb_channels == segment.audio.channels == 1


@pytest.mark.parametrize("kind", ["h264+aac", "h265+aac in TS", "h264+G.711 mu-law", "vp9+opus"])
def test_ffprobe_has_nothing_to_say(media: Media, kind: str) -> None:
    name, arguments = FILES[kind]
    for segment in capture(media(name, seconds=3, **arguments)):
        found = ffprobe(segment)
        assert segment.video and f"codec_name={segment.video.codec}" in found
        assert segment.audio and f"codec_name={segment.audio.codec}" in found


def test_time_zero_of_the_media_is_the_start_of_the_segment(media: Media) -> None:
    path = media("a.mp4", seconds=3, audio_codec="aac")
    with av.open(path) as container:
        stream = container.streams.video[0]
        wanted = [float(p.pts * p.time_base) for p in container.demux(stream) if p.pts is not None]
    segments = capture(path)
    found = []
    for segment in segments:
        assert segment.media_start_ns is not None
        for packet in packets(segment, "video"):
            assert packet.pts is not None
            found.append(segment.media_start_ns / 1e9 + float(packet.pts * packet.time_base))
    assert found == pytest.approx(wanted, abs=0.0006)  # Matroska counts milliseconds


@pytest.mark.parametrize("kind", ["vp9+opus", "h264+aac", "h264+G.711 mu-law", "h264+PCM"])
def test_sound_goes_on_over_the_cuts(media: Media, kind: str) -> None:
    """Decoded one after the other the segments have every sample of the file once."""
    name, arguments = FILES[kind]
    path = media(name, seconds=3, **arguments)
    segments = capture(path)
    assert segments[0].audio is not None
    rate = segments[0].audio.sample_rate_hz
    samples = sum(sound.samples for segment in segments for sound in decode(segment)[1])
    assert samples == pytest.approx(3 * rate, abs=0.07 * rate)
    for segment in segments:
        if "opus" in kind:  # its header has decoders skip the beginning, which must not happen at each cut
            assert sum(sound.samples for sound in decode(segment)[1]) == 960 * len(packets(segment, "audio"))
        levels = [float(np.sqrt(np.mean(np.square(_floats(sound))))) for sound in decode(segment)[1]]
        assert min(levels[2:-2]) > 0.1  # the tone is there from beginning to end


def _floats(sound: av.AudioFrame) -> np.ndarray[Any, Any]:
    array = sound.to_ndarray()
    return array / 32768 if array.dtype == np.int16 else array


def test_the_same_packets_give_the_same_bytes(media: Media) -> None:
    path = media("a.mp4", seconds=3, audio_codec="aac")
    assert [segment.media for segment in capture(path)] == [segment.media for segment in capture(path)]
