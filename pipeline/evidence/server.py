"""Serves evidence to browsers, in ranges so that they can seek; only by links of ours, and only what is kept."""

from __future__ import annotations

import logging
import re
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import IO, Any

from typing_extensions import override

from operators.clock import Clock
from operators.errors import StorageError
from operators.evidence.settings import ServeSettings
from operators.evidence.store import TYPES, Store
from pipeline.evidence.links import PATH, Signer
from pipeline.serving import Listener, Served

log = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 30.0  # a client that neither sends nor takes anything holds its thread no longer
CHUNK_BYTES = 256 * 1024
RANGE = re.compile(r"bytes=(?:(?P<first>\d{1,15})-(?P<last>\d{1,15})?|-(?P<newest>\d{1,15}))")


class EvidenceServer(Served):
    """Serves from its own threads, from construction until `close`."""

    def __init__(self, settings: ServeSettings, store: Store, signer: Signer, clock: Clock) -> None:
        """Listen.

        Raises:
            SettingsError: the address cannot be had; names it.
        """
        super().__init__(_Server(settings, store, signer, clock), "evidence-server")


class _Server(Listener):
    def __init__(self, settings: ServeSettings, store: Store, signer: Signer, clock: Clock) -> None:
        self.store, self.signer, self.clock = store, signer, clock
        super().__init__(settings.host, settings.port, _Handler, "evidence.serve")

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a request for evidence ended early", exc_info=True)  # browsers hang up whenever they have enough


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = REQUEST_TIMEOUT_S
    server: _Server

    def do_GET(self) -> None:  # noqa: N802 - the name the base class calls
        """Answer a request for a file or a part of it."""
        path, _, query = self.path.partition("?")
        wanted = PATH.fullmatch(path)
        if wanted is None:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")
        elif not self.server.signer.allows(path, query, self.server.clock.now_ns()):
            self._refuse(HTTPStatus.FORBIDDEN, "this link is wrong or has expired")
        else:
            try:
                self._send(wanted["event"], wanted["part"])
            except FileNotFoundError:
                self._refuse(HTTPStatus.NOT_FOUND, "not made yet, or not kept any more")
            except StorageError as error:
                log.warning("evidence cannot be served: %s", error)
                self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "the evidence cannot be read now")

    do_HEAD = do_GET  # noqa: N815 - the name the base class calls

    def _send(self, event_id: str, part: str) -> None:
        found = self.server.store.find(event_id, part)
        if found is None:
            raise FileNotFoundError
        name, size = found
        with self.server.store.open(event_id, name) as file:
            first, last = range_of(self.headers.get("Range", ""), size)
            if first > last:
                self._refuse(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "", f"bytes */{size}")
                return
            whole = (first, last) == (0, size - 1) and "Range" not in self.headers
            self.send_response(HTTPStatus.OK if whole else HTTPStatus.PARTIAL_CONTENT)
            if not whole:
                self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            self._headers(TYPES[name], last - first + 1)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Disposition", f'inline; filename="{event_id}-{name}"')
            self.end_headers()
            if self.command != "HEAD":
                file.seek(first)
                self._copy(file, last - first + 1)

    def _copy(self, file: IO[bytes], length: int) -> None:
        while length and (piece := file.read(min(CHUNK_BYTES, length))):
            self.wfile.write(piece)
            length -= len(piece)

    def _refuse(self, status: HTTPStatus, text: str, content_range: str = "") -> None:
        body = f"{text}\n".encode()
        self.send_response(status)
        if content_range:
            self.send_header("Content-Range", content_range)
        self._headers("text/plain; charset=utf-8", len(body))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _headers(self, content_type: str, length: int) -> None:
        """Nobody shall take it for something else, keep it for others, or pass the link on."""
        for name, value in (("Content-Type", content_type), ("Content-Length", str(length)),
                            ("X-Content-Type-Options", "nosniff"), ("Cache-Control", "private, no-store"),
                            ("Referrer-Policy", "no-referrer")):
            self.send_header(name, value)

    @override
    def log_message(self, format: str, *args: Any) -> None:
        log.debug("%s %s", self.command, self.path.partition("?")[0])  # the rest lets whoever reads it in


def range_of(header: str, size: int) -> tuple[int, int]:
    """First and last byte that a Range header asks for: all for none or one that is not understood.

    The first is beyond the last where there is no such part.
    """
    asked = RANGE.fullmatch(header.replace(" ", ""))
    if asked is None:
        return 0, size - 1
    if asked["newest"] is not None:
        newest = int(asked["newest"])
        return (max(0, size - newest), size - 1) if newest else (size, size - 1)
    first, last = int(asked["first"]), min(int(asked["last"] or size - 1), size - 1)
    return (first, last) if first <= last else (size, size - 1)
