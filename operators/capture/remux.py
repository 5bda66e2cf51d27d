"""A piece as a Matroska file in memory. Packets go in as they are: nothing is decoded or encoded."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction

import av
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.stream import Stream

from operators.capture.packet import Track
from operators.capture.segmenter import Piece, pts

PLACEHOLDERS = {"video": "mjpeg", "audio": "pcm_s16le"}
NANOSECONDS = Fraction(1, 1_000_000_000)
# bitexact: no random ids and no dates, so the same packets always give the same bytes.
OPTIONS = {"fflags": "+bitexact", "avoid_negative_ts": "disabled"}


def make_template(stream: Stream) -> bytes:
    """One track's parameters as a tiny file: the only way PyAV takes them without the container they come from."""
    file = io.BytesIO()
    with av.open(file, "w", format="nut", options={"fflags": "+bitexact"}) as output:
        packet = av.Packet(b"\0")
        packet.stream = output.add_stream_from_template(stream, opaque=True)
        packet.pts = packet.dts = 0
        packet.time_base = Fraction(1, 1000)
        output.mux_one(packet)
    return file.getvalue()


class Remuxer:
    """Writes pieces; keeps the templates of a session's tracks open. Used by one thread."""

    def __init__(self) -> None:
        self._templates: dict[bytes, InputContainer] = {}

    def matroska(self, piece: Piece) -> bytes:
        """The piece as a file whose time 0 is the piece's start, in milliseconds as Matroska has it."""
        file = io.BytesIO()
        with av.open(file, "w", format="matroska", options=OPTIONS) as output:
            streams: dict[str, Stream] = {}
            for track in (piece.video, piece.audio):
                if track is not None:
                    streams[track.kind] = self._add(output, track)
            decode_times = _decode_times(piece)
            for packet, dts in zip(piece.packets, decode_times, strict=True):
                block = av.Packet(packet.data)
                block.stream = streams[packet.track.kind]
                block.time_base = NANOSECONDS
                block.pts = max(pts(packet) - piece.start_ns, 0)
                block.dts = dts
                block.duration = packet.duration_ns
                block.is_keyframe = packet.keyframe
                output.mux_one(block)
        return file.getvalue()

    def close(self) -> None:
        """Forget the templates."""
        for container in self._templates.values():
            container.close()
        self._templates.clear()

    def _add(self, output: av.container.OutputContainer, track: Track) -> Stream:
        template = self._templates.get(track.template)
        if template is None:
            template = self._templates[track.template] = av.open(io.BytesIO(track.template), "r", format="nut")
        source = template.streams[0]
        try:
            return output.add_stream_from_template(source, opaque=True)
        except ValueError:
            # PyAV knows only the codecs Matroska has names for; the muxer takes those of WAV files
            # too, G.711 among them. A filter that does nothing carries their parameters over.
            stream = output.add_mux_stream(PLACEHOLDERS[track.kind])
            BitStreamFilterContext("null", source, stream)
            return stream


def _decode_times(piece: Piece) -> Sequence[int]:
    """Decoding times that fit the presentation times: never falling, never after them.

    The muxer insists on some but Matroska does not store them.
    """
    times: list[int] = []
    earliest: dict[str, int] = {}
    for packet in reversed(piece.packets):
        kind = packet.track.kind
        earliest[kind] = min(earliest.get(kind, pts(packet)), pts(packet))
        times.append(max(earliest[kind] - piece.start_ns, 0))
    return times[::-1]
