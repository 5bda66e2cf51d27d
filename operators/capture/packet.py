"""What the reader hands to the segmenter: tracks and packets as plain values, free of any container."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from operators.records import AudioTrack, VideoTrack

Kind = Literal["video", "audio"]


@dataclass(frozen=True, slots=True)
class Track:
    """How one picture or sound stream is coded. A change of any field begins a new segment."""

    kind: Kind
    description: VideoTrack | AudioTrack
    extradata: bytes  # the decoder's configuration, as the muxer wants it
    template: bytes  # a NUT file holding this one track: what PyAV needs to make an output stream like it

    @property
    def codec(self) -> str:
        """FFmpeg's name of the codec."""
        return self.description.codec


@dataclass(frozen=True, slots=True)
class Packet:
    """One coded picture or piece of sound, with times in nanoseconds on the source's own scale."""

    track: Track
    data: bytes
    pts_ns: int | None
    dts_ns: int | None
    duration_ns: int  # 0: not known
    keyframe: bool
    received_ns: int  # wall clock of its arrival; 0 in files
    captured_ns: int | None = None  # wall clock of the camera at this packet, by RTCP sender reports
