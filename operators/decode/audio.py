"""Sound of one camera: packets in, 16 kHz mono windows out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from numpy.typing import NDArray

from operators.clock import NS_PER_S
from operators.decode.video import Counts, Packet

PREROLL_PACKETS = 8  # Opus needs 80 ms, four of its usual packets, before the first sample is right; AAC less
JITTER_NS = 20_000_000  # a packet this little off from where the sound before it ended follows it without a break
HELD_GAP_NS = 2_000_000  # a smaller hole comes from rounded times and is no silence
MAX_SOUND_S = 64  # of one segment; a longer one is damaged or hostile
RATES_HZ = range(4000, 192_001)
MAX_CHANNELS = 16
SILENCE_DBFS = -120.0


class AudioDecoder:
    """Decodes segment after segment, each with a fresh decoder warmed up on the packets before it.

    So the samples of a segment depend on it, on a few packets before it and on `next_ns`, never on how
    long the process has been running. Packets follow each other by the count of their samples, since
    their times are whole milliseconds; their times count where they tell of a gap.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self.next_ns: int | None = None  # where the sound so far ends; a restart has to bring it along
        self._rate_hz = sample_rate_hz
        self._parameters: tuple[object, ...] = ()
        self._preroll: list[av.Packet[Any]] = []

    def decode(self, template: AudioCodecContext, packets: Sequence[Packet],
               counts: Counts) -> tuple[int, NDArray[np.float32]]:
        """The time of the first sample and the samples, float32 (n,) in -1..1, mono.

        The resampler holds back the last millisecond or two, which the next segment gives.

        Args:
            template: the segment's stream parameters.
            packets: the segment's audio packets, at least one.
            counts: errors are counted here.
        """
        parameters = (template.name, template.extradata, template.sample_rate, template.layout.name)
        follows = self.next_ns is not None and abs(packets[0].time_ns - self.next_ns) <= JITTER_NS
        if parameters != self._parameters or not follows:
            self._parameters, self._preroll = parameters, []
        stream = _Stream(template, self._rate_hz)
        for packet in self._preroll:
            stream.decode(packet, Counts())
        first_ns = stream.begin()
        stream.decode(packets[0].packet, counts)
        start_ns = self.next_ns if follows and self.next_ns else _start_ns(packets, stream.reached_ns)
        for item in packets[1:]:
            stream.skip_to(item.time_ns - start_ns)
            stream.decode(item.packet, counts)
        self.next_ns = start_ns + stream.reached_ns
        self._preroll = [item.packet for item in packets][-PREROLL_PACKETS:]
        samples = np.concatenate(stream.pieces) if stream.pieces else np.zeros(0, np.float32)
        return start_ns + first_ns, np.clip(np.nan_to_num(samples), -1.0, 1.0).astype(np.float32, copy=False)


class _Stream:
    """One decoder and its resampler: packets in, samples and the time they reach out."""

    def __init__(self, template: AudioCodecContext, rate_hz: int) -> None:
        self.pieces: list[NDArray[np.float32]] = []
        self._context = cast(AudioCodecContext, AudioCodecContext.create(template.name, "r"))
        self._context.extradata = template.extradata
        self._context.sample_rate, self._context.layout = template.sample_rate, template.layout
        self._context.thread_count = 1
        self._resampler = av.AudioResampler("fltp", rate=rate_hz)
        self._rate_hz = rate_hz
        self._form: tuple[int, str, str] | None = None  # rate, layout and sample format of the first frame
        self._decoded = 0  # samples at their own rate

    @property
    def reached_ns(self) -> int:
        """Length of the sound decoded since `begin`."""
        return self._decoded * NS_PER_S // self._form[0] if self._form else 0

    def begin(self) -> int:
        """What came until now was to warm up: forget it. Tells where, seen from here, the first sample lies."""
        given_ns = sum(map(len, self.pieces)) * NS_PER_S // self._rate_hz
        first_ns = given_ns - self.reached_ns
        self.pieces, self._decoded = [], 0
        return first_ns

    def skip_to(self, time_ns: int) -> None:
        """Give silence up to `time_ns` since `begin` if the sound so far ends well before it."""
        gap_ns = min(time_ns, MAX_SOUND_S * NS_PER_S) - self.reached_ns
        if self._form is None or gap_ns <= JITTER_NS:
            return
        rate_hz, layout, form = self._form
        silent = gap_ns * rate_hz // NS_PER_S
        for start in range(0, silent, rate_hz):
            frame = av.AudioFrame(form, layout, min(rate_hz, silent - start))
            for plane in frame.planes:
                plane.update((b"\x80" if form.startswith("u8") else b"\0") * plane.buffer_size)
            frame.sample_rate = rate_hz
            self._give(frame)

    def decode(self, packet: av.Packet[Any], counts: Counts) -> None:
        """Take one packet; a frame that is out of bounds or unlike the first counts as an error."""
        try:
            frames = self._context.decode(packet)
        except (av.FFmpegError, ValueError):
            counts.errors += 1
            return
        for frame in frames:
            form = (frame.sample_rate, frame.layout.name, frame.format.name)
            if self._form is None and frame.sample_rate in RATES_HZ and frame.layout.nb_channels <= MAX_CHANNELS:
                self._form = form
            if form == self._form and self.reached_ns <= MAX_SOUND_S * NS_PER_S:
                self._give(frame)
            else:
                counts.errors += 1

    def _give(self, frame: av.AudioFrame) -> None:
        frame.pts = None  # the samples are placed by counting, not by each frame's rounded time
        self._decoded += frame.samples
        # The mean of the channels; FFmpeg's own mix is 3 dB louder and would be cut off where it exceeds 1.
        self.pieces += [out.to_ndarray().mean(axis=0) for out in self._resampler.resample(frame)]


def _start_ns(packets: Sequence[Packet], first_length_ns: int) -> int:
    """Where the first packet's sound begins, after a gap or at the very start.

    No packet has a time before its segment, but what a codec needs to begin lies there: the second one tells.
    """
    start_ns = packets[0].time_ns
    early_ns = start_ns + first_length_ns - packets[1].time_ns if len(packets) > 1 else 0
    return start_ns - min(early_ns, first_length_ns) if early_ns > HELD_GAP_NS else start_ns


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
