"""Looking at a clip and listening to it: pictures at given times, and the sound as the model hears it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from operators.clock import NS_PER_S, ticks_to_ns
from operators.errors import MediaError
from operators.evidence.clip import Clip

Picture = NDArray[np.uint8]  # (H, W, 3) RGB


def pictures_at(clip: Clip, times_ns: Sequence[int]) -> list[Picture]:
    """For each time, in rising order, the picture that was shown then: the first one for what is before it.

    Raises:
        MediaError: there are no pictures, or none can be decoded.
    """
    found: list[Picture] = []
    newest: av.VideoFrame | None = None
    try:
        with av.open(clip.path) as container:
            for time_ns, frame in _frames(container, clip):
                while newest is not None and len(found) < len(times_ns) and time_ns > times_ns[len(found)]:
                    found.append(_rgb(newest))
                newest = frame
                if len(found) == len(times_ns):
                    return found
    except (av.FFmpegError, ValueError) as error:
        message = f"the clip's pictures cannot be decoded: {error}"
        raise MediaError(message) from error
    if newest is None:
        message = "the clip has no pictures"
        raise MediaError(message)
    return found + [_rgb(newest)] * (len(times_ns) - len(found))


def sound_of(clip: Clip, rate_hz: int) -> NDArray[np.float32] | None:
    """The sound as float32 (N,) -1..1, mono at `rate_hz`, from the clip's start to its end; None: there is none.

    Raises:
        MediaError: it cannot be decoded.
    """
    if clip.audio is None:
        return None
    sound = np.zeros(round((clip.end_ns - clip.start_ns) / NS_PER_S * rate_hz), np.float32)
    resampler = av.AudioResampler(format="flt", layout="mono", rate=rate_hz)
    try:
        with av.open(clip.path) as container:
            for frame in container.decode(audio=0):
                for piece in resampler.resample(frame):
                    if piece.pts is not None and piece.time_base is not None:
                        _place(sound, round(piece.pts * piece.time_base * rate_hz), piece.to_ndarray()[0])
    except (av.FFmpegError, ValueError) as error:
        message = f"the clip's sound cannot be decoded: {error}"
        raise MediaError(message) from error
    return sound


def _frames(container: InputContainer, clip: Clip) -> Iterator[tuple[int, av.VideoFrame]]:
    if container.streams.video:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            if frame.pts is not None and frame.time_base is not None:
                yield clip.start_ns + ticks_to_ns(frame.pts, frame.time_base), frame


def _rgb(frame: av.VideoFrame) -> Picture:
    return frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def _place(sound: NDArray[np.float32], start: int, piece: NDArray[np.float32]) -> None:
    """Write `piece` where it belongs, as far as it lies within."""
    piece = piece[max(0, -start):]
    start = max(0, start)
    stop = min(len(sound), start + len(piece))
    if stop > start:
        sound[start:stop] = piece[:stop - start]
