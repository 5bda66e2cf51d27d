"""A piece as a Matroska file in memory. Packets go in as they are: nothing is decoded or encoded."""

from __future__ import annotations

import io
from collections import Counter
from contextlib import suppress
from fractions import Fraction

import av
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from operators.capture.packet import Kind, PlacedPacket, Track
from operators.capture.segmenter import Piece
from operators.errors import SourceError
from operators.records import AudioTrack, VideoTrack

NANOSECONDS = Fraction(1, 1_000_000_000)
# bitexact: no random ids and no dates, so the same packets always give the same bytes.
OPTIONS = {"fflags": "+bitexact", "avoid_negative_ts": "disabled"}


class Remuxer:
    """Writes pieces; keeps the templates of the newest one's tracks open until closed. Used by one thread.

    Args:
        dropped: counts packets that are left out, by reason.
    """

    def __init__(self, dropped: Counter[str]) -> None:
        self._dropped = dropped
        self._templates: dict[bytes, InputContainer] = {}

    def matroska(self, piece: Piece) -> bytes:
        """The piece as a file whose time 0 is the piece's start; Matroska rounds to the millisecond.

        Raises:
            SourceError: Matroska cannot hold any of it.
        """
        file, written = io.BytesIO(), 0
        self._forget_others(piece)
        try:
            with av.open(file, "w", format="matroska", options=OPTIONS) as output:
                streams = self._add_streams(output, piece)
                for placed, dts_ns in zip(piece.packets, _decode_times(piece), strict=True):
                    written += _mux(output, streams.get(placed.kind), placed, piece.start_ns, dts_ns)
        except av.FFmpegError as error:
            message = f"cannot be written as Matroska: {error.strerror}"
            raise SourceError(message) from None
        if not written:
            message = "its packets do not fit into Matroska"
            raise SourceError(message)
        if written < len(piece.packets):
            self._dropped["malformed"] += len(piece.packets) - written
        return file.getvalue()

    def close(self) -> None:
        """Forget the templates."""
        for container in self._templates.values():
            container.close()
        self._templates.clear()

    def _forget_others(self, piece: Piece) -> None:
        for unused in self._templates.keys() - {track.template for track in piece.tracks.values()}:
            self._templates.pop(unused).close()

    def _add_streams(self, output: OutputContainer, piece: Piece) -> dict[Kind, Stream]:
        """The output's streams; a track with damaged parameters gets none."""
        streams: dict[Kind, Stream] = {}
        for kind, track in sorted(piece.tracks.items()):
            with suppress(av.FFmpegError):
                streams[kind] = _add(output, self._template(track))
        return streams

    def _template(self, track: Track) -> Stream:
        template = self._templates.get(track.template)
        if template is None:
            template = self._templates[track.template] = av.open(io.BytesIO(track.template), "r", format="nut")
        return template.streams[0]


def _add(output: OutputContainer, template: Stream) -> Stream:
    try:
        return output.add_stream_from_template(template, opaque=True)
    except ValueError:
        # PyAV knows only the codecs Matroska has names for; the muxer takes those of WAV files too,
        # G.711 among them. A filter that does nothing carries their parameters over.
        stream = output.add_mux_stream("mjpeg" if template.type == "video" else "pcm_s16le")
        BitStreamFilterContext("null", template, stream)
        return stream


def _mux(output: OutputContainer, stream: Stream | None, placed: PlacedPacket, start_ns: int, dts_ns: int) -> bool:
    """Write a packet; False if it does not fit."""
    if stream is None:
        return False
    packet = av.Packet(placed.packet.data)
    packet.stream = stream
    packet.time_base = NANOSECONDS
    packet.pts, packet.dts = max(placed.pts_ns - start_ns, 0), dts_ns
    packet.duration = placed.duration_ns
    packet.is_keyframe = placed.packet.keyframe
    try:
        output.mux_one(packet)
    except av.FFmpegError:
        return False
    return True


def make_template(stream: Stream, extradata: bytes, description: VideoTrack | AudioTrack) -> bytes:
    """A track's parameters as a tiny file: the only way PyAV takes them without the container they are of."""
    file = io.BytesIO()
    with av.open(file, "w", format="nut", options={"fflags": "+bitexact"}) as output:
        copy = output.add_stream_from_template(stream, opaque=True)
        copy.codec_context.extradata = extradata or None
        if isinstance(copy, VideoStream) and isinstance(description, VideoTrack):
            copy.codec_context.width, copy.codec_context.height = description.width, description.height
        elif isinstance(copy, AudioStream) and isinstance(description, AudioTrack):
            copy.codec_context.sample_rate = description.sample_rate_hz
        packet = av.Packet(b"\0")
        packet.stream = copy
        packet.pts = packet.dts = 0
        packet.time_base = Fraction(1, 1000)
        output.mux_one(packet)
    return file.getvalue()


def _decode_times(piece: Piece) -> list[int]:
    """Decoding times that fit the presentation times: never falling, never after them.

    The muxer insists on some although Matroska does not keep them.
    """
    times: list[int] = []
    earliest: dict[Kind, int] = {}
    for placed in reversed(piece.packets):
        earliest[placed.kind] = min(earliest.get(placed.kind, placed.pts_ns), placed.pts_ns)
        times.append(max(earliest[placed.kind] - piece.start_ns, 0))
    return times[::-1]
