"""The door to FFmpeg's demuxers: opens a source and gives its packets as plain values."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream
from msgspec import Meta

from operators.base import Settings
from operators.capture.packet import Kind, Packet, Track
from operators.capture.remux import make_template
from operators.capture.source import Source, redact
from operators.clock import Clock, seconds_to_ns, ticks_to_ns
from operators.errors import SourceError, SourceTimeout, UnsupportedSource
from operators.records import AudioTrack, VideoTrack

log = logging.getLogger(__name__)

VIDEO_CODECS = frozenset({"h264", "hevc", "mjpeg", "mpeg4", "vp8", "vp9", "av1"})
AUDIO_CODECS = frozenset({"aac", "pcm_mulaw", "pcm_alaw", "opus", "mp3", "pcm_s16le", "pcm_s16be", "pcm_u8",
                          "pcm_s24le", "pcm_s32le", "pcm_f32le"})  # fmt: skip
PICTURES_OF_THE_ALBUM = Disposition.attached_pic | Disposition.timed_thumbnails
ARRIVAL_TIMED_FORMATS = frozenset({"mpjpeg"})  # their timestamps only count frames


class ReaderSettings(Settings, frozen=True, kw_only=True):
    """How a source is opened and how long it may stay silent."""

    rtsp_transport: Annotated[str, Meta(pattern="^(tcp|udp)$", description="how RTP travels")] = "tcp"
    open_timeout_s: Annotated[float, Meta(gt=0.0, le=300.0, description="until the first packet")] = 15.0
    read_timeout_s: Annotated[float, Meta(gt=0.0, le=300.0, description="between two packets")] = 10.0


class Reader:
    """One open source. Opening and reading block; used and closed by one thread."""

    def __init__(self, source: Source, settings: ReaderSettings, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._container = _open(source, settings)
        try:
            self._streams = self._choose()
            self._tracks = {stream.index: _describe(stream) for stream in self._streams}
        except BaseException:
            self._container.close()
            raise
        self._by_arrival = self._container.format.name in ARRIVAL_TIMED_FORMATS

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The picture and sound tracks that are read."""
        return tuple(self._tracks.values())

    @property
    def zero_ns(self) -> int | None:
        """The time on the source's scale that players show as 0."""
        start = self._container.start_time
        return None if start is None else start * 1000

    @property
    def creation_time(self) -> str | None:
        """When the container says it was made."""
        return self._container.metadata.get("creation_time")

    def packets(self) -> Iterator[Packet]:
        """Packets in the container's order until its end.

        Raises:
            SourceError: reading failed.
        """
        try:
            for packet in self._container.demux(*self._streams):
                if packet.size:
                    yield self._convert(packet)
        except (av.FFmpegError, OSError) as error:
            raise _source_error(self._source, "cannot be read", error) from None

    def close(self) -> None:
        """Close the connection or file."""
        self._container.close()

    def _choose(self) -> list[Stream]:
        video = _first_supported(self._source, self._container.streams, "video", VIDEO_CODECS)
        audio = _first_supported(self._source, self._container.streams, "audio", AUDIO_CODECS)
        chosen = [stream for stream in (video, audio) if stream is not None]
        if not chosen:
            found = sorted({_codec_name(stream) for stream in self._container.streams}) or ["nothing"]
            message = f"{self._source.safe}: no supported picture or sound in it, only {', '.join(found)}"
            raise UnsupportedSource(message)
        return chosen

    def _convert(self, packet: av.Packet[Stream]) -> Packet:
        live = self._source.live
        base = packet.time_base
        pts = None if packet.pts is None else ticks_to_ns(packet.pts, base)
        dts = None if packet.dts is None else ticks_to_ns(packet.dts, base)
        if self._by_arrival:
            pts = dts = self._clock.monotonic_ns()
        return Packet(
            track=self._tracks[packet.stream_index],
            data=bytes(packet),
            pts_ns=pts,
            dts_ns=dts,
            duration_ns=ticks_to_ns(packet.duration or 0, base),
            keyframe=packet.is_keyframe,
            received_ns=self._clock.now_ns() if live else 0,
        )


def creation_time_ns(text: str | None, now_ns: int) -> int | None:
    """A container's creation time, if it is one: after 1990 and not in the future."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    if time.tzinfo is None:
        return None
    ns = seconds_to_ns(time.timestamp())
    return ns if seconds_to_ns(631_152_000) < ns <= now_ns else None


def _open(source: Source, settings: ReaderSettings) -> InputContainer:
    timeout = (settings.open_timeout_s, settings.read_timeout_s)
    silence_us = str(round(settings.read_timeout_s * 1e6))
    url, options = {
        "file": (f"file:{source.url}", {"protocol_whitelist": "file,crypto,data"}),
        "rtsp": (source.url, {"rtsp_transport": settings.rtsp_transport, "timeout": silence_us,
                              "allowed_media_types": "video+audio"}),
        "http": (source.url, {"rw_timeout": silence_us}),
        "v4l2": (source.url.removeprefix("v4l2:"), {"input_format": "mjpeg"}),
    }[source.kind]  # fmt: skip
    try:
        return av.open(url, "r", options=options, timeout=timeout, metadata_errors="replace",
                       format="v4l2" if source.kind == "v4l2" else None)  # fmt: skip
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _source_error(source, "cannot be opened", error) from None


def _source_error(source: Source, what: str, error: Exception) -> SourceError:
    timed_out = isinstance(error, (av.ExitError, TimeoutError))
    reason = "it sent nothing in time" if timed_out else redact(str(error))
    return (SourceTimeout if timed_out else SourceError)(f"{source.safe}: {what}: {reason}")


def _first_supported(source: Source, streams: av.container.streams.StreamContainer, kind: Kind,
                     supported: frozenset[str]) -> Stream | None:  # fmt: skip
    candidates = [s for s in streams if s.type == kind and not s.disposition & PICTURES_OF_THE_ALBUM]
    for stream in candidates:
        if _codec_name(stream) in supported:
            return stream
    for stream in candidates:
        log.warning("%s: %s codec %s is not supported", source.safe, kind, _codec_name(stream))
    return None


def _codec_name(stream: Stream) -> str:
    context = stream.codec_context
    return context.codec.canonical_name if context is not None else f"{stream.type} of unknown codec"


def _describe(stream: Stream) -> Track:
    context = stream.codec_context
    codec = _codec_name(stream)
    description: VideoTrack | AudioTrack
    if isinstance(stream, VideoStream):
        description = VideoTrack(codec, stream.codec_context.width, stream.codec_context.height)
    elif isinstance(stream, AudioStream):
        description = AudioTrack(codec, stream.codec_context.sample_rate, stream.codec_context.channels)
    kind: Kind = "video" if isinstance(description, VideoTrack) else "audio"
    return Track(kind, description, context.extradata or b"", make_template(stream))
