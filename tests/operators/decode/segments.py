"""Files cut into segments, a clock in the pictures, and clips compared bit for bit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from operators.base import Rejected
from operators.capture.camera import Camera, CameraSettings
from operators.clock import ManualClock
from operators.decode.decoder import Decoder, DecodeSettings
from operators.models.bundle import Sampling
from operators.records import Clip, Segment

STEP_NS, SPACING_NS, PICTURES, SIZE_PX, RATE_HZ = 500_000_000, 250_000_000, 3, 32, 16_000
SAMPLING = Sampling(step_ns=STEP_NS, pictures=PICTURES, spacing_ns=SPACING_NS, height_px=SIZE_PX, width_px=SIZE_PX,
                    sample_rate_hz=RATE_HZ, samples=RATE_HZ)
BARS = 8


def segments_of(path: Path, *, segment_s: float = 1.0, max_segment_s: float = 4.0) -> list[Segment]:
    """The file as capture cuts it; `continued` follows from the next segment."""
    settings = CameraSettings(source=f"cam={path}", segment_s=segment_s, max_segment_s=max_segment_s)
    camera = Camera(settings, clock=ManualClock(2_000_000_000_000_000_000), stop=threading.Event())
    segments = list(camera.segments())
    following = [after.continues for _, after in pairwise(segments)] + [False]
    return [msgspec.structs.replace(segment, continued=continued)
            for segment, continued in zip(segments, following, strict=True)]


def a_decoder(settings: DecodeSettings | None = None, clock: ManualClock | None = None,
              sampling: Sampling = SAMPLING) -> Decoder:
    return Decoder(settings or DecodeSettings(), sampling, clock or ManualClock())


def clips_of(segments: Sequence[Segment], decoder: Decoder | None = None) -> list[Clip]:
    """Every segment's clip; none may be rejected."""
    results = list((decoder or a_decoder()).process(segments))
    rejected = [result.error for result in results if isinstance(result, Rejected)]
    assert not rejected
    return [result for result in results if isinstance(result, Clip)]


@cache  # so that `media` sees the same function and makes the file once
def index_bars(fps: int) -> Callable[[float, NDArray[np.uint8]], None]:
    """Draws each picture's index as eight black or white bars."""
    def draw(time_s: float, picture: NDArray[np.uint8]) -> None:
        index, width = round(time_s * fps), picture.shape[1] // BARS
        for bar in range(BARS):
            picture[:, bar * width:(bar + 1) * width] = 255 * (index >> bar & 1)
    return draw


def index_in(picture: NDArray[np.uint8]) -> int:
    """The index that `index_bars` drew into a picture, uint8 (H, W, 3)."""
    means = picture.reshape(picture.shape[0], BARS, -1, 3).mean(axis=(0, 2, 3))
    return int(sum(1 << bar for bar in range(BARS) if means[bar] > 128))


def media_s(clip: Clip, segment: Segment) -> list[float]:
    """The times of a clip's steps in the file, in seconds."""
    assert segment.media_start_ns is not None
    return [(int(step_ns) - segment.start_ns + segment.media_start_ns) / 1e9 for step_ns in clip.step_ns]


def shown(segments: Sequence[Segment], clips: Sequence[Clip]) -> dict[float, list[int] | None]:
    """Step time in the file -> the indices drawn into its pictures; None: not valid."""
    return {at_s: [index_in(picture) for picture in clip.frames[i]] if clip.frames_valid[i] else None
            for segment, clip in zip(segments, clips, strict=True) for i, at_s in enumerate(media_s(clip, segment))}


def heard(segments: Sequence[Segment], clips: Sequence[Clip]) -> dict[float, NDArray[np.float32] | None]:
    """Step time in the file -> its window of sound; None: not valid."""
    return {at_s: clip.samples[i] if clip.samples_valid[i] else None
            for segment, clip in zip(segments, clips, strict=True) for i, at_s in enumerate(media_s(clip, segment))}


def same(one: Clip, other: Clip) -> bool:
    """Bit for bit, health included."""
    arrays = ("step_ns", "frames", "frames_valid", "samples", "samples_valid")
    plain = [name for name in Clip.__struct_fields__ if name not in arrays]
    return (all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)
            and all(getattr(one, name) == getattr(other, name) for name in plain))


def pictures_in(clips: Iterable[Clip]) -> int:
    return sum(clip.health.frames for clip in clips)
