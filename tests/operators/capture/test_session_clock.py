from __future__ import annotations

from dataclasses import replace

import pytest

from operators.capture.session_clock import MAX_LATENCY_NS, LiveClock, RecordedClock
from tests.operators.capture.stream import AAC, MS, S, placed

WALL_NS = 1_800_000_000 * S


def arrive(clock: LiveClock, pts_ms: float, received_ms: float, captured_ms: float | None = None) -> None:
    item = placed(AAC, pts_ms)
    captured_ns = None if captured_ms is None else WALL_NS + round(captured_ms * MS)
    packet = replace(item.packet, received_ns=WALL_NS + round(received_ms * MS), captured_ns=captured_ns)
    clock.observe(replace(item, packet=packet))


def at_ms(clock: LiveClock, pts_ms: float) -> float:
    return (clock.at(round(pts_ms * MS)) - WALL_NS) / MS


def test_a_recording_counts_from_its_beginning() -> None:
    clock = RecordedClock(WALL_NS, 5 * S)
    assert (clock.at(5 * S), clock.at(6 * S)) == (WALL_NS, WALL_NS + S)
    assert clock.media_at(6 * S) == S


def test_a_recording_without_a_known_zero_begins_with_what_comes_first() -> None:
    clock = RecordedClock(WALL_NS, None)
    assert (clock.at(5 * S), clock.at(6 * S)) == (WALL_NS, WALL_NS + S)


def test_the_first_packet_says_what_the_time_is() -> None:
    clock = LiveClock()
    arrive(clock, 5000, 0)
    assert at_ms(clock, 5000) == 0
    assert at_ms(clock, 6000) == 1000
    assert clock.media_at(6 * S) is None


def test_what_was_held_back_while_opening_does_not_make_the_clock_late() -> None:
    clock = LiveClock()
    for index in range(10):  # a second of packets at once, then in real time
        arrive(clock, index * 100, 1000)
    arrive(clock, 1000, 1000)
    assert at_ms(clock, 0) == 0


def test_sender_reports_are_better_than_arrival() -> None:
    clock = LiveClock()
    arrive(clock, 0, 300)
    arrive(clock, 100, 400, captured_ms=100)
    assert at_ms(clock, 0) == 0


@pytest.mark.parametrize("wrong_ms", [-3_600_000, MAX_LATENCY_NS / -MS - 1, 200, 86_400_000])
def test_a_camera_whose_clock_is_not_set_is_not_believed(wrong_ms: float) -> None:
    clock = LiveClock()
    arrive(clock, 0, 300, captured_ms=300 + wrong_ms)
    assert at_ms(clock, 0) == 300


def test_once_segments_are_out_the_clock_is_only_slewed() -> None:
    clock = LiveClock()
    arrive(clock, 0, 300)
    clock.advance(S)
    assert at_ms(clock, 0) == 300
    arrive(clock, 1000, 1300, captured_ms=1000)  # the first report says 300 ms less
    assert at_ms(clock, 1000) == 1300
    clock.advance(S)
    assert at_ms(clock, 1000) == 1295
    for _ in range(100):
        clock.advance(S)
    assert at_ms(clock, 1000) == 1000


def test_a_drifting_camera_stays_with_our_clock() -> None:
    clock, drift = LiveClock(), 1.0001  # 100 ppm, nine seconds a day
    for second in range(3600):
        arrive(clock, second * 1000, second * 1000 * drift + (second % 7) * 20)
        clock.advance(S)
    assert abs(at_ms(clock, 3_599_000) - 3_599_000 * drift) < 20
