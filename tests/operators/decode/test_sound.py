"""What is heard at which step, and that it has no holes."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from operators.decode.audio import SoundBuffer, level_dbfs
from operators.records import Segment
from tests.operators.decode.segments import RATE_HZ, clips_of, heard, segments_of

Media = Callable[..., Path]
TONE_HZ = 437.0  # no whole number of periods a second: a cut anywhere would show
SOUNDS: dict[str, dict[str, Any]] = {
    "aac": {"name": "clip.mp4", "audio_codec": "aac"},
    "aac 48 kHz": {"name": "clip.mp4", "audio_codec": "aac", "sample_rate": 48_000},
    "opus": {"name": "clip.mkv", "audio_codec": "opus", "sample_rate": 48_000},
    "opus alone": {"name": "clip.ogg", "codec": None, "audio_codec": "opus", "sample_rate": 48_000},
    "g711 mu-law": {"name": "clip.mov", "audio_codec": "pcm_mulaw"},
    "g711 a-law": {"name": "clip.wav", "codec": None, "audio_codec": "pcm_alaw"},
    "pcm 48 kHz": {"name": "clip.mkv", "audio_codec": "pcm_s16le", "sample_rate": 48_000},
    "pcm 44.1 kHz": {"name": "clip.mkv", "audio_codec": "pcm_s16le", "sample_rate": 44_100},
}


def whole(segments: Sequence[Segment], until_s: int) -> NDArray[np.float32]:
    """The windows of every whole second, put together."""
    windows = heard(segments, clips_of(segments))
    return np.concatenate([window for second in range(1, until_s + 1)
                           if (window := windows[float(second)]) is not None])


def off_a_sine(samples: NDArray[np.float32], hz: float) -> NDArray[np.float64]:
    """How far each sample is from the sine that fits best."""
    phase = 2 * np.pi * hz * np.arange(len(samples)) / RATE_HZ
    basis = np.stack([np.sin(phase), np.cos(phase)], axis=1)
    fit, *_ = np.linalg.lstsq(basis, samples, rcond=None)
    return np.asarray(np.abs(samples - basis @ fit))


@pytest.mark.parametrize("kind", SOUNDS)
def test_a_sine_stays_whole_over_the_cuts(media: Media, kind: str) -> None:
    segments = segments_of(media(**SOUNDS[kind], seconds=6, fps=10, tone=TONE_HZ))
    assert len(segments) >= 5
    off = off_a_sine(whole(segments, 5)[RATE_HZ // 2:], TONE_HZ)
    # 0.3 is the amplitude; a jump of one sample at 16 kHz would be 0.05, a hole 0.3.
    assert off.max() < 0.05
    assert off.std() < 0.012


@cache  # so that `media` sees the same function for the same time
def click_at(click_s: float) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    return lambda times: np.where(np.abs(times - click_s) < 0.0005, 0.9, 0.0)


@pytest.mark.parametrize("click_s", [0.7, 1.7, 2.0, 3.3])
@pytest.mark.parametrize("kind", SOUNDS)
def test_a_click_is_heard_at_its_time(media: Media, kind: str, click_s: float) -> None:
    segments = segments_of(media(**SOUNDS[kind], seconds=5, fps=10, tone=click_at(click_s)))
    windows = heard(segments, clips_of(segments))
    found = 0
    for step_s, window in windows.items():
        if step_s - 1 < click_s - 0.01 and click_s + 0.01 < step_s:
            assert window is not None
            loud = np.flatnonzero(np.abs(window) > 0.5 * np.abs(window).max())
            at_s = step_s - 1 + float(loud.mean()) / RATE_HZ
            assert at_s == pytest.approx(click_s, abs=0.0015)  # Matroska's times are whole milliseconds
            found += 1
    assert found in (1, 2)


def test_pcm_at_the_models_own_rate_is_given_bit_for_bit(media: Media) -> None:
    path = media("clip.mkv", audio_codec="pcm_s16le", sample_rate=RATE_HZ, seconds=4, fps=10, tone=TONE_HZ)
    with av.open(path) as container:
        truth = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)]) / np.float32(32768)
    assert np.array_equal(whole(segments_of(path), 3), truth[:3 * RATE_HZ])


def test_both_channels_are_heard(tmp_path: Path) -> None:
    path = tmp_path / "stereo.mkv"
    times = np.arange(3 * 48_000) / 48_000
    left, right = (0.4 * np.sin(2 * np.pi * hz * times) for hz in (400, 1000))
    with av.open(path, "w") as output:
        stream = output.add_stream("pcm_s16le", rate=48_000)
        stream.codec_context.layout = "stereo"
        interleaved = (np.stack([left, right], axis=1) * 32767).astype(np.int16).reshape(1, -1)
        for start in range(0, len(times), 960):
            frame = av.AudioFrame.from_ndarray(interleaved[:, 2 * start:2 * start + 1920], "s16", "stereo")
            frame.sample_rate, frame.pts = 48_000, start
            output.mux(stream.encode(frame))
    spectrum = np.abs(np.fft.rfft(whole(segments_of(path), 2))) / RATE_HZ
    assert spectrum[800] == pytest.approx(0.2, rel=0.02)
    assert spectrum[2000] == pytest.approx(0.2, rel=0.02)


def test_pictures_without_sound_have_none_valid(media: Media) -> None:
    clips = clips_of(segments_of(media("clip.mp4", seconds=3, fps=10)))
    assert not any(clip.samples_valid.any() or clip.samples.any() for clip in clips)
    assert all(clip.health.level_dbfs is None and clip.health.skew_ns is None for clip in clips)


def test_a_gap_between_segments_is_silent_and_the_rest_in_place(media: Media) -> None:
    segments = segments_of(media("clip.mkv", audio_codec="pcm_s16le", seconds=5, fps=10, tone=TONE_HZ))
    lost = [msgspec.structs.replace(segment, media=b"") if segment.sequence == 2 else segment for segment in segments]
    windows, truth = heard(lost, clips_of(lost)), heard(segments, clips_of(segments))
    silent, whole_again = windows[3.5], windows[4.5]
    assert silent is not None
    assert not silent[:RATE_HZ // 2].any()
    assert np.array_equal(silent[RATE_HZ // 2:], np.asarray(truth[3.5])[RATE_HZ // 2:])
    assert np.array_equal(np.asarray(whole_again), np.asarray(truth[4.5]))


def test_packets_lost_inside_a_segment_leave_a_silence_of_their_length(media: Media, tmp_path: Path) -> None:
    source = media("clip.mkv", audio_codec="pcm_s16le", sample_rate=RATE_HZ, seconds=4, fps=10, tone=TONE_HZ)
    path = tmp_path / "lossy.mkv"
    with av.open(source) as container, av.open(path, "w") as output:
        streams = {stream.index: output.add_stream_from_template(stream) for stream in container.streams}
        for packet in container.demux():
            lost = packet.stream.type == "audio" and packet.pts is not None and 1300 <= packet.pts < 1500
            if packet.size and not lost:
                packet.stream = streams[packet.stream_index]
                output.mux(packet)
    found, truth = whole(segments_of(path), 3), whole(segments_of(source), 3)
    truth[round(1.3 * RATE_HZ):round(1.5 * RATE_HZ)] = 0
    assert np.array_equal(found, truth)


def test_a_change_of_codec_goes_on_with_the_sound(media: Media) -> None:
    one = segments_of(media("a.mp4", audio_codec="aac", seconds=4, fps=10, tone=TONE_HZ))[:2]
    other = segments_of(media("b.mov", audio_codec="pcm_mulaw", seconds=4, fps=10, tone=TONE_HZ))
    mixed = [*one,
             *(msgspec.structs.replace(segment, session=one[0].session,
                                       start_ns=one[0].start_ns + (segment.media_start_ns or 0))
               for segment in other[2:])]
    off = off_a_sine(whole(mixed, 3)[RATE_HZ // 2:], TONE_HZ)
    assert np.quantile(off, 0.99) < 0.05


def test_the_level_is_measured(media: Media) -> None:
    clips = clips_of(segments_of(media("clip.mkv", audio_codec="pcm_s16le", seconds=3, fps=10, tone=TONE_HZ)))
    for clip in clips:
        assert clip.health.level_dbfs == pytest.approx(20 * np.log10(0.3 / np.sqrt(2)), abs=0.2)
    assert level_dbfs(np.zeros(10, np.float32)) == level_dbfs(np.zeros(0, np.float32)) == -120
    assert level_dbfs(np.ones(10, np.float32)) == 0


@pytest.mark.parametrize("shift_s", [-0.4, 0.0, 0.4])
def test_skew_says_how_far_the_sound_is_ahead_of_the_picture(media: Media, shift_s: float) -> None:
    """The sound of the segment ends `shift_s` after its pictures."""
    pictures, sound = (segments_of(media(name, codec=codec, audio_codec=audio, seconds=seconds, fps=10,
                                         sample_rate=RATE_HZ), segment_s=3)[0]
                       for name, codec, audio, seconds in (("pictures.mkv", "h264", None, 2.0),
                                                           ("sound.mkv", None, "pcm_s16le", 2.0 + shift_s)))
    both = msgspec.structs.replace(pictures, audio=sound.audio, media=together(pictures.media, sound.media))
    assert clips_of([both])[0].health.skew_ns == pytest.approx(shift_s * 1e9, abs=2e6)


def together(pictures: bytes, sound: bytes) -> bytes:
    """One Matroska file of two."""
    file = io.BytesIO()
    with av.open(io.BytesIO(pictures), "r") as one, av.open(io.BytesIO(sound), "r") as other, \
            av.open(file, "w", format="matroska") as output:
        sources = [(container, output.add_stream_from_template(container.streams[0])) for container in (one, other)]
        packets = [(packet, stream) for container, stream in sources for packet in container.demux() if packet.size]
        for packet, stream in sorted(packets, key=lambda item: item[0].pts or 0):
            packet.stream = stream
            output.mux(packet)
    return file.getvalue()


def test_the_buffer_holds_back_nothing_it_was_given() -> None:
    buffer = SoundBuffer(sample_rate_hz=1000, seconds=2)
    assert buffer.window(1_000_000_000, 500) is None
    buffer.write(1_000_000_000, np.arange(100, dtype=np.float32))
    window = buffer.window(1_050_000_000, 100)
    assert window is not None
    assert window.tolist() == [0.0] * 50 + list(range(50))
    assert buffer.window(1_000_000_000, 100) is None
    assert buffer.window(1_200_000_000, 100) is None
    buffer.write(1_090_000_000, np.full(20, 500, np.float32))  # ten of them overlap
    window = buffer.window(1_110_000_000, 20)
    assert window is not None
    assert window.tolist() == [*range(90, 100), *([500] * 10)]
    assert buffer.end_ns == 1_110_000_000
