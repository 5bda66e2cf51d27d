from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import av
import pytest

from operators.capture.camera import Camera, CameraSettings, Position
from operators.clock import ManualClock, SystemClock
from operators.errors import SettingsError, SourceError, UnsupportedSource
from operators.records import Segment
from tests.media import make_video
from tests.operators.capture.silent import silent_server
from tests.operators.capture.stream import S
from tests.operators.capture.watching import assert_whole, capture, decode, packets

Media = Callable[..., Path]
MTIME_NS = 1_700_000_000 * S


def camera(path: Path) -> Camera:
    return Camera(CameraSettings(source=f"test={path}"), clock=SystemClock(), stop=threading.Event())


def same(one: Segment, other: Segment) -> bool:
    """Equal in everything but when they were cut."""
    fields = set(Segment.__struct_fields__) - {"received_ns"}
    return all(getattr(one, name) == getattr(other, name) for name in fields)


@pytest.fixture
def clip(media: Media) -> Path:
    return media("clip.mp4", seconds=6, audio_codec="aac")


def test_a_file_is_whole_and_ends_final(clip: Path) -> None:
    segments = capture(clip)
    assert_whole(segments)
    assert [segment.media_start_ns for segment in segments] == [i * S for i in range(6)]
    assert segments[-1].final
    assert segments[-1].end_ns - segments[0].start_ns == pytest.approx(6 * S, abs=S // 10)
    assert not any(segment.live or segment.continues for segment in segments)


def test_two_runs_are_alike(clip: Path) -> None:
    one, other = capture(clip), capture(clip)
    assert len(one) == len(other)
    assert all(map(same, one, other))


def test_resumed_anywhere_it_gives_exactly_the_rest(clip: Path) -> None:
    whole = capture(clip)
    assert_whole(whole)
    for sequence in range(len(whole) + 1):
        rest = capture(clip, resume=Position(whole[0].session, sequence))
        assert len(rest) == len(whole) - sequence
        assert all(map(same, rest, whole[sequence:]))


def test_a_position_in_another_file_means_nothing(clip: Path) -> None:
    assert len(capture(clip, resume=Position("somewhere else", 3))) == 6


def test_stopped_in_between_nothing_half_is_given(clip: Path) -> None:
    whole, stop = capture(clip), threading.Event()
    running = Camera(CameraSettings(source=f"test={clip}"), clock=SystemClock(), stop=stop)
    given = []
    for segment in running.segments():
        given.append(segment)
        if segment.sequence == 2:
            stop.set()
    rest = capture(clip, resume=Position(whole[0].session, len(given)))
    assert len(given) >= 3
    assert all(map(same, [*given, *rest], whole))
    assert len(given) + len(rest) == len(whole)


def test_the_session_is_the_file_and_how_it_is_cut(clip: Path, tmp_path: Path) -> None:
    session = capture(clip)[0].session
    copy = tmp_path / clip.name
    shutil.copy2(clip, copy)
    assert capture(copy)[0].session == session
    assert capture(copy, segment_s=2.0)[0].session != session
    os.utime(copy, ns=(MTIME_NS, MTIME_NS))
    assert capture(copy)[0].session != session
    renamed = copy.rename(tmp_path / "other.mp4")
    os.utime(renamed, ns=(clip.stat().st_mtime_ns, clip.stat().st_mtime_ns))
    assert capture(renamed)[0].session != session


@pytest.mark.parametrize(
    ("creation_time", "start_ns"),
    [
        ("2023-05-01T10:00:00Z", 1_682_935_200 * S),
        (None, MTIME_NS),
        ("1970-01-01T00:00:00Z", MTIME_NS),  # a clock that was never set
        ("2035-01-01T00:00:00Z", MTIME_NS),  # after the file was last changed
    ],
)
def test_when_a_recording_began(tmp_path: Path, creation_time: str | None, start_ns: int) -> None:
    metadata = {} if creation_time is None else {"creation_time": creation_time}
    path = make_video(tmp_path / "a.mp4", seconds=1, metadata=metadata)
    os.utime(path, ns=(MTIME_NS, MTIME_NS))
    assert capture(path)[0].start_ns == start_ns


def test_received_is_when_it_was_cut(clip: Path) -> None:
    assert {segment.received_ns for segment in capture(clip, clock=ManualClock(MTIME_NS))} == {MTIME_NS}


def test_the_status_tells_what_happened(clip: Path) -> None:
    running = camera(clip)
    assert running.status.state == "connecting"
    segments = list(running.segments())
    status = running.status
    assert (status.state, status.session, status.reconnects) == ("ended", segments[0].session, 0)
    assert status.packets > 60
    assert status.bytes > 10_000
    assert status.last_error is None


@pytest.mark.parametrize("tracks", [{"codec": None}, {"audio_codec": None}])
def test_one_track_alone(media: Media, tracks: dict[str, None]) -> None:
    segments = capture(media("one.mkv", seconds=3, **{"audio_codec": "aac", **tracks}))
    assert_whole(segments)
    assert len(segments) == 3
    for segment in segments:
        assert (segment.video is None) == ("codec" in tracks)
        assert (segment.audio is None) == ("audio_codec" in tracks)


def test_keyframes_ten_seconds_apart(media: Media) -> None:
    segments = capture(media("far.mp4", seconds=21, gop=100, audio_codec="aac"))
    assert_whole(segments)
    assert [segment.continues for segment in segments] == [False, True, True, False, True, True, False]
    assert max(segment.duration_ns for segment in segments) <= 4 * S
    # a decoder that goes on from segment to segment gets every picture
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    with av.open(media("far.mp4", seconds=21, gop=100, audio_codec="aac")) as container:
        decoder.extradata = container.streams.video[0].codec_context.extradata
    pictures = [f for segment in segments for packet in packets(segment, "video") for f in decoder.decode(packet)]
    assert len(pictures) + len(decoder.decode(None)) == 210


def cut_off(path: Path, into: Path, *, packets: int) -> Path:
    """An MPEG-TS file without its first so many packets of 188 bytes."""
    into.write_bytes(path.read_bytes()[packets * 188 :])
    return into


def test_the_first_packet_is_no_keyframe(media: Media, tmp_path: Path) -> None:
    whole = media("a.ts", seconds=4, audio_codec="aac")
    running = camera(cut_off(whole, tmp_path / "b.ts", packets=30))
    segments = list(running.segments())
    assert_whole(segments)
    assert running.status.dropped["before_keyframe"] > 0
    assert segments[0].video is not None
    assert not segments[0].continues
    first_picture_s = float(packets(segments[0], "video")[0].pts or 0) / 1000
    assert first_picture_s > 0.2  # sound was there before
    assert len(packets(segments[0], "audio")) > 20


def joined(tmp_path: Path, *parts: Path) -> Path:
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def test_the_picture_changes_its_size(media: Media, tmp_path: Path) -> None:
    small = media("small.ts", seconds=3, audio_codec="aac")
    large = media("large.ts", seconds=3, size=(320, 240), audio_codec="aac")
    segments = capture(joined(tmp_path, small, large, small))
    assert_whole(segments)
    widths = [segment.video.width for segment in segments if segment.video]
    assert widths == [160] * 3 + [320] * 3 + [160] * 3
    for segment, width in zip(segments, widths, strict=True):
        assert {picture.width for picture in decode(segment)[0]} == {width}


def test_the_codec_changes(media: Media, tmp_path: Path) -> None:
    parts = [media("h264.ts", seconds=3), media("h265.ts", seconds=3, codec="hevc")]
    segments = capture(joined(tmp_path, *parts))
    assert_whole(segments)
    codecs = [segment.video.codec for segment in segments if segment.video]
    assert codecs == sorted(codecs)
    assert set(codecs) == {"h264", "hevc"}
    assert all(len(decode(segment)[0]) >= len(packets(segment, "video")) - 2 for segment in segments)


def test_the_sound_changes(media: Media, tmp_path: Path) -> None:
    slow = media("slow.ts", seconds=3, audio_codec="aac")
    fast = media("fast.ts", seconds=3, audio_codec="aac", sample_rate=48_000)
    segments = capture(joined(tmp_path, slow, fast))
    assert_whole(segments)
    rates = [segment.audio.sample_rate_hz for segment in segments if segment.audio]
    assert rates == sorted(rates)
    assert set(rates) == {16_000, 48_000}
    for segment, rate in zip(segments, rates, strict=True):
        assert {sound.sample_rate for sound in decode(segment)[1]} == {rate}


@pytest.mark.parametrize("offsets", [(0, 0), (0, 1000), (1000, 0), (0, 1000, 0), (9, 0, 9, 0)])
def test_timestamps_that_jump(media: Media, tmp_path: Path, offsets: tuple[int, ...]) -> None:
    parts = [media("a.ts", seconds=3, audio_codec="aac", mux_options={"output_ts_offset": str(o)}) for o in offsets]
    running = camera(joined(tmp_path, *parts))
    segments = list(running.segments())
    assert_whole(segments)
    length_ns = segments[-1].end_ns - segments[0].start_ns
    gaps_s = sum(6 for before, after in zip(offsets, offsets[1:], strict=False) if 0 < after - before <= 10)
    assert length_ns == pytest.approx((3 * len(parts) + gaps_s) * S, abs=len(parts) * S // 10)
    assert running.status.errors.get("jump_back", 0) + running.status.errors.get("jump_ahead", 0) > 0
    assert sum(len(packets(segment, "video")) for segment in segments) >= 30 * len(parts) - 1
    assert list(map(same, segments, camera(tmp_path / "joined.ts").segments())) == [True] * len(segments)


def test_timestamps_that_wrap(media: Media) -> None:
    wrap_s = 2**33 / 90_000
    path = media("w.ts", seconds=6, audio_codec="aac", mux_options={"output_ts_offset": str(wrap_s - 3)})
    segments = capture(path)
    assert_whole(segments)
    assert segments[0].media_start_ns == 0
    assert segments[-1].end_ns - segments[0].start_ns == pytest.approx(6 * S, abs=S // 10)


def test_cover_art_is_no_picture(media: Media, tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    with av.open(media("a.mp3", seconds=3, codec=None, audio_codec="mp3", sample_rate=44_100)) as song, \
            av.open(media("a.mkv", seconds=0.1, codec="mjpeg")) as art, av.open(path, "w") as output:
        audio = output.add_stream_from_template(song.streams.audio[0])
        cover = output.add_stream_from_template(art.streams.video[0], opaque=True)
        cover.disposition = av.stream.Disposition.attached_pic
        for packet in [*song.demux(), *art.demux()]:
            if packet.size:
                packet.stream = audio if packet.stream.type == "audio" else cover
                output.mux(packet)
    with av.open(path) as container:
        assert len(container.streams.video) == 1
    segments = capture(path)
    assert len(segments) == 3
    assert all(segment.video is None for segment in segments)


def test_an_unsupported_track_is_left_out_and_named(media: Media, caplog: pytest.LogCaptureFixture) -> None:
    running = camera(media("a.mkv", seconds=2, audio_codec="ac3", sample_rate=48_000))
    segments = list(running.segments())
    assert all(segment.video and segment.audio is None for segment in segments)
    assert running.status.errors == {"unsupported_track": 1}
    assert [record.message for record in caplog.records] == [
        "camera test: codec ac3 is not supported, the track is left out"]


def test_nothing_supported(media: Media) -> None:
    running = camera(media("a.mkv", seconds=2, codec=None, audio_codec="ac3", sample_rate=48_000))
    with pytest.raises(UnsupportedSource, match=r"camera test .*a\.mkv.* ac3"):
        list(running.segments())
    assert (running.status.state, running.status.errors) == ("failed", {"unsupported": 1})


@pytest.mark.parametrize("content", [b"", b"not media at all" * 100, b"\0" * 5000, b"#EXTM3U\nhttp://127.0.0.1:9/x.ts\n"])
def test_what_is_no_media(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    running = camera(path)
    with pytest.raises(SourceError, match=r"camera test .*a\.mp4"):
        list(running.segments())
    assert running.status.state == "failed"
    assert sum(running.status.errors.values()) == 1


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.mp4"):
        camera(Path("nowhere.mp4"))


def test_a_file_that_vanishes(media: Media, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    shutil.copy(media("a.mp4", seconds=1), path)
    running = camera(path)
    path.unlink()
    with pytest.raises(SourceError, match="No such file"):
        list(running.segments())


def test_nobody_takes_the_rest(clip: Path) -> None:
    before, running = threading.active_count(), camera(clip)
    with closing(running.segments()) as segments:
        next(segments)
    assert running.status.state == "ended"
    assert threading.active_count() == before


@pytest.mark.parametrize("scheme", ["http", "rtsp", "tcp"])
def test_a_playlist_leads_nowhere_else(tmp_path: Path, scheme: str) -> None:
    """A file from somebody else must not have its reader open connections."""
    with silent_server() as server:
        path = tmp_path / "list.m3u8"
        address = f"{scheme}://127.0.0.1:{server.port}/x.ts"
        path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{address}\n#EXT-X-ENDLIST\n")
        with pytest.raises(SourceError):
            list(camera(path).segments())
        assert server.connections == 0
