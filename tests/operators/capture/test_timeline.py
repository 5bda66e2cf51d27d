from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from operators.capture.packet import Packet, PlacedPacket, Track
from operators.capture.timeline import BACK_NS, BACK_REORDERED_NS, Timeline
from tests.operators.capture.stream import AAC, H264, MS, S, packet


def place(packets: Iterable[Packet], *, zero_ns: int | None = None) -> tuple[list[PlacedPacket], Counter[str]]:
    jumps: Counter[str] = Counter()
    timeline = Timeline(10 * S, zero_ns, jumps)
    found = [placed for packet in packets for placed in timeline.place(packet)]
    return [*found, *timeline.flush()], jumps


def times_ms(placed: Iterable[PlacedPacket], kind: str = "video") -> list[float]:
    return [item.pts_ns / MS for item in placed if item.kind == kind]


def test_sane_times_stay_as_they_are() -> None:
    pts_dts = [(200, 0), (500, 100), (300, 200), (400, 300)]
    found, jumps = place(packet(H264, pts, dts, duration_ms=100) for pts, dts in pts_dts)
    assert times_ms(found) == [200, 500, 300, 400]
    assert not jumps


def test_a_jump_back_continues_where_the_track_was() -> None:
    times = [9000, 9100, 9200, 0, 100, 200]
    found, jumps = place(packet(H264, t, t, duration_ms=100) for t in times)
    assert times_ms(found) == [9000, 9100, 9200, 9300, 9400, 9500]
    assert jumps == {"jump_back": 1}


def test_a_leap_ahead_continues_where_the_track_was() -> None:
    times = [0, 100, 1_000_000, 1_000_100]
    found, jumps = place(packet(H264, t, t) for t in times)
    assert times_ms(found) == [0, 100, 200, 300]
    assert jumps == {"jump_ahead": 1}


def test_a_gap_within_the_bound_is_a_gap() -> None:
    found, jumps = place(packet(H264, t, t) for t in [0, 100, 9100])
    assert times_ms(found) == [0, 100, 9100]
    assert not jumps


def test_sound_and_picture_stay_together_over_a_jump() -> None:
    before = [packet(H264, 30_000, 30_000, duration_ms=100), packet(AAC, 30_020, 30_020, duration_ms=64)]
    # the picture jumps first, sound of before still follows
    after = [packet(H264, 500, 500, duration_ms=100), packet(AAC, 30_084, 30_084, duration_ms=64),
             packet(AAC, 510, 510, duration_ms=64), packet(H264, 600, 600, duration_ms=100)]
    found, jumps = place([*before, *after])
    assert times_ms(found) == [30_000, 30_100, 30_200]
    assert times_ms(found, "audio") == [30_020, 30_084, 30_110]  # still 10 ms after its picture
    assert jumps == {"jump_back": 1}


def test_one_damaged_time_costs_nothing() -> None:
    times = [0, 100, 95_000_000, 300, 400]
    found, jumps = place(packet(H264, t, t, duration_ms=100) for t in times)
    assert times_ms(found) == [0, 100, 200, 300, 400]
    assert jumps == {"jump_ahead": 1}  # and the way back is known


def test_packets_without_times_follow_the_one_before() -> None:
    found, _ = place([packet(AAC, 0, 0, duration_ms=20), packet(AAC, None, duration_ms=20), packet(AAC, None)])
    assert times_ms(found, "audio") == [0, 20, 40]


def test_packets_before_the_first_time_end_where_it_begins() -> None:
    # as RTSP does it: the first picture has no time, while sound is there already
    sound = [packet(AAC, t, t, duration_ms=64) for t in (0, 64, 128, 192)]
    found, _ = place([*sound, packet(H264, None, duration_ms=100), packet(H264, 105, duration_ms=100)])
    assert times_ms(found) == [5, 105]


def test_a_track_that_never_has_times_begins_at_zero() -> None:
    found, _ = place(packet(H264, None, duration_ms=100) for _ in range(40))
    assert times_ms(found) == [i * 100 for i in range(40)]
    found, _ = place((packet(H264, None, duration_ms=100) for _ in range(3)), zero_ns=7 * S)
    assert times_ms(found) == [7000, 7100, 7200]


def test_presentation_times_alone_may_go_back_and_forth() -> None:
    times = [0, 300, 100, 200, 600, 400, 500]
    found, jumps = place(packet(H264, t) for t in times)
    assert times_ms(found) == times
    assert not jumps
    assert all(item.leads for item in found)


def test_a_damaged_presentation_time_is_not_believed() -> None:
    found, jumps = place([packet(H264, 0, 0), packet(H264, 90_000_000, 100), packet(H264, 200, 200)])
    assert times_ms(found) == [0, 100, 200]
    assert jumps == {"jump_apart": 1}


def test_a_damaged_duration_is_not_believed() -> None:
    found, jumps = place([packet(H264, 0, 0), packet(H264, 100, 100, duration_ms=1e9), packet(H264, 200, 200)])
    assert times_ms(found) == [0, 100, 200]
    assert max(item.duration_ns for item in found) <= 100 * MS
    assert not jumps


jump = st.integers(-100_000, 100_000) | st.integers(-(2**62) // MS, 2**62 // MS)
steps = st.lists(st.tuples(st.sampled_from([H264, AAC]), st.integers(0, 3), jump, st.integers(0, 4)), max_size=60)


@given(steps)
def test_whatever_comes_the_line_goes_forward(steps: list[tuple[Track, int, int, int]]) -> None:
    times, packets = {H264: 0, AAC: 0}, []
    for track, rare, leap, missing in steps:
        times[track] += leap if rare == 0 else 40  # one in four is a jump
        dts = None if missing == 1 else times[track]
        pts = None if missing in {1, 2} else times[track] + (leap if missing == 3 else 40)
        packets.append(packet(track, pts, dts, duration_ms=leap if rare == 1 else 40))
    found, _ = place(packets, zero_ns=0)
    assert len(found) == len(packets)
    for kind in ("video", "audio"):
        newest_ns = 0
        for item in (item for item in found if item.kind == kind):
            assert abs(item.pts_ns - newest_ns) <= 10 * S * 2 + BACK_REORDERED_NS + BACK_NS
            newest_ns = item.pts_ns
    assert place(packets, zero_ns=0)[0] == found
