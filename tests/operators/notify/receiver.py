"""A real HTTP receiver on 127.0.0.1 that answers as told, and verifies signatures from the specification alone."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import socket
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Answer:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    behaviour: str = "answer"  # or hang, reset


HANG = Answer(behaviour="hang")
RESET = Answer(behaviour="reset")


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> bool:
        """The Standard Webhooks check, written from its text: HMAC-SHA256 over `id.timestamp.body`."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = f"{self.id}.{int(self.headers['webhook-timestamp'])}.".encode() + self.body
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        given = [entry.split(",", 1) for entry in self.headers["webhook-signature"].split(" ")]
        return any(version == "v1" and hmac.compare_digest(expected, signature) for version, signature in given)


class Receiver:
    """Gives each request the next of `answers`, and the last one for ever after."""

    def __init__(self, *answers: Answer | int) -> None:
        self.answers = [Answer(answer) if isinstance(answer, int) else answer for answer in answers] or [Answer()]
        self.requests: list[Request] = []
        self._arrived = threading.Condition()
        self._closing = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(length := int(self.headers["Content-Length"]))
                if len(body) < length:
                    return  # the sender was killed before it had sent all
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver._take(self, Request(self.path, headers, body))

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/alerts"

    @property
    def ids(self) -> Sequence[str]:
        return [request.id for request in self.requests]

    def wait_for(self, count: int, timeout_s: float = 10.0) -> None:
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.requests) >= count, timeout_s), self.ids

    def _take(self, handler: BaseHTTPRequestHandler, request: Request) -> None:
        with self._arrived:
            answer = self.answers[min(len(self.requests), len(self.answers) - 1)]
            self.requests.append(request)
            self._arrived.notify_all()
        if answer.behaviour == "hang":
            self._closing.wait(30)
        if answer.behaviour == "reset":
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if answer.behaviour != "answer":
            handler.close_connection = True
            handler.connection.close()
            handler.wfile = _Nowhere()  # type: ignore[assignment]
            return
        with contextlib.suppress(ConnectionError):
            handler.send_response(answer.status)
            for name, value in answer.headers.items():
                handler.send_header(name, value)
            handler.end_headers()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Nowhere:
    closed = False

    def flush(self) -> None:
        """The handler flushes after every request; the connection is gone."""

    def close(self) -> None:
        self.closed = True
