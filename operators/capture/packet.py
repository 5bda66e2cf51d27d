"""What the reader hands on: tracks and packets as plain values, free of the container they came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from operators.records import AudioTrack, VideoTrack

Kind = Literal["video", "audio"]


@dataclass(frozen=True, slots=True)
class Track:
    """How one stream of pictures or sound is coded. A change of it begins a new segment."""

    kind: Kind
    description: VideoTrack | AudioTrack
    extradata: bytes  # the decoder's configuration, as the container gave it
    template: bytes  # a NUT file of this one track: what PyAV needs to make an output stream like it


@dataclass(frozen=True, slots=True)
class Packet:
    """One coded picture or piece of sound; `pts_ns` and `dts_ns` count on the source's own scale."""

    track: Track
    data: bytes
    pts_ns: int | None
    dts_ns: int | None
    duration_ns: int  # 0: not known
    keyframe: bool
    received_ns: int = 0  # wall clock of its arrival; 0 in files
    captured_ns: int | None = None  # wall clock of the camera at this packet, from RTCP sender reports


@dataclass(frozen=True, slots=True)
class PlacedPacket:
    """A packet on the session's time line, where times are known and only go forward."""

    packet: Packet
    pts_ns: int
    duration_ns: int
    leads: bool  # pictures shown before this one may come after it

    @property
    def kind(self) -> Kind:
        """What the packet is of."""
        return self.packet.track.kind

    @property
    def end_ns(self) -> int:
        """When what it holds is over."""
        return self.pts_ns + self.duration_ns
