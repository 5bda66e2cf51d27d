"""A webhook receiver that believes only what is signed with its secret."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from standardwebhooks import Webhook, WebhookVerificationError


class Receiver:
    """Listens on 127.0.0.1, on a free port, from entering to leaving."""

    host = "127.0.0.1"

    def __init__(self, key: bytes) -> None:
        self.alerts: dict[str, dict[str, Any]] = {}  # by webhook-id: verified ones
        self.refused = 0
        self._verifier = Webhook(base64.b64encode(key).decode())
        self._server = ThreadingHTTPServer((self.host, 0), self._handler())

    @property
    def url(self) -> str:
        """Where alerts are to be posted to."""
        return f"http://{self.host}:{self._server.server_address[1]}/alerts"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _take(self, body: bytes, headers: dict[str, str]) -> int:
        try:
            self._verifier.verify(body, headers)
        except WebhookVerificationError:
            self.refused += 1
            return 401
        self.alerts[headers["webhook-id"]] = json.loads(body)
        return 204

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        take = self._take

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # noqa: N802 - the name the base class calls
                body = self.rfile.read(int(self.headers["content-length"]))
                self.send_response(take(body, {name.lower(): value for name, value in self.headers.items()}))
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing: the demo tells what came."""

        return Handler
