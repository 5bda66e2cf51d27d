"""What the fuser remembers of one session of one camera, and how it is kept over a restart."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from operators.fuse.hysteresis import Tracker
from operators.fuse.window import Window, WindowShape
from operators.records import Embedding


@dataclass
class CameraState:
    """One session: its window, and where each label stands."""

    session: str
    media_offset_ns: int | None  # media time = time - this; None for live cameras
    start_ns: int  # where the session began, as far as is known
    window: Window
    trackers: list[Tracker]
    end_ns: int = 0  # of the newest record
    received_ns: int = 0  # wall clock when the newest record's media arrived
    quiet_since_ns: int | None = None  # wall clock; None: something has just come, or may be waiting
    replaces: CameraState | None = None  # the session before, whose events are still to be closed

    @property
    def live(self) -> bool:
        """Whether the camera goes on without waiting for us."""
        return self.media_offset_ns is None

    @classmethod
    def begin(cls, embedding: Embedding, shape: WindowShape, labels: int) -> CameraState:
        """The state at a session's first record."""
        offset_ns = None if embedding.media_start_ns is None else embedding.start_ns - embedding.media_start_ns
        return cls(embedding.session, offset_ns, embedding.start_ns, Window(shape), [Tracker() for _ in range(labels)])

    def media_ns(self, time_ns: int | None) -> int | None:
        """Position in the file; None for live cameras."""
        return None if self.media_offset_ns is None or time_ns is None else time_ns - self.media_offset_ns

    def to_bytes(self) -> bytes:
        """For a snapshot."""
        return msgspec.msgpack.encode(_Snapshot(
            self.session, self.media_offset_ns, self.start_ns, self.end_ns, self.received_ns,
            self.window.newest_ns, self.window.to_bytes(), self.trackers))

    @classmethod
    def from_bytes(cls, data: bytes, shape: WindowShape, labels: int) -> CameraState:
        """From a snapshot; what a bundle of another shape left behind begins anew."""
        known = msgspec.msgpack.decode(data, type=_Snapshot)
        fits = len(known.trackers) == labels
        return cls(known.session, known.media_offset_ns, known.start_ns,
                   Window.from_bytes(shape, known.window, known.newest_ns),
                   known.trackers if fits else [Tracker() for _ in range(labels)], known.end_ns, known.received_ns)


class _Snapshot(msgspec.Struct, frozen=True):
    session: str
    media_offset_ns: int | None
    start_ns: int
    end_ns: int
    received_ns: int
    newest_ns: int | None
    window: bytes
    trackers: list[Tracker]
