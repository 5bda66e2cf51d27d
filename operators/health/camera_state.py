"""What is remembered of a camera's health, and how it is kept over a restart."""

from __future__ import annotations

import msgspec

from operators.health.baseline import Sound, View
from operators.health.tracker import Tracker
from operators.records import Condition, Embedding


class CameraState(msgspec.Struct):
    """One camera, over all its sessions; a file, over one."""

    session: str
    media_offset_ns: int | None  # media time = time - this; None for live cameras
    end_ns: int = 0  # of the newest record
    received_ns: int = 0  # wall clock when the newest record's media arrived
    watched: bool = True  # nobody has stopped it
    seen_ns: int | None = None  # up to when it has shown pictures; None: it never has
    sound: Sound = msgspec.field(default_factory=Sound)
    view: View = msgspec.field(default_factory=View)  # how it usually looks
    other: View = msgspec.field(default_factory=View)  # how it looks while it does not look like that
    trackers: dict[Condition, Tracker] = msgspec.field(default_factory=dict)  # those that have something to remember

    @classmethod
    def begin(cls, record: Embedding) -> CameraState:
        """The state before a camera's first record."""
        offset_ns = None if record.media_start_ns is None else record.start_ns - record.media_start_ns
        return cls(record.session, offset_ns)

    @property
    def live(self) -> bool:
        """Whether the camera goes on without waiting for us."""
        return self.media_offset_ns is None

    def media_ns(self, time_ns: int | None) -> int | None:
        """Position in the file; None for live cameras."""
        return None if self.media_offset_ns is None or time_ns is None else time_ns - self.media_offset_ns
