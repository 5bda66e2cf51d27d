"""`lookout watch` on a real RTSP camera: events, metrics, alerts, no credential anywhere."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.end_to_end.lookout import command, draw, tone
from tests.rtsp import RtspServer, free_port
from tests.tiny_bundle import make_bundle
from tests.waiting import until

PASSWORD = "hunter2secret"  # noqa: S105 - made up, to look for
WAIT_S = 60.0


class Receiver(ThreadingHTTPServer):
    """Takes every alert."""

    def __init__(self) -> None:
        bodies = self.bodies = list[bytes]()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                bodies.append(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.shutdown()
    server.server_close()


def while_running(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """Wait for another process to have done something."""
    until(lambda: process.poll() is not None or condition(), WAIT_S)
    assert process.poll() is None, "lookout ended by itself"


def scraped(port: int) -> dict[str, float]:
    """Every sample of /metrics, by name and labels."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    assert PASSWORD not in text
    return {sample.name + "".join(f"|{value}" for value in sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text) for sample in family.samples}


def test_a_camera_is_seen_heard_counted_and_told_of(media: Callable[..., Path], rtsp_server: RtspServer,
                                                    receiver: Receiver, tmp_path: Path) -> None:
    made = media("camera.mp4", seconds=20.0, fps=10, gop=10, audio_codec="aac", draw=draw, tone=tone)
    (rtsp_server.folder / "camera.mp4").write_bytes(made.read_bytes())
    port, events = free_port(), tmp_path / "events.jsonl"
    url = rtsp_server.url("camera.mp4", userinfo=f"admin:{PASSWORD}@")
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(command(
            "watch", f"gate={url}", "--model", make_bundle(tmp_path / "bundle"), "--data", tmp_path / "data",
            "--metrics-port", port, "--events", events, "--allow", "127.0.0.1", "--webhook",
            f"http://127.0.0.1:{receiver.server_address[1]}/hook/{PASSWORD}"),
            stdout=log, stderr=subprocess.STDOUT, text=True)
        try:
            while_running(process, lambda: events.exists() and bool(receiver.bodies)
                          and '"lookout.event.close","time"' in events.read_text())
            found = scraped(port)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
                assert answer.status == 200
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                assert answer.status == 200
            rtsp_server.restart()
            while_running(process, lambda: scraped(port).get("lookout_reconnects_total|gate", 0) >= 1)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        log.seek(0)
        said = log.read()
    assert found["lookout_camera_connected|gate"] == 1
    assert found["lookout_frames_received_total|gate"] > 0
    shed = sum(value for name, value in found.items() if name.startswith("lookout_frames_shed_total|gate"))
    assert found["lookout_frames_received_total|gate"] == found["lookout_frames_processed_total|gate"] + shed
    assert abs(found["lookout_audio_video_skew_seconds|gate"]) < 0.5
    assert found["lookout_stage_latency_seconds_count|perceive"] > 0
    assert PASSWORD not in said + events.read_text()
    assert "gate" in said
    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert PASSWORD.encode() not in stored
    assert all(PASSWORD.encode() not in body for body in receiver.bodies)


def test_a_camera_that_was_never_reached_is_told_of(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    arguments = ("--model", make_bundle(tmp_path / "bundle"), "--data", tmp_path / "data", "--events", events)

    def told() -> list[str]:
        found = [json.loads(line) for line in events.read_text().splitlines()] if events.exists() else []
        return [event["type"].rpartition(".")[2] for event in found if event["subject"] == "camera_no_video"]

    process = subprocess.Popen(command("watch", f"gate=rtsp://127.0.0.1:{free_port()}/nothing", *arguments), text=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while_running(process, lambda: told() == ["open"])
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert told() == ["open", "close"]  # whoever ends the watch misses the camera no more
