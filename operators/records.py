"""What travels between the stages: Segment, Clip, Embedding, Event, Alert, Suppressed.

All are frozen. Times are integer nanoseconds since the Unix epoch unless the name says otherwise
(`media_*` counts from the beginning of a file). Arrays state shape, dtype and range.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Literal, get_args

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What every record says of itself: whose it is and where in the camera's stream it stands."""

    camera: str
    session: str  # one connection of a camera, or one file; deterministic for files
    sequence: int  # counts a session's segments from 0, without gaps
    start_ns: int  # of the first packet, on the session's clock
    duration_ns: int
    media_start_ns: int | None = None  # position in the file; None for live cameras
    received_ns: int = 0  # wall clock when the last packet of the segment arrived
    final: bool = False  # the session ends with this record

    @property
    def live(self) -> bool:
        """Whether the source goes on without waiting for us."""
        return self.media_start_ns is None

    @property
    def end_ns(self) -> int:
        """Where the next record of the session starts."""
        return self.start_ns + self.duration_ns


class VideoTrack(msgspec.Struct, frozen=True):
    """The picture as the camera sends it."""

    codec: str  # FFmpeg's name: h264, hevc, mjpeg
    width: int
    height: int


class AudioTrack(msgspec.Struct, frozen=True):
    """The sound as the camera sends it."""

    codec: str  # FFmpeg's name: aac, pcm_mulaw, pcm_alaw, opus, pcm_s16le
    sample_rate_hz: int
    channels: int


class Segment(Record, frozen=True, kw_only=True):
    """About one second of compressed media, playable by itself unless it `continues`."""

    video: VideoTrack | None
    audio: AudioTrack | None
    continues: bool = False  # begins between keyframes: needs the decoder's state of the segment before
    continued: bool = False  # ends between keyframes: the next segment continues this one
    stopped: bool = False  # the session's last, because nobody wants to watch the camera any more: it is not missed
    ahead_ns: int | None = None  # the camera's own clock ahead of ours, less what packets need; None: it tells no time
    sound_late_ns: int | None = None  # how much later sound arrives than pictures of the same time; None: a file
    media: bytes = b""  # Matroska; time 0 is `start_ns`. Empty only where `final` adds nothing
    queued_ns: int = 0  # wall clock when the log took it; set on reading, 0 before


SILENT_DBFS = -100.0  # a digital silence: connected, and nothing to hear
LAYOUT = (18, 32)  # rows and columns of parts that a picture is looked at in


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What one picture a second tells of its camera, by its brightness alone; levels are those of 8 bits."""

    time_ns: int
    width_px: int
    height_px: int
    luma: float  # eight of ten parts of the picture are this dark or darker
    grain: float  # mean step from pixel to pixel, in eight of ten parts at most
    detail: float  # the steepness of edges from pixel to pixel, against the same over a fiftieth of the width
    change: float | None  # mean difference to the look before; None: there is none to compare it to
    layout: bytes  # uint8 LAYOUT: 16 * log2(1 + mean step between neighbouring areas) of each part


class Health(msgspec.Struct, frozen=True):
    """What decoding one segment told about its camera."""

    frames: int = 0  # pictures received
    sampled: int = 0  # pictures given to the model
    decode_errors: int = 0
    shed: dict[str, int] = {}  # reason -> pictures not looked at
    level_dbfs: float | None = None  # sound level, 0 is full scale; None: no sound
    skew_ns: int | None = None  # sound ahead of picture; None unless both are there
    skipped: str = ""  # why nothing of the segment was looked at or listened to; empty: something was
    looks: tuple[Look, ...] = ()  # in the order of time
    late_ns: int | None = None  # from the end of the segment until the log had it; None: a file
    ahead_ns: int | None = None  # as the segment said
    sound_late_ns: int | None = None  # as the segment said
    stopped: bool = False  # the camera is not watched any more, so that it is not missed

    @property
    def seen(self) -> bool:
        """Whether any picture was decoded."""
        return bool(self.looks) or self.sampled > 0 or self.frames > sum(self.shed.values()) + self.decode_errors

    @property
    def heard(self) -> bool:
        """Whether there was anything to hear, however quiet."""
        return self.level_dbfs is not None and self.level_dbfs > SILENT_DBFS


class Clip(Record, frozen=True, kw_only=True):
    """A decoded segment on one clock: S steps, each with pictures and sound up to its time.

    Never leaves the process that decoded it.
    """

    step_ns: NDArray[np.int64]  # (S,) time of each step
    frames: NDArray[np.uint8]  # (S, F, H, W, 3) RGB 0..255: F pictures up to each step, oldest first
    frames_valid: NDArray[np.bool_]  # (S,) False: no picture at this step
    samples: NDArray[np.float32]  # (S, N) 16 kHz mono -1..1: the sound up to each step
    samples_valid: NDArray[np.bool_]  # (S,) False: no sound at this step
    health: Health


class Embedding(Record, frozen=True, kw_only=True):
    """What the encoders made of a clip; arrays as raw little-endian bytes, read by the properties."""

    steps: int
    step_ns_raw: bytes  # int64 (S,)
    visual_raw: bytes  # float16 (S, Dv)
    visual_valid_raw: bytes  # bool (S,)
    acoustic_raw: bytes  # float16 (S, Da)
    acoustic_valid_raw: bytes  # bool (S,)
    health: Health

    @property
    def step_ns(self) -> NDArray[np.int64]:
        """(S,) time of each step."""
        return np.frombuffer(self.step_ns_raw, np.dtype("<i8"))

    @property
    def visual(self) -> NDArray[np.float16]:
        """(S, Dv) visual embedding of each step; meaningless where `visual_valid` is False."""
        return _rows(self.visual_raw, self.steps)

    @property
    def visual_valid(self) -> NDArray[np.bool_]:
        """(S,) whether the step had a picture."""
        return np.frombuffer(self.visual_valid_raw, np.bool_)

    @property
    def acoustic(self) -> NDArray[np.float16]:
        """(S, Da) acoustic embedding of each step; meaningless where `acoustic_valid` is False."""
        return _rows(self.acoustic_raw, self.steps)

    @property
    def acoustic_valid(self) -> NDArray[np.bool_]:
        """(S,) whether the step had sound."""
        return np.frombuffer(self.acoustic_valid_raw, np.bool_)


def _rows(raw: bytes, rows: int) -> NDArray[np.float16]:
    flat = np.frombuffer(raw, np.dtype("<f2"))
    return flat.reshape(rows, len(flat) // rows if rows else 0)


Probability = Annotated[float, Meta(ge=0.0, le=1.0)]


class Sentiment(msgspec.Struct, frozen=True):
    """How the people heard sound, over the event so far; the three probabilities sum to 1."""

    label: Literal["negative", "neutral", "positive"]
    negative: Probability
    neutral: Probability
    positive: Probability


class Senses(msgspec.Struct, frozen=True):
    """How much of the score came from each sense; the two sum to 1."""

    visual: Probability
    acoustic: Probability


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something seen or heard: opened, updated while it lasts, closed. One `id` through all three."""

    id: str
    kind: Literal["open", "update", "close"]
    camera: str
    session: str
    label: str
    score: Probability  # at `time_ns`
    peak_score: Probability  # highest so far
    time_ns: int  # of the step that caused this record
    start_ns: int
    end_ns: int | None  # None until closed
    media_start_ns: int | None  # position of the start in the file; None for live cameras
    media_end_ns: int | None
    sentiment: Sentiment | None  # None: nobody was heard
    senses: Senses
    received_ns: int = 0  # wall clock when the media that caused this record arrived


Severity = Literal["info", "warning", "critical"]


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """An event that a rule wants told to somebody."""

    id: str  # hash of rule and event id: the same on every retry and after every restart
    rule: str
    created_ns: int
    event: Event
    severity: Severity = "warning"
    incident: str = ""  # id of the first alert of the incident; that alert's own for itself
    escalated: bool = False  # the incident was told before, and lasts
    sinks: tuple[str, ...] = ()  # names of those to tell; none: all
    replayed: bool = False  # given out again by hand: also a receiver that was disabled is tried


class Suppressed(msgspec.Struct, frozen=True, kw_only=True):
    """A closed event that a rule did not make an alert of."""

    rule: str  # empty: no rule is about such events
    reason: str  # unmatched, grouped, cooldown, rate, or one of `rules.LACKS`
    event: Event
    incident: str = ""  # that the event was counted to, where it was grouped

    @property
    def camera(self) -> str:
        """Whose event it is."""
        return self.event.camera


Condition = Literal["no_video", "no_audio", "frozen", "black", "covered", "defocused", "moved", "clock_skew", "lagging"]
HEALTH_LABELS: Mapping[Condition, str] = {name: f"camera_{name}" for name in get_args(Condition)}  # of such events


def event_id(camera: str, session: str, label: str, start_ns: int) -> str:
    """The deterministic id of an event: the same media always gives the same id."""
    return _digest("event", camera, session, label, str(start_ns))


def alert_id(rule: str, event: str) -> str:
    """The deterministic id of the alert that `rule` makes of the event with id `event`."""
    return _digest("alert", rule, event)


def escalation_id(rule: str, incident: str) -> str:
    """The deterministic id of the alert that says that `incident` lasts."""
    return _digest("escalation", rule, incident)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]
