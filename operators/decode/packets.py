"""A segment's packets, within bounds: what is hostile or damaged goes no further."""

from __future__ import annotations

from collections.abc import Sequence

from av.container import InputContainer

from operators.clock import NS_PER_S, ticks_to_ns
from operators.decode.video import Counts, Packet
from operators.records import Segment

STRAY_NS = 2 * NS_PER_S  # how far a packet's time may lie outside of its segment
MAX_PACKETS = 16384  # per segment; a segment with more is damaged or hostile
MAX_PACKET_BYTES = 64 * 2**20  # of all packets together, unpacked


def packets_of(container: InputContainer, segment: Segment,
               counts: Counts) -> tuple[list[Packet], list[Packet]]:
    """The packets of the first picture and the first sound track in the order they lie, with absolute times.

    Raises:
        ValueError: a track of unknown codec, or more than a segment can hold.
        av.FFmpegError: the container is damaged.
    """
    packets: dict[int, list[Packet]] = {}
    chosen = [tracks[0] for tracks in (container.streams.video, container.streams.audio) if tracks]
    if any(stream.codec_context is None for stream in chosen):
        message = "unknown codec"
        raise ValueError(message)
    total_bytes = 0
    for number, packet in enumerate(container.demux(*chosen)):
        total_bytes += packet.size
        if number > MAX_PACKETS or total_bytes > MAX_PACKET_BYTES:
            message = f"more than {MAX_PACKETS} packets or {MAX_PACKET_BYTES} bytes"
            raise ValueError(message)
        if packet.size and packet.pts is not None:
            time_ns = segment.start_ns + ticks_to_ns(packet.pts, packet.time_base)
            if segment.start_ns - STRAY_NS <= time_ns <= segment.end_ns + STRAY_NS:
                packets.setdefault(packet.stream_index, []).append(Packet(time_ns, packet))
            else:
                counts.errors += 1
    kinds = {stream.type: packets.get(stream.index, []) for stream in chosen}
    return kinds.get("video", []), kinds.get("audio", [])


def end_of_pictures_ns(video: Sequence[Packet], segment: Segment) -> int:
    """Where the pictures end, the last one taken to last as long as the others do on average."""
    return max(item.time_ns for item in video) + segment.duration_ns // len(video)
