"""`lookout watch` on a live camera: the alert comes at once with links, and behind them, a little later, is what a
guard wants to see. A browser plays the clip.
"""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

from operators.clock import NS_PER_S, SystemClock, from_rfc3339
from operators.evidence.clip import remux
from operators.evidence.settings import EvidenceSettings, ServeSettings
from operators.evidence.store import Store
from pipeline.evidence.links import Signer
from pipeline.evidence.server import EvidenceServer
from tests.end_to_end.lookout import command, make_scene, run
from tests.operators.decode.segments import segments_of
from tests.operators.notify.receiver import Receiver
from tests.rtsp import RtspServer, free_port
from tests.tiny_bundle import make_bundle
from tests.waiting import until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: Debian's package of this name")
needs_ffprobe = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="no ffprobe: Debian's package ffmpeg")

WITHIN_S = 120.0
BRIGHT_S = (6.0, 8.0)  # of every round of the camera's film
ROUND_S = 14.0
PAGE = """<!doctype html><video muted preload="auto"></video><script>
const video = document.querySelector("video"), tell = what => fetch(TOLD, {method: "POST", mode: "no-cors",
  body: JSON.stringify({what, duration: video.duration, width: video.videoWidth, height: video.videoHeight,
  time: video.currentTime, seekable: video.seekable.length, error: video.error && video.error.message,
  frames: video.getVideoPlaybackQuality().totalVideoFrames, sound: video.webkitAudioDecodedByteCount})});
video.onerror = () => tell("error");
video.onloadedmetadata = () => { video.onseeked = () => { video.onseeked = null; video.play(); };
                                 video.currentTime = video.duration - 3; };
video.onended = () => tell("ended");
video.src = LINK;
</script>"""


def draw(time_s: float, picture: NDArray[np.uint8]) -> None:
    """A white stripe that moves, and white altogether while bright."""
    bright = BRIGHT_S[0] <= time_s % ROUND_S < BRIGHT_S[1]
    picture[:] = 250 if bright else 20
    if not bright:
        picture[:, int(time_s * 10) % 140:][:, :20] = 200


@dataclass
class Watched:
    """A run of Lookout on a live camera, its first alert, and the folder with evidence."""

    process: subprocess.Popen[bytes]
    alert: dict[str, Any]
    early: int  # what the clip's link answered when the alert had come
    kept: Path
    metrics: str
    log: Path

    def fetch(self, part: str, **headers: str) -> tuple[int, str, bytes]:
        return fetch(self.alert["data"]["evidence"][part], **headers)

    @property
    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.kept / self.alert["data"]["event_id"] / "evidence.json").read_bytes())
        return found


def fetch(link: str, **headers: str) -> tuple[int, str, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(link, headers=headers), timeout=30) as answer:  # noqa: S310
            return answer.status, answer.headers.get_content_type(), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get_content_type(), error.read()


@pytest.fixture(scope="module")
def watched(media: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("live")
    film = media("round.mp4", seconds=ROUND_S, fps=10, gop=10, audio_codec="aac", draw=draw)
    (folder / "served").mkdir()
    shutil.copy(film, folder / "served")
    with ExitStack() as stack:
        server = RtspServer(folder / "served")
        stack.callback(server.stop)
        server.start()
        guard = stack.enter_context(Receiver())
        port, metrics = free_port(), free_port()
        (folder / "lookout.yml").write_text(yaml.safe_dump({
            "cameras": [{"source": f"gate={server.url(film.name, loop=True)}"}],
            "rules": [{"name": "light", "labels": ["bright"], "cooldown_s": 3600}],
            "webhooks": [{"url": guard.url, "allow": ["127.0.0.1"]}],
            "evidence": {"url": str(folder / "kept"), "serve": {"port": port}},
            "metrics": {"port": metrics}, "model": str(make_bundle(folder / "bundle"))}))
        process = subprocess.Popen(command("watch", "--config", folder / "lookout.yml", "--data", folder / "data"),
                                   stdout=subprocess.DEVNULL, stderr=stack.enter_context((folder / "log").open("wb")))
        stack.callback(process.wait, 60)
        stack.callback(process.send_signal, signal.SIGINT)
        guard.wait_for(1, WITHIN_S)
        alert = json.loads(guard.requests[0].body)
        yield Watched(process, alert, fetch(alert["data"]["evidence"]["clip"])[0], folder / "kept",
                      f"http://127.0.0.1:{metrics}/metrics", folder / "log")


@pytest.fixture
def made(watched: Watched) -> Watched:
    """When the event's evidence is there."""
    until(lambda: watched.fetch("clip")[0] == 200 and watched.record, WITHIN_S, watched.log.read_text)
    return watched


def test_the_alert_waits_for_nothing_and_names_where_its_evidence_will_be(watched: Watched) -> None:
    assert watched.early == 404
    links = watched.alert["data"]["evidence"]
    assert links.keys() == {"clip", "snapshot", "why"}
    assert all(f"/evidence/{watched.alert['data']['event_id']}/" in link for link in links.values())


def test_the_snapshot_is_of_the_event_and_the_picture_is_one(made: Watched) -> None:
    status, kind, body = made.fetch("snapshot")
    assert (status, kind) == (200, "image/jpeg")
    with Image.open(io.BytesIO(body)) as image:
        assert image.size == (160, 120)
        assert np.asarray(image.convert("L")).mean() > 200  # white while bright, and at no other time
    status, kind, body = made.fetch("why")
    assert (status, kind) == (200, "image/png")
    with Image.open(io.BytesIO(body)) as image:
        image.verify()


@needs_ffprobe
def test_the_clips_times_span_the_event_with_the_seconds_around_it(made: Watched) -> None:
    shown = subprocess.run(["ffprobe", "-v", "error", "-of", "json", "-show_packets", "-show_streams",
                            made.alert["data"]["evidence"]["clip"]], capture_output=True, text=True, check=True)
    assert shown.stderr == ""
    found, record = json.loads(shown.stdout), made.record
    assert [stream["codec_name"] for stream in found["streams"]] == ["h264", "aac"]
    start_ns, event_start_ns, event_end_ns = (from_rfc3339(text) for text in (
        record["clip"]["start"], record["start"], record["end"]))
    assert 1.0 < (event_end_ns - event_start_ns) / NS_PER_S < 4.0
    for kind in ("video", "audio"):
        pts = [start_ns / NS_PER_S + float(packet["pts_time"]) for packet in found["packets"]
               if packet["codec_type"] == kind]
        assert min(pts) <= event_start_ns / NS_PER_S - 5 + 0.2
        assert max(pts) >= event_end_ns / NS_PER_S + 5 - 0.2
        assert max(pts) - min(pts) < (event_end_ns - event_start_ns) / NS_PER_S + 10 + 3
    assert made.fetch("clip", Range="bytes=4-7")[2] == b"ftyp"


def played(link: str, folder: Path) -> dict[str, Any]:
    """What a browser tells of a clip, after it has sought to the last three seconds and played them."""
    with Receiver() as receiver:
        page = PAGE.replace("TOLD", json.dumps(receiver.url)).replace("LINK", json.dumps(link))
        (folder / "page.html").write_text(page)
        browser = subprocess.Popen(
            [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio", "--no-first-run",
             "--autoplay-policy=no-user-gesture-required", "--disable-dev-shm-usage",
             f"--user-data-dir={folder / 'profile'}", (folder / "page.html").as_uri()],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            receiver.wait_for(1, WITHIN_S)
        finally:
            browser.terminate()
            browser.wait(60)
        told: dict[str, Any] = json.loads(receiver.requests[0].body)
    return told


@needs_chromium
def test_a_browser_opens_the_clip_seeks_in_it_and_plays_it_to_its_end(made: Watched, tmp_path: Path) -> None:
    told = played(made.alert["data"]["evidence"]["clip"], tmp_path)
    assert (told["what"], told["error"]) == ("ended", None)
    assert (told["width"], told["height"]) == (160, 120)
    record = made.record
    length_s = (from_rfc3339(record["clip"]["end"]) - from_rfc3339(record["clip"]["start"])) / NS_PER_S
    assert told["duration"] == pytest.approx(length_s, abs=0.5)
    assert told["time"] == pytest.approx(told["duration"], abs=0.1)
    assert told["seekable"] == 1
    assert 0 < told["frames"] < 60  # of the last three seconds alone, at ten a second
    assert told["sound"] > 0


@needs_chromium
def test_a_browser_plays_telephone_sound_too_though_mp4_takes_none(media: Callable[..., Path], tmp_path: Path) -> None:
    film = media("telephone.mov", seconds=8.0, audio_codec="pcm_mulaw")
    clip = remux(segments_of(film), tmp_path)
    assert clip.container == "matroska"
    store, clock = Store(EvidenceSettings(url=str(tmp_path / "kept"))), SystemClock()
    store.put("1" * 32, clip.path)
    settings = ServeSettings(port=free_port())
    signer = Signer(settings, [b"k" * 32])
    with EvidenceServer(settings, store, signer, clock):
        told = played(signer.link(f"/evidence/{'1' * 32}/clip", clock.now_ns() // NS_PER_S + 600), tmp_path)
    assert (told["what"], told["width"]) == ("ended", 160)
    assert told["frames"] > 0
    assert told["sound"] > 0


def test_it_is_counted(made: Watched) -> None:
    def counted() -> str:
        return fetch(made.metrics)[2].decode()

    until(lambda: 'lookout_evidence_made_total{part="why"} 1.0' in counted(), WITHIN_S, counted)
    found = counted()
    for line in ('lookout_evidence_made_total{part="clip"} 1.0', 'lookout_evidence_made_total{part="snapshot"} 1.0',
                 'lookout_evidence_failed_total{part="clip",reason="gone"} 0.0',
                 "lookout_evidence_duration_seconds_count 1.0"):
        assert line in found
    size = sum(file.stat().st_size for file in made.kept.rglob("*.*"))
    until(lambda: f"lookout_evidence_kept_bytes {float(size)}" in counted(), WITHIN_S, counted)


def test_killed_while_it_makes_evidence_the_next_run_makes_all_of_it(
        media: Callable[..., Path], tmp_path: Path) -> None:
    scene, bundle, kept = make_scene(media), make_bundle(tmp_path / "bundle"), tmp_path / "kept"
    (tmp_path / "lookout.yml").write_text(yaml.safe_dump({
        "rules": [{"name": "all", "cooldown_s": 0}], "evidence": {"url": str(kept)}}))
    arguments = ("watch", scene, "--config", tmp_path / "lookout.yml", "--model", bundle, "--data", tmp_path / "data")
    process = subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: list(kept.glob("*/clip.mp4*")), WITHIN_S)
    process.kill()
    process.wait()
    assert len(list(kept.glob("*/evidence.json"))) < 4
    again = run(*arguments)
    assert again.returncode == 0, again.stderr
    events = list(kept.iterdir())
    assert len(events) == 4  # two bright, two loud
    for event in events:
        assert sorted(file.name for file in event.iterdir()) == ["clip.mp4", "evidence.json", "snapshot.jpg", "why.png"]
