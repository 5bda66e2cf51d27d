"""Makes small media for tests: drawn pictures and synthesised sound, encoded by PyAV. Nothing is fetched.

    make_video(path, seconds=3, fps=10, gop=10, audio_codec="aac", tone=440.0)

The container follows from the path's suffix. Tests get it as the fixture `media`, which makes each
kind once a session: `path = media("clip.mp4", seconds=3, audio_codec="aac")`.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

Draw = Callable[[float, NDArray[np.uint8]], None]  # time in seconds, picture (H, W, 3) RGB to draw into
Tone = float | Callable[[NDArray[np.float64]], NDArray[np.float64]]  # hertz, or times in seconds -> -1..1

ENCODERS = {"h264": "libx264", "hevc": "libx265", "vp8": "libvpx", "vp9": "libvpx-vp9", "opus": "libopus",
            "mp3": "libmp3lame", "av1": "libsvtav1"}
PIXELS = {"mjpeg": "yuvj420p"}
RATES_HZ = {"pcm_mulaw": 8000, "pcm_alaw": 8000}  # telephone sound has one rate
FAST: dict[str, dict[str, str]] = {
    "h264": {"preset": "ultrafast", "sc_threshold": "0", "forced-idr": "1"},
    "hevc": {"preset": "ultrafast", "x265-params": "log-level=none:scenecut=0"},
    "vp8": {"deadline": "realtime", "cpu-used": "8"},
    "vp9": {"deadline": "realtime", "cpu-used": "8"},
}


def moving_square(time_s: float, picture: NDArray[np.uint8]) -> None:
    """A white square that crosses the picture once in four seconds, over a blue background."""
    height, width, _ = picture.shape
    side = height // 4
    left = int(time_s / 4 % 1 * (width - side))
    picture[:] = (0, 0, 96)
    picture[side : 2 * side, left : left + side] = 255


def make_video(
    path: Path,
    *,
    seconds: float = 3.0,
    fps: int = 10,
    size: tuple[int, int] = (160, 120),
    codec: str | None = "h264",
    gop: int = 10,
    audio_codec: str | None = None,
    sample_rate: int = 16_000,
    draw: Draw = moving_square,
    tone: Tone = 440.0,
    options: dict[str, str] | None = None,
    mux_options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a file with a picture track, a sound track or both.

    Args:
        path: where to; the suffix says the container.
        seconds: length of both tracks.
        fps: pictures a second.
        size: width and height in pixels.
        codec: FFmpeg's codec name of the pictures (h264, hevc, mjpeg, mpeg4, vp8, vp9); None: no pictures.
        gop: pictures from one keyframe to the next.
        audio_codec: of the sound (aac, opus, pcm_mulaw, pcm_s16le, mp3); None: no sound.
        sample_rate: of the sound, one channel.
        draw: draws the picture of a time.
        tone: hertz of a sine, or a function from times to samples.
        options: of the picture encoder, e.g. {"bf": "2"} for B-frames.
        mux_options: of the container, e.g. {"output_ts_offset": "100"}.
        metadata: of the container, e.g. {"creation_time": "2024-05-01T10:00:00Z"}.
    """
    with av.open(path, "w", options=mux_options or {}) as output:
        output.metadata.update(metadata or {})
        video = audio = None
        if codec is not None:
            video = _add_video(output, codec, fps, size, gop, options or {})
        if audio_codec is not None:
            rate = RATES_HZ.get(audio_codec, sample_rate)
            audio = cast(AudioStream, output.add_stream(ENCODERS.get(audio_codec, audio_codec), rate=rate))
            audio.codec_context.layout = "mono"
        frames: list[tuple[float, av.VideoFrame | av.AudioFrame]] = []
        if video:
            frames += _pictures(seconds, fps, size, draw)
        if audio:
            frames += _sounds(seconds, audio, tone)
        for _, frame in sorted(frames, key=lambda timed: timed[0]):
            if isinstance(frame, av.VideoFrame) and video:
                output.mux(video.encode(frame))
            elif isinstance(frame, av.AudioFrame) and audio:
                output.mux(audio.encode(frame))
        for stream in (video, audio):
            if stream:
                output.mux(stream.encode(None))
    return path


def _add_video(output: OutputContainer, codec: str, fps: int, size: tuple[int, int], gop: int,
               options: dict[str, str]) -> VideoStream:
    stream = cast(VideoStream, output.add_stream(ENCODERS.get(codec, codec), rate=fps,
                                                 options={**FAST.get(codec, {}), **options}))
    stream.width, stream.height = size
    stream.pix_fmt = PIXELS.get(codec, "yuv420p")
    stream.codec_context.gop_size = gop
    stream.codec_context.thread_count = 1  # the same bytes on every machine
    return stream


def _pictures(seconds: float, fps: int, size: tuple[int, int], draw: Draw) -> list[tuple[float, av.VideoFrame]]:
    frames = []
    for index in range(round(seconds * fps)):
        picture = np.zeros((size[1], size[0], 3), np.uint8)
        draw(index / fps, picture)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = index, Fraction(1, fps)
        frames.append((index / fps, frame))
    return frames


def _sounds(seconds: float, stream: AudioStream, tone: Tone) -> list[tuple[float, av.AudioFrame]]:
    rate = stream.codec_context.sample_rate
    chunk = stream.codec_context.frame_size or rate // 50
    times = np.arange(round(seconds * rate)) / rate
    samples = np.sin(2 * np.pi * tone * times) * 0.3 if isinstance(tone, (int, float)) else tone(times)
    coded = (np.clip(samples, -1, 1) * 32767).astype(np.int16)
    frames = []
    for start in range(0, len(coded), chunk):
        frame = av.AudioFrame.from_ndarray(coded[None, start : start + chunk], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        frames.append((start / rate, frame))
    return frames
