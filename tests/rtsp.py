"""The demo's RTSP server with the faults of real cameras."""

from __future__ import annotations

import os
import signal

from typing_extensions import override

from pipeline.demo.rtsp_server import RtspServer as DemoServer
from pipeline.demo.rtsp_server import free_port, wait_for_port

__all__ = ["RtspServer", "free_port", "wait_for_port"]


class RtspServer(DemoServer):
    """May be stopped, frozen and started again on its port."""

    @override
    def url(self, name: str, *, loop: bool = False, userinfo: str = "") -> str:
        """Where a file of the folder is served: once, or over and over."""
        return super().url(name).replace("//", f"//{userinfo}", 1) + ("?play_count=0" if loop else "")

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
