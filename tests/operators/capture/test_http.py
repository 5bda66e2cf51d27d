"""Sources over HTTP, from a real http.server: MJPEG as cameras send it, HLS live and recorded, a plain file."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import pytest
from typing_extensions import override

from operators.errors import SourceError
from tests.operators.capture.stream import S
from tests.operators.capture.watching import Watch, assert_whole, decode, packets, watching

Media = Callable[..., Path]
FPS = 10


class Handler(BaseHTTPRequestHandler):
    """Serves `folder`: `/live.mjpeg` as a camera does, `/live.m3u8` as it grows, the rest as it lies there."""

    folder: Path
    began: float
    over: threading.Event

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].lstrip("/")
        if name == "live.mjpeg":
            self._stream_mjpeg()
        elif name == "live.m3u8":
            self._send(self._growing_playlist())
        else:
            self._send((self.folder / name).read_bytes())

    def _send(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream_mjpeg(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for picture in itertools.cycle(jpegs(self.folder / "pictures.avi")):
            part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(picture), picture)
            try:
                self.wfile.write(part)
            except OSError:
                return
            if self.over.wait(1 / FPS):
                return

    def _growing_playlist(self) -> bytes:
        """One more segment each second, and never an end."""
        lines = (self.folder / "recorded.m3u8").read_bytes().splitlines()
        firsts = [index for index, line in enumerate(lines) if line.startswith(b"#EXTINF")]
        there = min(3 + int(time.monotonic() - self.began), len(firsts) - 1)
        return b"\n".join(lines[: firsts[there]]) + b"\n"

    @override
    def log_message(self, format: str, *args: object) -> None:
        pass


def jpegs(path: Path) -> list[bytes]:
    with av.open(path) as container:
        return [bytes(packet) for packet in container.demux() if packet.size]


@pytest.fixture
def served(tmp_path: Path, media: Media) -> Iterator[str]:
    """The address of the server."""
    pictures = media("pictures.avi", seconds=1, codec="mjpeg").read_bytes()
    (tmp_path / "pictures.avi").write_bytes(pictures)
    hls = {"hls_time": "1", "hls_list_size": "0"}
    recorded = media("recorded.m3u8", seconds=12, audio_codec="aac", mux_options=hls)
    for part in recorded.parent.iterdir():
        (tmp_path / part.name).write_bytes(part.read_bytes())
    (tmp_path / "clip.mp4").write_bytes(media("clip.mp4", seconds=3, audio_codec="aac").read_bytes())
    over = threading.Event()
    handler = type("Here", (Handler,), {"folder": tmp_path, "began": time.monotonic(), "over": over})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        over.set()
        server.shutdown()
        thread.join()


def ended(watch: Watch) -> Callable[[], bool]:
    return lambda: watch.camera.status.state == "ended"


def test_mjpeg_is_timed_by_its_arrival(served: str) -> None:
    with watching(f"{served}/live.mjpeg") as watch:
        segments = watch.wait(4)
    assert_whole(segments)
    for segment in segments[1:4]:
        assert segment.live
        assert segment.video is not None
        assert (segment.video.codec, segment.video.width) == ("mjpeg", 160)
        assert segment.audio is None
        assert segment.duration_ns == pytest.approx(S, rel=0.5)  # the real time between the pictures, not 25 a second
        assert len(decode(segment)[0]) == len(packets(segment, "video"))
        assert len(packets(segment, "video")) == pytest.approx(segment.duration_ns / S * FPS, rel=0.6)


def test_hls_that_goes_on(served: str) -> None:
    with watching(f"{served}/live.m3u8") as watch:
        segments = watch.wait(6)
    assert_whole(segments)
    for segment in segments[:5]:
        assert segment.live
        assert len(packets(segment, "video")) == pytest.approx(10, abs=2)
        assert len(packets(segment, "audio")) > 10


@pytest.mark.parametrize(("name", "seconds"), [("recorded.m3u8", 12), ("clip.mp4", 3)])
def test_a_recording_over_http_ends(served: str, name: str, seconds: int) -> None:
    with watching(f"{served}/{name}?token=hunter2") as watch:
        watch.wait_for(ended(watch))
    assert_whole(watch.segments)
    assert len(watch.segments) == seconds
    assert watch.segments[-1].final
    assert not watch.segments[0].live  # nothing is lost by waiting: it is treated as a file
    assert watch.error is None


def test_a_playlist_cannot_lead_to_local_files(served: str, tmp_path: Path) -> None:
    local = tmp_path / "recorded0.ts"
    assert local.is_file()
    (tmp_path / "evil.m3u8").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nfile://{local}\n#EXT-X-ENDLIST\n")
    with watching(f"{served}/evil.m3u8", read_timeout_s=1.0, open_timeout_s=1.0) as watch:
        watch.wait_for(lambda: bool(watch.camera.status.errors))
    assert not any(segment.media for segment in watch.segments)
    assert watch.error is None or isinstance(watch.error, SourceError)
