"""A folder of files served as RTSP cameras: aio-rtsp-toolkit's server, a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("rtsp-server")
START_S = 30.0


class RtspServer:
    """Serves the files of `folder` at `url(name)`, at real-time pace."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", port: int | None = None) -> None:
        self.folder, self._host = folder, host
        self.port, self._control_port = port or free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, name: str) -> str:
        """Where a file of the folder is served."""
        return f"rtsp://127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        """Start the server and wait until it takes connections.

        Raises:
            RuntimeError: it ended, or does not listen after START_S.
        """
        command = [str(PROGRAM), "-d", str(self.folder), "-H", self._host,
                   "-p", str(self.port), "-cp", str(self._control_port)]
        self._process = subprocess.Popen(  # noqa: S603 - our own
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_port(self.port, self._process)

    @property
    def running(self) -> bool:
        """Whether the server is there."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Kill the server at once, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes], timeout_s: float = START_S) -> None:
    """Return as soon as somebody listens on `port`.

    Raises:
        RuntimeError: `process` ended, or the time is over.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1.0):
                return
        except OSError:
            time.sleep(0.02)  # nothing but trying tells when a foreign process listens
    message = f"no server on port {port}: exit code {process.poll()}"
    raise RuntimeError(message)
