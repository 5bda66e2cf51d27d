"""Made-up packets for the tests of pure parts."""

from __future__ import annotations

from collections.abc import Iterator

from operators.capture.packet import Packet, PlacedPacket, Track
from operators.records import AudioTrack, VideoTrack

MS = 1_000_000
S = 1_000_000_000
H264 = Track("video", VideoTrack("h264", 160, 120), b"", b"h264")
MJPEG = Track("video", VideoTrack("mjpeg", 160, 120), b"", b"mjpeg")
AAC = Track("audio", AudioTrack("aac", 16_000, 1), b"", b"aac")


def packet(track: Track, pts_ms: float | None, dts_ms: float | None = None, *, duration_ms: float = 0,
           keyframe: bool = True, size: int = 10, received_ns: int = 0) -> Packet:
    """A packet with its times in milliseconds."""
    pts_ns = None if pts_ms is None else round(pts_ms * MS)
    dts_ns = None if dts_ms is None else round(dts_ms * MS)
    return Packet(track, bytes(size), pts_ns, dts_ns, round(duration_ms * MS), keyframe, received_ns)


def placed(track: Track, pts_ms: float, *, duration_ms: float = 0, keyframe: bool = True, leads: bool = False,
           size: int = 10) -> PlacedPacket:
    """A packet on the time line, its times in milliseconds."""
    raw = packet(track, pts_ms, pts_ms, duration_ms=duration_ms, keyframe=keyframe, size=size)
    return PlacedPacket(raw, round(pts_ms * MS), raw.duration_ns, leads)


def video(seconds: float, *, fps: int = 10, gop: int = 10, start_s: float = 0.0) -> Iterator[PlacedPacket]:
    """Pictures in the order shown."""
    for index in range(round(seconds * fps)):
        time_ms = start_s * 1000 + index * 1000 / fps
        yield placed(H264, time_ms, duration_ms=1000 / fps, keyframe=index % gop == 0)


def audio(seconds: float, *, start_s: float = 0.0, step_ms: float = 64.0) -> Iterator[PlacedPacket]:
    """Sound without a gap."""
    for index in range(round(seconds * 1000 / step_ms)):
        yield placed(AAC, start_s * 1000 + index * step_ms, duration_ms=step_ms)


def interleaved(*tracks: Iterator[PlacedPacket]) -> list[PlacedPacket]:
    """Several tracks by time, as cameras send them."""
    return sorted((placed for track in tracks for placed in track), key=lambda placed: placed.pts_ns)
