"""Segments in, clips out: pictures and sound of every camera on one clock.

Time is cut into steps. A step's pictures and sound are those up to its time, so a step is given out
as soon as both senses have reached it; sound that comes late holds a step back for at most `HOLD_NS`.
"""

from __future__ import annotations

import io
import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple

import av
import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from typing_extensions import override

from operators.base import Operator, Rejected, Settings
from operators.clock import NS_PER_S, Clock, seconds_to_ns
from operators.decode.audio import AudioDecoder, SoundBuffer, level_dbfs
from operators.decode.look import Looker
from operators.decode.packets import end_of_pictures_ns, packets_of
from operators.decode.video import MAX_PICTURE_AGE_NS, Counts, Packet, PictureSampler, VideoDecoder
from operators.errors import MediaError
from operators.models.bundle import Sampling
from operators.records import Clip, Health, Segment

log = logging.getLogger(__name__)

HOLD_NS = NS_PER_S  # how long a step waits for the slower sense
HELD_SOUND_NS = 32 * NS_PER_S  # sound kept beyond one window: as long as the longest segment
MAX_STEPS = 64  # per segment; a longer one is damaged or hostile
MAX_RECALLED = 64  # segments replayed after a restart, at most


class DecodeSettings(Settings, frozen=True, kw_only=True):
    """How a live camera that we cannot keep up with is thinned out; files are never thinned."""

    halve_after_s: Annotated[float, Meta(gt=0, le=600, description=(
        "show the model every second step of a live camera whose segments wait longer than this"))] = 3.0
    skip_after_s: Annotated[float, Meta(gt=0, le=3600, description=(
        "decode only the sound of live segments that have waited longer than this"))] = 10.0
    drop_after_s: Annotated[float, Meta(gt=0, le=36_000, description=(
        "decode nothing at all of live segments that have waited longer than this"))] = 30.0


class _Progress(msgspec.Struct, frozen=True):
    """What a restart must know of a camera."""

    session: str
    next_step_ns: int
    heard_ns: int | None = None  # where the sound ended after the first of the recalled segments


class _Past(NamedTuple):
    """What a restart may have to know of a processed segment."""

    end_ns: int
    heard_ns: int | None  # where the sound ended after it
    begins: bool  # needs nothing of the segments before it to show its pictures


@dataclass
class _CameraState:
    """One session of one camera."""

    session: str
    next_step_ns: int
    pictures: PictureSampler
    sound: SoundBuffer
    audio: AudioDecoder
    video: VideoDecoder = field(default_factory=VideoDecoder)
    looker: Looker = field(default_factory=Looker)
    sequence: int = -1  # of the newest segment
    past: deque[_Past] = field(default_factory=lambda: deque(maxlen=MAX_RECALLED))


class Decoder(Operator[Segment, Clip]):
    """Decodes each segment with the state of the one before it, one camera apart from the other."""

    def __init__(self, settings: DecodeSettings, sampling: Sampling, clock: Clock) -> None:
        """Decode to what `sampling`, a property of the model bundle, asks for."""
        self._settings, self._sampling, self._clock = settings, sampling, clock
        self._sound_ns = round(sampling.samples / sampling.sample_rate_hz * NS_PER_S)
        self._pictures_ns = (sampling.pictures - 1) * sampling.spacing_ns
        self._cameras: dict[str, _CameraState] = {}
        self._progress: dict[str, _Progress] = {}
        self._changed: set[str] = set()
        self._replaying = False

    @override
    def process(self, batch: Sequence[Segment]) -> Iterator[Clip | Rejected[Segment]]:
        for segment in batch:
            state = self._state(segment)
            self._changed.add(segment.camera)
            begins = not segment.continues and (segment.video is not None or not state.video.ready)
            if segment.sequence != state.sequence + 1:  # one between is a dead letter or was lost
                state.video.reset()
            try:
                yield self._decode(state, segment)
            except MediaError as error:
                state.video.reset()
                yield Rejected(segment, error)
            finally:
                state.sequence = segment.sequence
                state.past.append(_Past(segment.end_ns, state.audio.next_ns, begins))

    @override
    def snapshot(self) -> Mapping[str, bytes]:
        changed = {camera: msgspec.msgpack.encode(_Progress(state.session, state.next_step_ns,
                                                            state.past[-self.recall(camera)].heard_ns))
                   for camera in self._changed if (state := self._cameras.get(camera))}
        self._changed.clear()
        return changed

    @override
    def restore(self, state: Mapping[str, bytes]) -> None:
        self._cameras.clear()
        self._changed.clear()
        self._progress = {camera: msgspec.msgpack.decode(value, type=_Progress) for camera, value in state.items()}

    @override
    def recall(self, camera: str) -> int:
        """As many segments as the model's memory of pictures and sound spans, and back to a keyframe from there."""
        state = self._cameras.get(camera)
        if state is None:
            return 0
        since_ns = state.next_step_ns - max(self._sound_ns, self._pictures_ns + MAX_PICTURE_AGE_NS)
        newest_first = tuple(reversed(state.past))
        wanted = sum(past.end_ns > since_ns for past in newest_first) + 2  # one warms up the sound, one more places it
        while wanted < len(newest_first) and not newest_first[wanted - 1].begins:
            wanted += 1
        return min(wanted, len(newest_first))

    @override
    def replay(self, batch: Sequence[Segment]) -> None:
        progress, self._progress = self._progress, {}
        self._replaying = True
        for segment in batch:
            first = segment.camera not in self._cameras
            for item in self.process([segment]):
                if isinstance(item, Rejected):
                    log.debug("segment %s of camera %s was rejected before", segment.sequence, segment.camera)
            if first and (known := progress.get(segment.camera)):
                self._cameras[segment.camera].audio.next_ns = known.heard_ns
        self._replaying = False
        for camera, known in progress.items():
            state = self._cameras.get(camera)
            if state is None or state.session != known.session:
                self._progress[camera] = known
            else:
                state.next_step_ns = known.next_step_ns
        self._changed.clear()

    def _state(self, segment: Segment) -> _CameraState:
        state = self._cameras.get(segment.camera)
        if state is None or state.session != segment.session:
            sampling = self._sampling
            origin_ns = 0 if segment.media_start_ns is None else segment.start_ns - segment.media_start_ns
            step = (segment.start_ns - origin_ns) // sampling.step_ns + 1
            known = self._progress.pop(segment.camera, None)
            resumed = known is not None and known.session == segment.session
            state = self._cameras[segment.camera] = _CameraState(
                session=segment.session,
                next_step_ns=known.next_step_ns if known and resumed else origin_ns + step * sampling.step_ns,
                pictures=PictureSampler(origin_ns=origin_ns, spacing_ns=sampling.spacing_ns,
                                        height_px=sampling.height_px, width_px=sampling.width_px),
                sound=SoundBuffer(sample_rate_hz=sampling.sample_rate_hz,
                                  seconds=(self._sound_ns + HELD_SOUND_NS) / NS_PER_S),
                audio=AudioDecoder(sampling.sample_rate_hz))
        return state

    def _decode(self, state: _CameraState, segment: Segment) -> Clip:
        counts = Counts()
        samples: NDArray[np.float32] | None = None
        skew_ns: int | None = None
        dropped = self._late(segment, self._settings.drop_after_s)
        if segment.media:
            try:
                with av.open(io.BytesIO(segment.media), "r", format="matroska") as container:
                    video, audio = packets_of(container, segment, counts)
                    counts.received = len(video)
                    if video:
                        self._see(state, segment, container.streams.video[0].codec_context, video, counts)
                    if audio and not dropped:
                        samples = self._hear(state, container.streams.audio[0].codec_context, audio, counts)
                    if video and samples is not None and state.audio.next_ns is not None:
                        skew_ns = state.audio.next_ns - end_of_pictures_ns(video, segment)
            except (av.FFmpegError, ValueError) as error:
                message = (f"camera {segment.camera}: segment {segment.sequence} of session {segment.session} "
                           f"cannot be read: {error}")
                raise MediaError(message) from error
        return self._clip(state, segment, counts, samples, skew_ns, dropped=dropped)

    def _see(self, state: _CameraState, segment: Segment, template: av.VideoCodecContext,
             packets: Sequence[Packet], counts: Counts) -> None:
        if self._late(segment, min(self._settings.skip_after_s, self._settings.drop_after_s)):
            state.video.reset()
            return counts.shed_all("overload", len(packets))
        if segment.continues and not state.video.ready:
            return counts.shed_all("no_keyframe", len(packets))
        frames = state.video.decode(template, packets, counts, continues=segment.continues,
                                    drain=segment.final or not segment.continued)
        for time_ns, frame in frames:
            state.pictures.see(time_ns, frame)
            if look := state.looker.see(time_ns, frame):
                counts.looks.append(look)
        return None

    @staticmethod
    def _hear(state: _CameraState, template: av.AudioCodecContext, packets: Sequence[Packet],
              counts: Counts) -> NDArray[np.float32]:
        time_ns, samples = state.audio.decode(template, packets, counts)
        state.sound.write(time_ns, samples)
        return samples

    def _clip(self, state: _CameraState, segment: Segment, counts: Counts,
              samples: NDArray[np.float32] | None, skew_ns: int | None, *, dropped: bool) -> Clip:
        sampling = self._sampling
        steps = list(self._due_steps(state, segment, dropped=dropped))
        unseen = "overload" in counts.shed
        halve = not counts.shed and self._late(segment, self._settings.halve_after_s)
        shape = (len(steps), sampling.pictures, sampling.height_px, sampling.width_px, 3)
        frames, frames_valid = np.zeros(shape, np.uint8), np.zeros(len(steps), np.bool_)
        sounds, sounds_valid = np.zeros((len(steps), sampling.samples), np.float32), np.zeros(len(steps), np.bool_)
        for i, step_ns in enumerate(steps):
            halved = halve and (step_ns // sampling.step_ns) % 2 == 1
            if not (halved or unseen) and (pictures := self._pictures_at(state, step_ns)):
                frames[i], frames_valid[i] = np.stack(pictures), True
            if not dropped and (window := state.sound.window(step_ns, sampling.samples)) is not None:
                sounds[i], sounds_valid[i] = window, True
            if halved:
                counts.shed_all("sampling", counts.received // len(steps))
        health = Health(frames=counts.received, sampled=int(frames_valid.sum()) * sampling.pictures,
                        decode_errors=counts.errors, shed=counts.shed,
                        level_dbfs=None if samples is None else level_dbfs(samples),
                        skew_ns=skew_ns, skipped="overload" if dropped else "", looks=tuple(counts.looks),
                        late_ns=(segment.queued_ns or segment.received_ns) - segment.end_ns if segment.live else None,
                        ahead_ns=segment.ahead_ns, sound_late_ns=segment.sound_late_ns, stopped=segment.stopped)
        state.pictures.forget_before(state.next_step_ns - self._pictures_ns)
        return Clip(camera=segment.camera, session=segment.session, sequence=segment.sequence,
                    start_ns=segment.start_ns, duration_ns=segment.duration_ns,
                    media_start_ns=segment.media_start_ns, received_ns=segment.received_ns, final=segment.final,
                    step_ns=np.array(steps, np.int64), frames=frames, frames_valid=frames_valid,
                    samples=sounds, samples_valid=sounds_valid, health=health)

    def _due_steps(self, state: _CameraState, segment: Segment, *, dropped: bool) -> Iterator[int]:
        """The times of the steps that nothing still to come can change, a picture at the very time included."""
        reached_ns = segment.end_ns
        if segment.final:
            reached_ns += self._sampling.step_ns  # a last step for what began after the last full one
        else:
            senses = [state.pictures.newest_ns if segment.video and segment.continued else None,
                      state.sound.end_ns if segment.audio and not dropped else None]
            waiting = [max(at_ns, segment.end_ns - HOLD_NS) for at_ns in senses if at_ns is not None]
            reached_ns = min([reached_ns, *waiting])
        too_many = -((state.next_step_ns - reached_ns) // self._sampling.step_ns) - MAX_STEPS
        state.next_step_ns += max(0, too_many) * self._sampling.step_ns
        while state.next_step_ns < reached_ns:
            yield state.next_step_ns
            state.next_step_ns += self._sampling.step_ns

    def _pictures_at(self, state: _CameraState, step_ns: int) -> list[NDArray[np.uint8]]:
        """The pictures up to `step_ns`, oldest first; empty if there is none at the step itself."""
        sampling = self._sampling
        newest = state.pictures.at(step_ns)
        pictures: list[NDArray[np.uint8]] = [] if newest is None else [newest]
        for back in range(1, sampling.pictures if pictures else 1):
            at_ns = step_ns - back * sampling.spacing_ns
            earlier = state.pictures.at(at_ns)
            earlier = state.pictures.before_first(at_ns) if earlier is None else earlier
            pictures.append(pictures[-1] if earlier is None else earlier)
        return pictures[::-1]

    def _late(self, segment: Segment, after_s: float) -> bool:
        """Whether the segment has waited too long, which is how far we are behind the newest ones.

        Time in the log counts, and not what went before: a segment that came late into the log, as after an
        outage, is no sign of overload. What is seen again after a restart never has waited.
        """
        waited_ns = self._clock.now_ns() - (segment.queued_ns or segment.received_ns)
        return segment.live and not self._replaying and waited_ns > seconds_to_ns(after_s)
