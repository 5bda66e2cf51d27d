"""Looking at a clip and listening to it: pictures at given times, and the sound as the model hears it."""

from __future__ import annotations

from collections.abc import Sequence

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from operators.clock import NS_PER_S, ticks_to_ns
from operators.errors import MediaError
from operators.evidence.clip import Clip

Picture = NDArray[np.uint8]  # (H, W, 3) RGB


def pictures_at(clip: Clip, times_ns: Sequence[int]) -> list[Picture]:
    """For each time the picture that was shown then: the first one for what is before it.

    Raises:
        MediaError: there are no pictures, or one cannot be decoded.
    """
    try:
        with av.open(clip.path) as container:
            return [_picture_at(container, clip, time_ns) for time_ns in times_ns]
    except (av.FFmpegError, ValueError) as error:
        message = f"the clip's pictures cannot be decoded: {error}"
        raise MediaError(message) from error


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


def _picture_at(container: InputContainer, clip: Clip, time_ns: int) -> Picture:
    """Decodes from the keyframe before on."""
    container.seek(max(0, time_ns - clip.start_ns) * av.time_base // NS_PER_S)
    newest: av.VideoFrame | None = None
    for frame in container.decode(container.streams.video[:1]):
        if isinstance(frame, av.VideoFrame) and frame.pts is not None and frame.time_base is not None:
            if newest is not None and clip.start_ns + ticks_to_ns(frame.pts, frame.time_base) > time_ns:
                break
            newest = frame
    if newest is None:
        message = "the clip has no pictures"
        raise MediaError(message)
    return newest.to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def _place(sound: NDArray[np.float32], start: int, piece: NDArray[np.float32]) -> None:
    """Write `piece` where it belongs, as far as it lies within."""
    piece = piece[max(0, -start):]
    start = max(0, start)
    stop = min(len(sound), start + len(piece))
    if stop > start:
        sound[start:stop] = piece[:stop - start]
