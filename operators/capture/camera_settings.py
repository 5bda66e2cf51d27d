"""What the user may set of a camera."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from operators.base import Settings


class CameraSettings(Settings, frozen=True, kw_only=True):
    """One camera: where it is, how it is reached, how its stream is cut."""

    source: Annotated[str, Meta(description="file, rtsp(s)://, http(s)://, v4l2:/dev/videoN, or NAME=SOURCE")]
    rtsp_transport: Annotated[Literal["tcp", "udp"], Meta(description="how RTP travels")] = "tcp"
    open_timeout_s: Annotated[float, Meta(ge=0.1, le=300.0, description="until a source has opened")] = 10.0
    read_timeout_s: Annotated[float, Meta(ge=0.1, le=300.0, description="from one packet to the next")] = 10.0
    backoff_min_s: Annotated[float, Meta(ge=0.01, le=60.0, description="pause before the first reconnect")] = 0.5
    backoff_max_s: Annotated[float, Meta(ge=0.01, le=3600.0, description="it doubles with each failure up to")] = 5.0
    segment_s: Annotated[float, Meta(ge=0.1, le=10.0, description="wanted length of a segment")] = 1.0
    max_segment_s: Annotated[float, Meta(ge=0.1, le=30.0, description="cut here although no keyframe came")] = 4.0
    max_leap_s: Annotated[float, Meta(ge=1.0, le=3600.0, description="a larger gap of timestamps is a jump")] = 10.0
