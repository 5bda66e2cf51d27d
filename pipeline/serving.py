"""A small HTTP server in threads of its own; what it answers is its handler's."""

from __future__ import annotations

import socket
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from threading import Thread
from typing import Self

from operators.errors import SettingsError


class Listener(ThreadingTCPServer):
    """A plain TCP server: the standard library's HTTP one asks the DNS for its own name at start."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler], setting: str) -> None:
        """Listen on `host` and `port`; port 0 takes any free one.

        Raises:
            SettingsError: the address cannot be had; names it and the `setting` that asks for it.
        """
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            message = f"{setting}: cannot listen on {host} port {port}: {reason}"
            raise SettingsError(message) from error


class Served:
    """Answers from construction until `close`."""

    def __init__(self, listener: Listener, name: str) -> None:
        self._server = listener
        self._thread = Thread(target=listener.serve_forever, args=(0.1,), name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; the port is free when this returns."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
