from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.capture import segmenter
from operators.capture.packet import Kind, PlacedPacket, Track
from operators.capture.segmenter import Piece, Segmenter
from operators.records import VideoTrack
from tests.operators.capture.stream import AAC, H264, MS, S, audio, interleaved, placed, video

BOTH: frozenset[Kind] = frozenset({"video", "audio"})
VIDEO: frozenset[Kind] = frozenset({"video"})
AUDIO: frozenset[Kind] = frozenset({"audio"})


def cut(packets: Iterable[PlacedPacket], kinds: frozenset[Kind] = BOTH, *, start_ns: int | None = None,
        segment_ns: int = S, max_segment_ns: int = 4 * S) -> tuple[list[Piece], Counter[str]]:
    dropped: Counter[str] = Counter()
    cutter = Segmenter(segment_ns, max_segment_ns, kinds, start_ns, dropped)
    pieces = [piece for packet in packets for piece in cutter.push(packet)]
    return [*pieces, *cutter.flush()], dropped


def spans_ms(pieces: Iterable[Piece]) -> list[tuple[float, float]]:
    return [(piece.start_ns / MS, piece.end_ns / MS) for piece in pieces]


def times_ms(piece: Piece, kind: Kind) -> list[float]:
    return [item.pts_ns / MS for item in piece.packets if item.kind == kind]


def assert_tiled(pieces: list[Piece]) -> None:
    assert all(piece.packets and piece.end_ns > piece.start_ns for piece in pieces)
    assert all(a.end_ns == b.start_ns for a, b in zip(pieces, pieces[1:], strict=False))
    assert [piece.final for piece in pieces] == [False] * (len(pieces) - 1) + [True] * bool(pieces)


def test_cut_at_every_keyframe_a_second_apart() -> None:
    pieces, dropped = cut(interleaved(video(3), audio(3)))
    assert_tiled(pieces)
    assert spans_ms(pieces)[:2] == [(0, 1000), (1000, 2000)]
    assert [len(times_ms(piece, "video")) for piece in pieces] == [10, 10, 10]
    assert not any(piece.continues for piece in pieces)
    assert not dropped


def test_sound_lies_where_its_time_belongs() -> None:
    pieces, _ = cut(interleaved(video(3), audio(3)))
    for piece in pieces:
        assert all(piece.start_ns <= t * MS < piece.end_ns for t in times_ms(piece, "audio"))


@pytest.mark.parametrize("gop", [5, 10, 20])
def test_keyframes_more_and_less_often(gop: int) -> None:
    pieces, _ = cut(video(6, gop=gop), VIDEO)
    assert {end - start for start, end in spans_ms(pieces)} == {max(1000, gop * 100)}


def test_a_keyframe_a_little_early_is_good_enough() -> None:
    frames = [placed(H264, t, duration_ms=100) for t in (0, 960, 1920, 2880)]
    assert [end - start for start, end in spans_ms(cut(frames, VIDEO)[0])[:3]] == [960, 960, 960]


def test_keyframes_far_apart_are_not_waited_for() -> None:
    pieces, _ = cut(interleaved(video(20, gop=100), audio(20)))
    assert_tiled(pieces)
    assert [start for start, _ in spans_ms(pieces)] == [0, 4000, 8000, 10_000, 14_000, 18_000]
    assert [piece.continues for piece in pieces] == [False, True, True, False, True, True]
    assert [piece.continued for piece in pieces] == [True, True, False, True, True, False]


def test_a_cut_between_keyframes_does_not_part_b_frames() -> None:
    # decoding order I P B B P B B ...: a cut may only come before a P
    order = [0, 300, 100, 200, 600, 400, 500, 900, 700, 800, 1200, 1000, 1100]
    frames = [placed(H264, t, duration_ms=100, keyframe=t == 0, leads=True) for t in order]
    pieces, _ = cut(frames, VIDEO, segment_ns=S // 2, max_segment_ns=S // 2)
    assert [times_ms(piece, "video") for piece in pieces] == [order[:4], order[4:7], order[7:10], order[10:]]
    assert spans_ms(pieces) == [(0, 400), (400, 700), (700, 1000), (1000, 1300)]


def test_leading_pictures_belong_to_their_keyframe() -> None:
    # an open group: pictures shown before the keyframe are decoded after it
    order = [(0, True), (400, False), (1000, True), (800, False), (900, False), (1100, False)]
    frames = [placed(H264, t, duration_ms=100, keyframe=key, leads=True) for t, key in order]
    pieces, _ = cut(frames, VIDEO, segment_ns=S)
    assert spans_ms(pieces) == [(0, 800), (800, 1200)]
    assert times_ms(pieces[1], "video") == [1000, 800, 900, 1100]


def test_sound_alone_is_cut_by_time() -> None:
    pieces, _ = cut(audio(3, step_ms=20), AUDIO)
    assert_tiled(pieces)
    assert spans_ms(pieces) == [(0, 1000), (1000, 2000), (2000, 3000)]


def test_pictures_before_the_first_keyframe_are_left_out_and_sound_goes_on() -> None:
    late = [item for item in video(9, gop=100) if item.pts_ns > 0]
    frames = [*late, *video(2, start_s=9)]
    pieces, dropped = cut(interleaved(iter(frames), audio(11)))
    assert_tiled(pieces)
    assert dropped == {"before_keyframe": 89}
    assert pieces[0].start_ns == 0
    assert pieces[0].tracks == {"audio": AAC}
    seen = [piece for piece in pieces if "video" in piece.tracks]
    assert not seen[0].continues
    assert sum(len(times_ms(piece, "audio")) for piece in pieces) == len(list(audio(11)))


def test_sound_that_comes_late_is_waited_for() -> None:
    # as MPEG-TS does it: sound a second behind its picture
    packets = sorted([*video(6), *audio(6)], key=lambda item: item.pts_ns + (S if item.kind == "audio" else 0))
    pieces, dropped = cut(packets)
    assert_tiled(pieces)
    assert not dropped
    for piece in pieces:
        assert all(piece.start_ns <= t * MS < piece.end_ns for t in times_ms(piece, "audio"))


def test_sound_that_has_stopped_is_not_waited_for() -> None:
    dropped: Counter[str] = Counter()
    cutter = Segmenter(S, 4 * S, BOTH, None, dropped)
    given_at: dict[int, float] = {}
    for item in interleaved(video(10), audio(2)):
        for piece in cutter.push(item):
            given_at[piece.start_ns // S] = (item.pts_ns - piece.end_ns) / MS
    assert given_at[0] <= 100
    assert max(given_at.values()) <= 2000
    assert given_at[6] == given_at[7] == 0


def test_sound_before_the_open_piece_is_left_out() -> None:
    late = placed(AAC, 0, duration_ms=64)
    pieces, dropped = cut([*interleaved(video(3), audio(3)), late])
    assert dropped == {"late": 1}
    assert_tiled(pieces)


def test_encoder_priming_before_the_file_begins_is_left_out() -> None:
    packets = [placed(AAC, -64, duration_ms=64), placed(AAC, -6.5, duration_ms=20), placed(AAC, 13.5, duration_ms=20)]
    pieces, dropped = cut(packets, AUDIO, start_ns=0)
    assert dropped == {"late": 1}
    assert [times_ms(piece, "audio") for piece in pieces] == [[-6.5, 13.5]]
    assert pieces[0].start_ns == 0


def test_a_changed_track_begins_a_new_piece() -> None:
    other = Track("video", VideoTrack("h264", 320, 240), b"", b"other")
    frames = [*video(0.5), *(placed(other, 500 + i * 100, duration_ms=100, keyframe=i == 0) for i in range(5))]
    pieces, _ = cut(frames, VIDEO)
    assert spans_ms(pieces) == [(0, 500), (500, 1000)]
    assert [piece.tracks["video"] for piece in pieces] == [H264, other]


def test_a_changed_track_waits_for_its_keyframe() -> None:
    other = Track("video", H264.description, b"x", b"other")
    frames = [*video(0.5), placed(other, 500, keyframe=False), placed(other, 600), placed(other, 700, keyframe=False)]
    pieces, dropped = cut(frames, VIDEO)
    assert dropped == {"before_keyframe": 1}
    assert [times_ms(piece, "video") for piece in pieces][1] == [600, 700]


def test_a_changed_sound_track_begins_a_new_piece() -> None:
    other = Track("audio", AAC.description, b"x", b"other")
    packets = interleaved(video(1, gop=100), (placed(AAC if t < 500 else other, t) for t in range(0, 1000, 50)))
    pieces, _ = cut(packets)
    assert [piece.tracks["audio"] for piece in pieces] == [AAC, other]
    assert [piece.continues for piece in pieces] == [False, True]
    assert times_ms(pieces[0], "video") + times_ms(pieces[1], "video") == [i * 100 for i in range(10)]


def test_a_cut_at_a_sound_does_not_part_b_frames() -> None:
    other = Track("audio", AAC.description, b"x", b"other")
    pictures = [placed(H264, t, keyframe=t == 0, leads=True) for t in (0, 300, 100, 200, 600, 400, 500)]
    pieces, _ = cut([placed(AAC, 0), *pictures, placed(other, 550), placed(other, 600)])
    assert [times_ms(piece, "video") for piece in pieces] == [[0, 300, 100, 200], [600, 400, 500]]


def test_a_piece_never_grows_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmenter, "MAX_PIECE_BYTES", 1000)
    monkeypatch.setattr(segmenter, "MAX_PIECE_PACKETS", 8)
    frozen = [placed(H264, 0, keyframe=i == 0, size=10) for i in range(100)]
    pieces, dropped = cut(frozen, VIDEO)
    assert max(len(piece.packets) for piece in pieces) <= 8
    assert_tiled(pieces)
    large = [placed(H264, i * 10, keyframe=i == 0, size=400) for i in range(20)]
    pieces, dropped = cut([*large, placed(H264, 1000, size=1001)], VIDEO)
    assert max(sum(len(item.packet.data) for item in piece.packets) for piece in pieces) <= 1000
    assert dropped == {"oversized": 1}


def test_nothing_gives_nothing() -> None:
    assert cut([])[0] == []


tracks = st.sampled_from([H264, Track("video", H264.description, b"2", b"2"),
                          AAC, Track("audio", AAC.description, b"2", b"2")])
anything = st.builds(
    lambda track, pts, key, duration, leads: placed(track, pts, keyframe=key, duration_ms=duration, leads=leads),
    tracks, st.integers(-5000, 12_000), st.booleans(), st.integers(0, 100), st.booleans(),
)


@given(st.lists(anything, max_size=80), st.sampled_from([None, 0, 3 * S]))
def test_whatever_comes_is_in_one_piece_in_order(packets: list[PlacedPacket], start_ns: int | None) -> None:
    pieces, dropped = cut(packets, start_ns=start_ns)
    assert_tiled(pieces)
    kept = [item for piece in pieces for item in piece.packets]
    assert len(kept) + dropped.total() == len(packets)
    for kind in ("video", "audio"):
        came = [id(item) for item in packets if item.kind == kind]
        order = [came.index(id(item)) for item in kept if item.kind == kind]
        assert kind == "audio" or order == sorted(order)
    for piece in pieces:
        for kind in ("video", "audio"):
            assert len({item.packet.track for item in piece.packets if item.kind == kind}) <= 1
    for before, after in zip(pieces, pieces[1:], strict=False):
        if "video" in before.tracks and after.continues:
            assert before.continued
    assert cut(packets, start_ns=start_ns) == (pieces, dropped)


@given(st.integers(5, 30), st.integers(1, 60), st.floats(0.5, 15), st.integers(-1500, 1500))
def test_regular_streams_are_cut_without_loss(fps: int, gop: int, seconds: float, behind_ms: int) -> None:
    packets = sorted([*video(seconds, fps=fps, gop=gop), *audio(seconds)],
                     key=lambda item: item.pts_ns + (behind_ms * MS if item.kind == "audio" else 0))
    pieces, dropped = cut(packets)
    assert_tiled(pieces)
    assert not dropped
    assert all(piece.end_ns - piece.start_ns <= 4 * S + S // fps for piece in pieces)
    assert all(item.pts_ns >= piece.start_ns for piece in pieces for item in piece.packets)
