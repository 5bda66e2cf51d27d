"""Pictures of one camera: packets in, the pictures that the steps ask for out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from operators.records import Look

MICROSECONDS = Fraction(1, 1_000_000)  # decoders carry our absolute times in this unit
MAX_PICTURE_AGE_NS = 2_000_000_000  # an older picture no longer shows what is there
SHOWN_PICTURES = 256  # sampled pictures kept at most; `forget_before` drops them much earlier
MAX_PIXELS = 8192 * 4320  # of one picture; a larger one is damaged or hostile, and is counted as an error


@dataclass(frozen=True)
class Packet:
    """Compressed media with its absolute time."""

    time_ns: int
    packet: av.Packet[Any]


@dataclass
class Counts:
    """What became of a segment's pictures."""

    received: int = 0
    errors: int = 0
    shed: dict[str, int] = field(default_factory=dict)
    looks: list[Look] = field(default_factory=list)

    def shed_all(self, reason: str, pictures: int) -> None:
        """Count pictures that were not looked at."""
        if pictures:
            self.shed[reason] = self.shed.get(reason, 0) + pictures


class VideoDecoder:
    """Decodes segment after segment. A segment that starts at a keyframe starts a fresh decoder.

    So what comes out depends only on the segments since the last keyframe, never on how long the
    process has been running: a restart that replays those gives the same pictures bit for bit.
    """

    def __init__(self) -> None:
        self._context: VideoCodecContext | None = None

    @property
    def ready(self) -> bool:
        """Whether a segment that begins between keyframes can be decoded."""
        return self._context is not None

    def reset(self) -> None:
        """Forget everything; only a segment that begins at a keyframe can follow."""
        self._context = None

    def decode(self, template: VideoCodecContext, packets: Sequence[Packet], counts: Counts, *,
               continues: bool, drain: bool) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield (time_ns, picture) in the order of time.

        Args:
            template: the segment's stream parameters.
            packets: the segment's video packets.
            counts: errors are counted here.
            continues: the packets go on where the last call's ended.
            drain: the last picture's successors do not depend on it, so give everything out now.
        """
        if not continues or self._context is None:
            self._context = cast(VideoCodecContext, VideoCodecContext.create(template.name, "r"))
            self._context.extradata = template.extradata
            self._context.options = {"max_pixels": str(MAX_PIXELS)}
            self._context.thread_count = 1  # cameras run side by side; threads inside one only add delay
        context = self._context
        for item in packets:
            item.packet.pts, item.packet.dts = item.time_ns // 1000, None
            item.packet.time_base = MICROSECONDS
            yield from self._decode_one(context, item.packet, counts)
        if drain:
            yield from self._decode_one(context, None, counts)
            self._context = None

    @staticmethod
    def _decode_one(context: VideoCodecContext, packet: av.Packet[Any] | None,
                    counts: Counts) -> Iterator[tuple[int, av.VideoFrame]]:
        try:
            frames = context.decode(packet)
        except (av.FFmpegError, ValueError):
            counts.errors += 1
            return
        for frame in frames:
            if frame.pts is not None:
                yield frame.pts * 1000, frame


class PictureSampler:
    """Keeps, of a stream of pictures, those shown at the times k * spacing, scaled to the model's size."""

    def __init__(self, *, origin_ns: int, spacing_ns: int, height_px: int, width_px: int) -> None:
        self._origin_ns, self._spacing_ns = origin_ns, spacing_ns
        self._height_px, self._width_px = height_px, width_px
        self._scaler = VideoReformatter()  # kept: preparing it anew costs more than scaling a picture
        self._newest: tuple[int, av.VideoFrame] | None = None
        self._newest_scaled: NDArray[np.uint8] | None = None
        self._first: tuple[int, NDArray[np.uint8]] | None = None
        self._shown: deque[tuple[int, NDArray[np.uint8]]] = deque(maxlen=SHOWN_PICTURES)

    @property
    def newest_ns(self) -> int | None:
        """Time of the newest picture seen."""
        return self._newest[0] if self._newest else None

    def see(self, time_ns: int, frame: av.VideoFrame) -> None:
        """Take the next picture; the one before was shown until now."""
        if self._newest and time_ns <= self._newest[0]:
            return  # a decoder may repeat a time after damage; the first one counts
        self._show_until(time_ns)
        seen_ns, (self._newest, self._newest_scaled) = self.newest_ns, ((time_ns, frame), None)
        if seen_ns is None or time_ns - seen_ns > MAX_PICTURE_AGE_NS:
            self._first = (time_ns, self._scaled())

    def at(self, time_ns: int) -> NDArray[np.uint8] | None:
        """The picture shown at `time_ns`, a sampling time: uint8 (H, W, 3), or None if there was none."""
        if self._newest and self._newest[0] <= time_ns:
            return self._scaled() if time_ns - self._newest[0] <= MAX_PICTURE_AGE_NS else None
        for shown_ns, picture in reversed(self._shown):
            if shown_ns == time_ns:
                return picture
        return None

    def before_first(self, time_ns: int) -> NDArray[np.uint8] | None:
        """The first picture after a time without any, standing in for that time; None from then on."""
        return self._first[1] if self._first and time_ns < self._first[0] else None

    def forget_before(self, time_ns: int) -> None:
        """No picture before `time_ns` will be asked for any more."""
        while self._shown and self._shown[0][0] < time_ns:
            self._shown.popleft()

    def _show_until(self, end_ns: int) -> None:
        """Note the newest picture at every sampling time that it covered before `end_ns`."""
        if self._newest is None:
            return
        start_ns, _ = self._newest
        end_ns = min(end_ns, start_ns + MAX_PICTURE_AGE_NS)
        steps = -((self._origin_ns - start_ns) // self._spacing_ns)
        at_ns = self._origin_ns + steps * self._spacing_ns
        while at_ns < end_ns:
            self._shown.append((at_ns, self._scaled()))
            at_ns += self._spacing_ns

    def _scaled(self) -> NDArray[np.uint8]:
        if self._newest is None:
            raise LookupError
        if self._newest_scaled is None:
            frame = self._scaler.reformat(self._newest[1], self._width_px, self._height_px, "rgb24",
                                          interpolation=Interpolation.BILINEAR, threads=1)
            self._newest_scaled = frame.to_ndarray().astype(np.uint8, copy=False)
        return self._newest_scaled
