"""Real RTSP cameras: what they send, how they go away and come back."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from operators.capture.camera import Camera, CameraSettings
from operators.clock import SystemClock
from tests.operators.capture.stream import S
from tests.operators.capture.watching import Watch, assert_whole, decode, packets, watching
from tests.rtsp import RtspServer

Media = Callable[..., Path]


@pytest.fixture
def serve(rtsp_server: RtspServer, media: Media) -> Callable[..., str]:
    """`serve("a.mp4", seconds=3)`: the URL of such a file, played over and over."""

    def put(name: str, *, loop: bool = True, seconds: float = 10.0, **arguments: object) -> str:
        shutil.copy(media(name, seconds=seconds, fps=20, gop=10, **arguments), rtsp_server.folder / name)
        return rtsp_server.url(name, loop=loop)

    return put


def test_a_camera_with_picture_and_sound(serve: Callable[..., str]) -> None:
    before_ns = time.time_ns()
    with watching(serve("a.mp4", audio_codec="aac"), segment_s=0.5) as watch:
        watch.wait(4)
        status = watch.camera.status
    segments = watch.segments
    assert_whole(segments)
    assert status.state == "connected"
    assert status.connected_since_ns is not None
    assert before_ns < status.connected_since_ns < time.time_ns()
    assert (status.reconnects, status.errors, status.last_error) == (0, {}, None)
    assert watch.camera.status.state == "ended"
    assert segments[-1].final  # a live session that is stopped gives what it has
    for segment in segments[1:-1]:
        assert segment.live
        assert segment.duration_ns == pytest.approx(S // 2, rel=0.02)
        assert segment.audio is not None
        assert len(packets(segment, "video")) == 10
        assert len(packets(segment, "audio")) == pytest.approx(8, abs=1)
        pictures, sounds = decode(segment)
        assert len(pictures) == 10
        assert len(sounds) > 5
        # stamped with the time it happened, on this machine's clock
        assert 0 <= segment.received_ns - segment.end_ns < S // 2


@pytest.mark.parametrize("tracks", [{}, {"codec": "hevc"}, {"options": {"bf": "2", "preset": "veryfast"}}])
def test_pictures_alone(serve: Callable[..., str], tracks: dict[str, object]) -> None:
    with watching(serve("a.mp4", **tracks), segment_s=0.5) as watch:
        segments = watch.wait(3)
    assert_whole(segments)
    for segment in segments[:3]:
        assert segment.audio is None
        assert segment.video is not None
        assert segment.video.codec == tracks.get("codec", "h264")
        assert len(decode(segment)[0]) >= len(packets(segment, "video")) - 2


@pytest.mark.parametrize(("name", "codec", "rate"), [("a.wav", "pcm_alaw", 8000), ("b.mp4", "aac", 16_000)])
def test_sound_alone(serve: Callable[..., str], name: str, codec: str, rate: int) -> None:
    audio_codec = "pcm_s16le" if codec == "pcm_alaw" else codec  # the server makes A-law of WAV files
    with watching(serve(name, codec=None, audio_codec=audio_codec), segment_s=0.5) as watch:
        segments = watch.wait(3)
    assert_whole(segments)
    for segment in segments[:3]:
        assert segment.video is None
        assert segment.audio is not None
        assert (segment.audio.codec, segment.audio.sample_rate_hz) == (codec, rate)
        assert sum(sound.samples for sound in decode(segment)[1]) == pytest.approx(rate / 2, rel=0.2)


def test_a_stream_that_ends_is_connected_again(serve: Callable[..., str]) -> None:
    with watching(serve("a.mp4", loop=False, seconds=1, audio_codec="aac"), segment_s=0.5) as watch:
        watch.wait_for_session(3)
    sessions = watch.sessions()
    for segments in sessions.values():
        assert_whole(segments)
    *complete, _ = sessions.values()
    assert all(segments[-1].final for segments in complete)
    assert all(sum(len(packets(segment, "video")) for segment in segments) == 20 for segments in complete)
    status = watch.camera.status
    assert status.reconnects >= 2
    assert set(status.errors) <= {"ended", "read", "open"}


def back_after(server: RtspServer, url: str, seconds: float) -> None:
    """The server dies mid-stream and returns: a new session within 10 s, each session whole."""
    with watching(url, segment_s=0.5, backoff_min_s=0.5, backoff_max_s=5.0) as watch:
        watch.wait(3)
        server.stop()
        watch.wait_for(lambda: watch.camera.status.state == "waiting")
        assert watch.camera.status.connected_since_ns is None
        threading.Event().wait(seconds)  # this long the real server is really away
        server.start()
        returned = time.monotonic()
        watch.wait_for_session(2, timeout_s=20)
        assert time.monotonic() - returned < 10
        watch.wait(len(watch.segments) + 2)
    first, second = watch.sessions().values()
    for segments in (first, second):
        assert_whole(segments)
    assert first[-1].final
    assert second[0].start_ns > first[-1].end_ns
    assert watch.camera.status.reconnects == 1


def test_the_server_dies_and_returns_after_5_s(rtsp_server: RtspServer, serve: Callable[..., str]) -> None:
    back_after(rtsp_server, serve("a.mp4", audio_codec="aac"), 5.0)


@pytest.mark.slow
def test_the_server_dies_and_returns_after_60_s(rtsp_server: RtspServer, serve: Callable[..., str]) -> None:
    back_after(rtsp_server, serve("a.mp4", audio_codec="aac"), 60.0)


def test_another_camera_at_the_same_address(rtsp_server: RtspServer, media: Media, serve: Callable[..., str]) -> None:
    """After a reconnect the codec and the size may be others."""
    url = serve("a.mp4", audio_codec="aac")
    with watching(url, segment_s=0.5) as watch:
        watch.wait(2)
        rtsp_server.stop()
        shutil.copy(media("b.mp4", seconds=10, codec="hevc", size=(320, 240)), rtsp_server.folder / "a.mp4")
        rtsp_server.start()
        watch.wait_for_session(2)
    first, second = watch.sessions().values()
    assert all(segment.video and segment.video.codec == "h264" and segment.audio for segment in first[:1])
    assert all(segment.video and segment.video.codec == "hevc" and not segment.audio for segment in second)
    assert second[0].video is not None
    assert second[0].video.width == 320


def test_a_device_that_is_not_there() -> None:
    with watching("v4l2:/dev/video99") as watch:
        watch.wait_for(lambda: watch.camera.status.errors.get("open", 0) >= 2)
    assert "No such file or directory" in (watch.camera.status.last_error or "")


def test_a_path_that_is_not_served(rtsp_server: RtspServer) -> None:
    with watching(rtsp_server.url("nothing.mp4")) as watch:
        watch.wait_for(lambda: watch.camera.status.errors.get("open", 0) >= 3)
    assert watch.camera.status.reconnects == 0
    assert watch.camera.status.session is None
    assert "404" in (watch.camera.status.last_error or "")


def test_no_credential_is_ever_shown(rtsp_server: RtspServer, serve: Callable[..., str],
                                     caplog: pytest.LogCaptureFixture) -> None:
    serve("a.mp4", seconds=2)
    places = [
        rtsp_server.url("a.mp4", userinfo="admin:hunter2@") + "?token=hunter3",  # plays and ends
        rtsp_server.url("nothing.mp4", userinfo="admin:hunter2@") + "?token=hunter3",  # is refused
        "rtsp://admin:hunter2@127.0.0.1:1/x?token=hunter3",  # nobody listens
        "rtsp://admin:hunter2@no-such-host.invalid/x?token=hunter3",
        "http://admin:hunter2@127.0.0.1:1/x?token=hunter3",
    ]
    with caplog.at_level(0):
        for place in places:
            with watching(place) as watch:
                watch.wait_for(partial(_has_failed, watch))
            shown = f"{watch.camera.status} {watch.camera.name} {watch.error} {watch.segments!r}"
            assert "hunter" not in shown
            assert watch.camera.status.last_error
    assert caplog.records
    assert "hunter" not in caplog.text


def _has_failed(watch: Watch) -> bool:
    return bool(watch.camera.status.errors)


def test_a_camera_that_is_stopped_while_it_waits() -> None:
    stop = threading.Event()
    camera = Camera(CameraSettings(source="rtsp://127.0.0.1:1/x", backoff_min_s=60, backoff_max_s=60),
                    clock=SystemClock(), stop=stop)
    threading.Timer(0.5, stop.set).start()
    began = time.monotonic()
    assert [segment.stopped for segment in camera.segments()] == [False, True]
    assert time.monotonic() - began < 20


def test_a_camera_that_was_never_reached_is_missed_until_it_is_stopped(rtsp_server: RtspServer) -> None:
    with watching(rtsp_server.url("nothing.mp4")) as watch:
        watch.wait_for(lambda: watch.camera.status.errors.get("open", 0) >= 3)
    missed, no_more = watch.segments
    assert not missed.stopped
    assert no_more.stopped
    assert missed.session != no_more.session
    for segment in (missed, no_more):
        assert segment.live
        assert segment.final
        assert (segment.sequence, segment.duration_ns, segment.media) == (0, 0, b"")


def test_a_camera_that_was_lost_is_missed_no_more_when_it_is_stopped(serve: Callable[..., str]) -> None:
    with watching(serve("a.mp4", loop=False, seconds=1), backoff_min_s=60, backoff_max_s=60) as watch:
        watch.wait_for(lambda: watch.camera.status.state == "waiting")
    *connected, no_more = watch.segments
    assert connected[-1].media
    assert not any(segment.stopped for segment in connected)
    assert no_more.stopped
