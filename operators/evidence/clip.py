"""Segments as one file that a browser plays. Packets go in as they are: nothing is decoded or encoded."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Literal, cast

import av
from av.audio.codeccontext import AudioCodecContext
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from operators.clock import NS_PER_S, ticks_to_ns
from operators.errors import MediaError
from operators.records import Segment

Container = Literal["mp4", "matroska"]

IN_MP4 = {"h264", "hevc", "av1", "vp9", "aac", "opus", "mp3", None}  # codecs; anything else goes into Matroska
SUFFIXES: dict[Container, str] = {"mp4": "mp4", "matroska": "mkv"}
OPTIONS: dict[Container, dict[str, str]] = {
    "mp4": {"movflags": "+faststart", "fflags": "+bitexact"},
    "matroska": {"fflags": "+bitexact"}}
NANOSECONDS = Fraction(1, NS_PER_S)
STRAY_NS = 2 * NS_PER_S  # a packet further outside of its segment is damaged
ROUNDING_NS = 2_000_000  # segments know times to the millisecond: a smaller step between two sounds is none


@dataclass(frozen=True)
class Clip:
    """A file of media, and where it stands in time."""

    path: Path
    container: Container
    start_ns: int  # where its time 0 is on the session's clock
    end_ns: int
    video: str | None  # codec
    audio: str | None


@dataclass
class _Packet:
    pts_ns: int
    duration_ns: int
    keyframe: bool
    data: bytes
    dts_ns: int = 0


@dataclass
class _Track:
    """The packets of one sense in decoding order, and the parameters they are decoded with."""

    template: Stream
    packets: list[_Packet] = field(default_factory=list)


def remux(segments: Sequence[Segment], folder: Path) -> Clip:
    """Write segments of one session, in order, as one clip into `folder`.

    Of segments whose tracks change on the way only the longest run of equal ones goes in; what is damaged is
    left out.

    Raises:
        MediaError: nothing of them can be read, or no container takes it.
    """
    run = max((list(run) for _, run in groupby(segments, lambda one: (one.video, one.audio))), key=len)
    with ExitStack() as stack:
        tracks = _tracks(run, stack)
        starts = [packet.pts_ns for track in tracks for packet in track.packets]
        if not starts:
            message = f"none of {len(run)} segments can be read"
            raise MediaError(message)
        codecs = [track.codec if track else None for track in (run[0].video, run[0].audio)]
        container: Container = "mp4" if IN_MP4.issuperset(codecs) else "matroska"
        path = folder / f"clip.{SUFFIXES[container]}"
        try:
            _write(path, container, tracks, min(starts))
        except (av.FFmpegError, ValueError) as error:
            message = f"cannot be written as {container}: {error}"
            raise MediaError(message) from error
    return Clip(path, container, min(starts), run[-1].end_ns, *codecs)


def _tracks(segments: Sequence[Segment], stack: ExitStack) -> list[_Track]:
    """The first picture and the first sound track; `stack` closes their templates."""
    tracks: dict[str, _Track] = {}
    for segment in segments:
        try:
            container = stack.enter_context(av.open(io.BytesIO(segment.media), "r", format="matroska"))
            for stream in _chosen(container):
                if stream.type not in tracks:
                    tracks[stream.type] = _Track(stream)
            found = list(_packets(container, segment))
        except (av.FFmpegError, ValueError):
            continue
        for kind, packet in found:
            tracks[kind].packets.append(packet)
    for kind, track in tracks.items():
        _SET_RIGHT[kind](track)
    return [track for track in tracks.values() if track.packets]


def _chosen(container: InputContainer) -> list[Stream]:
    return [streams[0] for streams in (container.streams.video, container.streams.audio) if streams]


def _packets(container: InputContainer, segment: Segment) -> Iterator[tuple[str, _Packet]]:
    for packet in container.demux(*_chosen(container)):
        if packet.size and packet.pts is not None:
            time_ns = segment.start_ns + ticks_to_ns(packet.pts, packet.time_base)
            if segment.start_ns - STRAY_NS <= time_ns <= segment.end_ns + STRAY_NS:
                yield packet.stream.type, _Packet(
                    time_ns, ticks_to_ns(packet.duration or 0, packet.time_base), packet.is_keyframe, bytes(packet))


def _begin_at_keyframe(track: _Track) -> None:
    """Leave out what no player can show: pictures before the first keyframe, or shown before it."""
    for place, packet in enumerate(track.packets):
        if packet.keyframe:
            track.packets = [one for one in track.packets[place:] if one.pts_ns >= packet.pts_ns]
            return


def _time(track: _Track) -> None:
    """Decoding times of pictures, which Matroska does not keep: the presentation times in order, and no later ones.

    MP4 wants them to rise. They go back by as many pictures as the reordering of the camera's encoder needs.
    """
    _begin_at_keyframe(track)
    shown = sorted(packet.pts_ns for packet in track.packets)
    places = {pts_ns: place for place, pts_ns in reversed(list(enumerate(shown)))}
    back = max((place - places[packet.pts_ns] for place, packet in enumerate(track.packets)), default=0)
    spacing_ns = (shown[-1] - shown[0]) // max(1, len(shown) - 1) if shown else 0
    for place, packet in enumerate(track.packets):
        packet.dts_ns = shown[place - back] if place >= back else shown[0] - (back - place) * spacing_ns


def _close_up(track: _Track) -> None:
    """Sound goes on where the packet before ended, as far as rounding alone would part them."""
    codec = cast(AudioCodecContext, track.template.codec_context)
    exact_ns = Fraction((codec.frame_size or 0) * NS_PER_S, codec.sample_rate or 1)
    end_ns: Fraction | None = None
    for packet in track.packets:
        if exact_ns and end_ns is not None and abs(end_ns - packet.pts_ns) < ROUNDING_NS:
            packet.pts_ns = round(end_ns)
        else:
            end_ns = Fraction(packet.pts_ns)
        end_ns += exact_ns
        packet.dts_ns = packet.pts_ns


_SET_RIGHT: dict[str, Callable[[_Track], None]] = {"video": _time, "audio": _close_up}


def _write(path: Path, container: Container, tracks: Sequence[_Track], start_ns: int) -> None:
    with av.open(path, "w", format=container, options=OPTIONS[container]) as output:
        streams = [_add(output, track.template) for track in tracks]
        due = [(packet.dts_ns, stream, packet) for stream, track in zip(streams, tracks, strict=True)
               for packet in track.packets]
        for _, stream, packet in sorted(due, key=lambda item: item[0]):
            copy = av.Packet(packet.data)
            copy.stream, copy.time_base = stream, NANOSECONDS
            copy.pts, copy.dts = packet.pts_ns - start_ns, packet.dts_ns - start_ns
            copy.duration, copy.is_keyframe = packet.duration_ns, packet.keyframe
            output.mux_one(copy)


def _add(output: OutputContainer, template: Stream) -> Stream:
    try:
        stream = output.add_stream_from_template(template, opaque=True)
        if template.codec_context.name == "hevc" and output.format.name == "mp4":
            stream.codec_context.codec_tag = "hvc1"  # the one that Apple's players take
        return stream
    except ValueError:  # a codec PyAV takes for none of this container's, such as G.711; a filter carries it over
        stream = output.add_mux_stream("mjpeg" if template.type == "video" else "pcm_s16le")
        BitStreamFilterContext("null", template, stream)
        return stream
