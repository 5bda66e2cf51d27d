from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.capture.camera_settings import CameraSettings
from operators.capture.reader import Reader
from operators.capture.session import Session
from operators.capture.session_clock import LiveClock
from operators.capture.source import parse
from operators.clock import ManualClock
from operators.records import Segment
from tests.operators.capture.stream import MS, S
from tests.operators.capture.watching import assert_whole

Media = Callable[..., Path]
WALL_NS = 1_800_000_000 * S


def live(path: Path, delays_ms: list[int]) -> list[Segment]:
    """A file as if its packets came from a camera, each with its own delay, in turn."""
    wanted, clock = CameraSettings(source=str(path)), ManualClock(WALL_NS)
    reader = Reader(parse(str(path)), wanted, clock)
    session = Session("door", "s", wanted, replace(reader.header, ends=False, zero_ns=None), LiveClock(), clock,
                      skip=0, errors=Counter(), dropped=Counter())
    segments: list[Segment] = []
    arrived_ns = 0
    for index, packet in enumerate(reader.packets()):
        delay_ns = delays_ms[index % len(delays_ms)] * MS
        arrived_ns = max(arrived_ns, (packet.pts_ns or 0) + delay_ns)  # nothing overtakes
        segments += session.push(replace(packet, received_ns=WALL_NS + arrived_ns))
    segments += session.flush()
    session.close()
    reader.close()
    return segments


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(delays_ms=st.lists(st.integers(0, 3000), min_size=1, max_size=40))
def test_whatever_the_network_does_segments_tile(media: Media, delays_ms: list[int]) -> None:
    segments = live(media("net.mkv", seconds=8, audio_codec="aac"), delays_ms)
    assert_whole(segments)
    assert len(segments) == 8
    for segment in segments:
        assert segment.media_start_ns is None
        assert segment.sequence == 0 or abs(segment.duration_ns - S) <= S // 100
        assert segment.received_ns > WALL_NS


def test_a_segment_says_how_much_later_its_sound_came_and_who_was_stopped(media: Media) -> None:
    path = media("net.mkv", seconds=8, audio_codec="aac")
    wanted, clock, session_clock = CameraSettings(source=str(path)), ManualClock(WALL_NS), LiveClock()
    reader = Reader(parse(str(path)), wanted, clock)
    session = Session("door", "s", wanted, replace(reader.header, ends=False, zero_ns=None), session_clock, clock,
                      skip=0, errors=Counter(), dropped=Counter())
    delays_ms = {"audio": 440, "video": 40}
    packets = [replace(packet, received_ns=WALL_NS + (packet.pts_ns or 0) + delays_ms[packet.track.kind] * MS,
                       captured_ns=WALL_NS + (packet.pts_ns or 0) - 60 * S) for packet in reader.packets()]
    segments: list[Segment] = []
    for packet in sorted(packets, key=lambda packet: packet.received_ns):
        segments += session.push(packet)
    segments += session.flush(stopped=True)
    session.close()
    reader.close()
    assert {segment.sound_late_ns for segment in segments} == {400 * MS}
    assert {segment.ahead_ns for segment in segments} == {-60 * S - 40 * MS}, "as the quickest of them says"
    assert [segment.stopped for segment in segments] == [False] * (len(segments) - 1) + [True]
