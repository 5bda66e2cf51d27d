"""Sound of one camera: packets in, 16 kHz mono windows out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from numpy.typing import NDArray

from operators.clock import NS_PER_S
from operators.decode.video import Counts, Packet

PREROLL_PACKETS = 4  # AAC and Opus need up to 80 ms before the first sample they give is right
HELD_GAP_NS = 2_000_000  # timestamps are whole milliseconds: a smaller gap is rounding, not silence
SILENCE_DBFS = -120.0


class AudioDecoder:
    """Decodes segment after segment, each with a fresh decoder warmed up on the packets before it.

    So the samples of a segment depend on it and on a few packets before it, never on how long the
    process has been running.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._rate_hz = sample_rate_hz
        self._parameters: tuple[object, ...] = ()
        self._preroll: list[av.Packet[Any]] = []

    def decode(self, template: AudioCodecContext, packets: Sequence[Packet],
               counts: Counts) -> tuple[int, NDArray[np.float32]]:
        """The time of the first sample and the samples, float32 (n,) in -1..1, mono.

        Args:
            template: the segment's stream parameters.
            packets: the segment's audio packets, at least one.
            counts: errors are counted here.
        """
        parameters = (template.name, template.extradata, template.sample_rate, template.layout.name)
        if parameters != self._parameters:
            self._parameters, self._preroll = parameters, []
        context = cast(AudioCodecContext, AudioCodecContext.create(template.name, "r"))
        context.extradata = template.extradata
        context.sample_rate, context.layout = template.sample_rate, template.layout
        context.thread_count = 1
        resampler = av.AudioResampler("fltp", "mono", self._rate_hz)

        native_hz = template.sample_rate
        warmup = self._decode_all(context, self._preroll, Counts())
        frames = self._decode_all(context, [item.packet for item in packets], counts)
        self._preroll = [item.packet for item in packets][-PREROLL_PACKETS:]
        skip = round(sum(frame.samples for frame in warmup) * self._rate_hz / native_hz)
        pieces = [out.to_ndarray()[0] for frame in (*warmup, *frames, None) for out in resampler.resample(frame)]
        samples = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
        return packets[0].time_ns, np.clip(np.nan_to_num(samples[skip:]), -1.0, 1.0).astype(np.float32, copy=False)

    @staticmethod
    def _decode_all(context: AudioCodecContext, packets: Iterable[av.Packet[Any]],
                    counts: Counts) -> list[av.AudioFrame]:
        frames: list[av.AudioFrame] = []
        for packet in packets:
            try:
                frames += context.decode(packet)
            except (av.FFmpegError, ValueError):
                counts.errors += 1
        for frame in frames:
            frame.pts = None  # the samples are placed by counting, not by each frame's rounded time
        return frames


class SoundBuffer:
    """The newest seconds of a camera's sound on the session's clock; gaps are silent."""

    def __init__(self, *, sample_rate_hz: int, seconds: float) -> None:
        self._rate_hz = sample_rate_hz
        self._samples = np.zeros(round(seconds * sample_rate_hz), np.float32)
        self._end: int | None = None  # index, since the epoch, after the newest sample
        self._start = 0  # index of the first sample ever written

    @property
    def end_ns(self) -> int | None:
        """Time after the newest sample."""
        return None if self._end is None else self._end * NS_PER_S // self._rate_hz

    def write(self, time_ns: int, samples: NDArray[np.float32]) -> None:
        """Place `samples`, float32 (n,), at `time_ns`; what overlaps earlier sound is dropped."""
        first = self._index(time_ns)
        if self._end is None:
            self._start = self._end = first
        if first < self._end:
            samples = samples[self._end - first:]
        elif first > self._end:
            gap = min(first - self._end, len(self._samples))
            rounding = (first - self._end) * NS_PER_S <= HELD_GAP_NS * self._rate_hz
            self._end = first - gap
            self._push(np.full(gap, self._samples[-1] if rounding else 0.0, np.float32))
        self._push(samples)

    def window(self, time_ns: int, count: int) -> NDArray[np.float32] | None:
        """The `count` samples before `time_ns`, zeros where there is no sound; None if there is none at all."""
        if self._end is None:
            return None
        stop = self._index(time_ns)
        oldest = max(self._end - len(self._samples), self._start)
        low, high = max(stop - count, oldest), min(stop, self._end)
        if low >= high:
            return None
        window = np.zeros(count, np.float32)
        offset = len(self._samples) - self._end
        window[low - stop + count:high - stop + count] = self._samples[low + offset:high + offset]
        return window

    def _index(self, time_ns: int) -> int:
        return (time_ns * self._rate_hz + NS_PER_S // 2) // NS_PER_S

    def _push(self, samples: NDArray[np.float32]) -> None:
        self._end = (self._end or 0) + len(samples)
        kept = samples[-len(self._samples):] if len(samples) else samples
        if len(kept):
            self._samples = np.concatenate([self._samples[len(kept):], kept])


def level_dbfs(samples: NDArray[np.float32]) -> float:
    """Root mean square of `samples`, float32 (n,), in dB below full scale, at least -120."""
    if not len(samples):
        return SILENCE_DBFS
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    return max(SILENCE_DBFS, 10.0 * float(np.log10(power))) if power > 0 else SILENCE_DBFS
