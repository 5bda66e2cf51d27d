"""The door to FFmpeg's demuxers: opens a source and gives its packets as plain values."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import av
from av.container import InputContainer
from av.stream import Stream

from operators.capture.camera_settings import CameraSettings
from operators.capture.packet import Kind, Packet
from operators.capture.source import Source, SourceKind
from operators.capture.tracks import WatchedStream, choose, codec_of
from operators.clock import Clock, seconds_to_ns, ticks_to_ns
from operators.errors import SourceError, UnsupportedSource

UNTIMED_FORMATS = frozenset({"mpjpeg", "mjpeg", "jpeg_pipe", "h264", "hevc"})  # FFmpeg only counts their pictures
LATER_S = 1.0  # FFmpeg's own timeouts come after the watchdog's, which tells them apart from other errors
NS_PER_US = 1000
# Without these FFmpeg counts pictures for seconds before it gives the first, and waits longer for tracks that
# are announced and never come. What it has not learnt by then is read from the first keyframe.
LOW_LATENCY = {"fpsprobesize": "0", "analyzeduration": "3000000"}


@dataclass(frozen=True)
class Header:
    """What is known of a source once it is open."""

    kinds: frozenset[Kind]  # of the tracks that are read
    unsupported: tuple[str, ...]  # codecs of pictures or sound that are left out
    ends: bool  # a recording, not a camera
    zero_ns: int | None  # a recording's time that players show as 0
    created_ns: int | None  # wall clock at which the container says it was made


class Reader:
    """One open source. Every call may block until FFmpeg's timeouts, and longer where they do not reach.

    Opened, read and closed by one thread.

    Raises:
        SourceError: it cannot be opened.
        UnsupportedSource: there is no supported picture or sound in it.
    """

    def __init__(self, source: Source, settings: CameraSettings, clock: Clock) -> None:
        self._source, self._clock = source, clock
        self._container = _open(source, settings)
        try:
            self._by_arrival = source.live and self._container.format.name in UNTIMED_FORMATS
            self._streams, unsupported = _choose(self._container)
            self.header = self._describe(unsupported)
        except BaseException:
            self._container.close()
            raise

    def packets(self) -> Iterator[Packet]:
        """Packets in the container's order until its end.

        Raises:
            SourceError: reading failed.
        """
        try:
            for packet in self._container.demux(*(watched.stream for watched in self._streams.values())):
                if packet.size:
                    yield self._convert(packet)
        except (av.FFmpegError, OSError) as error:
            message = f"cannot be read: {error.strerror}"
            raise SourceError(message) from None

    def close(self) -> None:
        """Close the connection or file."""
        self._container.close()

    def _describe(self, unsupported: tuple[str, ...]) -> Header:
        start_us, metadata = self._container.start_time, self._container.metadata
        recorded = bool(self._container.duration) and not self._by_arrival  # RTSP servers claim an end without one
        ends = not self._source.live or (self._source.kind == "http" and recorded)
        return Header(
            kinds=frozenset(watched.track.kind for watched in self._streams.values()),
            unsupported=unsupported,
            ends=ends,
            zero_ns=start_us * NS_PER_US if ends and start_us is not None else None,
            created_ns=_created_ns(metadata.get("creation_time", "")),
        )

    def _convert(self, packet: av.Packet[Stream]) -> Packet:
        data, watched = bytes(packet), self._streams[packet.stream_index]
        keyframe = watched.begin(packet, data)
        base = packet.time_base
        pts_ns = None if packet.pts is None else ticks_to_ns(packet.pts, base)
        dts_ns = None if packet.dts is None else ticks_to_ns(packet.dts, base)
        if self._by_arrival:
            pts_ns = dts_ns = self._clock.monotonic_ns()
        return Packet(
            track=watched.track,
            data=data,
            pts_ns=pts_ns,
            dts_ns=dts_ns,
            duration_ns=0 if self._by_arrival else ticks_to_ns(packet.duration or 0, base),
            keyframe=keyframe,
            received_ns=self._clock.now_ns() if self._source.live else 0,
            captured_ns=_captured_ns(packet) if self._source.live else None,
        )


def _choose(container: InputContainer) -> tuple[dict[int, WatchedStream], tuple[str, ...]]:
    """The streams to read by their index, and the codecs that are left out."""
    video, no_video = choose(container.streams, "video")
    audio, no_audio = choose(container.streams, "audio")
    chosen = [stream for stream in (video, audio) if stream is not None]
    if not chosen:
        found = sorted({codec_of(stream) for stream in container.streams})
        message = f"no supported picture or sound in it, only {', '.join(found) or 'nothing'}"
        raise UnsupportedSource(message)
    return {stream.index: WatchedStream(stream) for stream in chosen}, (*no_video, *no_audio)


def _created_ns(text: str) -> int | None:
    try:
        created = datetime.fromisoformat(text)
        return None if created.tzinfo is None else seconds_to_ns(created.timestamp())
    except (ValueError, OverflowError):
        return None


def _captured_ns(packet: av.Packet[Stream]) -> int | None:
    """The camera's wall clock at the packet: AVProducerReferenceTime, microseconds and then flags."""
    reference = bytes(packet.get_sidedata("prft"))
    return struct.unpack_from("=q", reference)[0] * NS_PER_US if reference else None


def _open(source: Source, settings: CameraSettings) -> InputContainer:
    silence_us = str(round((settings.read_timeout_s + LATER_S) * 1e6))
    options: dict[SourceKind, dict[str, str]] = {
        "file": {},
        "rtsp": {"rtsp_transport": settings.rtsp_transport, "allowed_media_types": "video+audio",
                 "timeout": silence_us, **LOW_LATENCY},
        "http": {"rw_timeout": silence_us, **LOW_LATENCY},
        "v4l2": {"input_format": "mjpeg", **LOW_LATENCY},
    }
    url = {"file": f"file:{source.url}", "v4l2": source.url.removeprefix("v4l2:")}.get(source.kind, source.url)
    try:
        return av.open(
            url,
            "r",
            format="v4l2" if source.kind == "v4l2" else None,
            options=options[source.kind],
            timeout=(settings.open_timeout_s + LATER_S, settings.read_timeout_s + LATER_S),
            metadata_errors="replace",
        )
    except (av.FFmpegError, OSError) as error:
        message = f"cannot be opened: {error.strerror}"
        raise SourceError(message) from None
    except ValueError as error:
        message = f"cannot be opened: {error}"
        raise SourceError(message) from None
