"""A second, independent RTSP server with codecs that the first does not serve. Skipped where it is not installed.

On Debian: apt install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-{base,good,bad}
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.operators.capture.stream import S
from tests.operators.capture.watching import assert_whole, decode, packets, watching
from tests.rtsp import free_port

Media = Callable[..., Path]
PYTHON = "/usr/bin/python3"  # the system's, which has the bindings
HAS_GSTREAMER = 'import gi; gi.require_version("GstRtspServer", "1.0")'
PICTURE = "videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=10/1,format=I420"
SOUND = "audiotestsrc is-live=true ! audioconvert ! audioresample ! audio/x-raw,channels=1,rate="
JPEG = f"{PICTURE} ! jpegenc ! rtpjpegpay name=pay0 pt=26"
VP8 = f"{PICTURE} ! vp8enc deadline=1 keyframe-max-dist=10 ! rtpvp8pay name=pay0 pt=96"

CAMERAS: dict[str, tuple[str, str | None, tuple[str, int] | None]] = {
    "jpeg+mu-law": (f"{JPEG} {SOUND}8000 ! mulawenc ! rtppcmupay name=pay1", "mjpeg", ("pcm_mulaw", 8000)),
    "jpeg+A-law": (f"{JPEG} {SOUND}8000 ! alawenc ! rtppcmapay name=pay1", "mjpeg", ("pcm_alaw", 8000)),
    "vp8+opus": (f"{VP8} {SOUND}48000 ! opusenc ! rtpopuspay name=pay1 pt=97", "vp8", ("opus", 48_000)),
    "PCM": (f"{SOUND}16000 ! rtpL16pay name=pay0 pt=98", None, ("pcm_s16be", 16_000)),
    # with a length, as a recorder has it, and without parameter sets before each keyframe
    "h264": ("filesrc location={file} ! qtdemux ! h264parse ! rtph264pay config-interval=0 name=pay0", "h264", None),
}


@pytest.fixture(scope="module")
def gstreamer(media: Media) -> Iterator[dict[str, str]]:
    """The URL of each camera."""
    try:
        subprocess.run([PYTHON, "-c", HAS_GSTREAMER], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("GStreamer's RTSP server is not installed")
    port, file = free_port(), media("long.mp4", seconds=20)
    mounts = [f"{index}={pipeline.format(file=file)}" for index, (pipeline, *_) in enumerate(CAMERAS.values())]
    command = [PYTHON, str(Path(__file__).with_name("gstreamer_server.py")), str(port), *mounts]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout
        assert server.stdout.readline() == b"ready\n"
        yield {name: f"rtsp://127.0.0.1:{port}/{index}" for index, name in enumerate(CAMERAS)}
        server.kill()


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("name", CAMERAS)
def test_what_other_cameras_send(gstreamer: dict[str, str], name: str, transport: str) -> None:
    _, picture, sound = CAMERAS[name]
    with watching(gstreamer[name], rtsp_transport=transport, open_timeout_s=20.0) as watch:
        segments = watch.wait(3)
    assert_whole(segments)
    assert watch.camera.status.errors == {}
    for segment in segments[:3]:
        assert segment.live
        assert segment.duration_ns == pytest.approx(S, rel=0.1)
        pictures, sounds = decode(segment)
        assert (segment.video and segment.video.codec) == picture
        assert len(pictures) == len(packets(segment, "video"))
        assert (segment.audio and (segment.audio.codec, segment.audio.sample_rate_hz)) == sound
        rate = segment.audio.sample_rate_hz if segment.audio else 0
        assert sum(heard.samples for heard in sounds) == pytest.approx(rate, rel=0.1)
        assert abs(segment.received_ns - segment.end_ns) < S // 4
