"""A real RTSP server as a subprocess: aio-rtsp-toolkit, serving a folder at real-time pace."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path


class RtspServer:
    """Serves the files of `folder` at `url(name)`; may be stopped, frozen and started again on its port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._control_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, name: str, *, loop: bool = False, userinfo: str = "") -> str:
        """Where a file of the folder is served: once, or over and over."""
        return f"rtsp://{userinfo}127.0.0.1:{self.port}/{name}" + ("?play_count=0" if loop else "")

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        command = [str(Path(sys.executable).with_name("rtsp-server")), "-d", str(self.folder), "-H", "127.0.0.1",
                   "-p", str(self.port), "-cp", str(self._control_port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_port(self.port, self._process)

    def stop(self) -> None:
        """Kill the server at once, as a power cut would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop and start again on the same port."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """The server stops in its tracks: connections stay open and nothing comes (SIGSTOP)."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            message = "the RTSP server is not running"
            raise RuntimeError(message)
        os.kill(self._process.pid, number)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes], timeout_s: float = 30.0) -> None:
    """Return as soon as somebody listens on `port`."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1.0):
                return
        except OSError:
            time.sleep(0.02)  # nothing but trying tells when a foreign process listens
    message = f"no server on port {port}: exit code {process.poll()}"
    raise RuntimeError(message)
