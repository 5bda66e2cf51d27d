"""What the outside may ask a running process: /metrics, /healthz (is it alive?), /readyz (can it work?)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from typing_extensions import override

from operators.clock import Clock, ns_to_seconds
from operators.errors import LookoutError
from pipeline.metrics.metrics import Metrics
from pipeline.serving import Listener, Served

log = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 5.0  # a client that sends nothing holds its thread no longer
STALE_AFTER_S = 60.0  # a loop that has not come round for this long hangs

Check = Callable[[], str | None]  # what is wrong; None: nothing


def beating(beat_ns: Callable[[], int], clock: Clock, stale_after_s: float = STALE_AFTER_S) -> Check:
    """A check that a loop comes round; `beat_ns` gives the monotonic time of its last turn."""
    def check() -> str | None:
        silent_s = ns_to_seconds(clock.monotonic_ns() - beat_ns())
        return f"no sign of life for {silent_s:.0f} s" if silent_s > stale_after_s else None

    return check


class HealthServer(Served):
    """Serves the three pages from its own threads, from construction until `close`.

    Checks are called by these threads at every request, so they must be quick; a `LookoutError` one
    raises is what is wrong. With no check at all a page says `ok`.
    """

    def __init__(self, metrics: Metrics, *, port: int, host: str = "127.0.0.1") -> None:
        """Listen on `host` and `port`; port 0 takes any free one.

        Raises:
            SettingsError: the address cannot be had; names it.
        """
        self._metrics = metrics
        self._checks: dict[str, dict[str, Check]] = {"/healthz": {}, "/readyz": {}}
        server = _Server(host, port, self._answer)
        self.port: int = server.server_address[1]
        super().__init__(server, "health")

    def must_live(self, name: str, check: Check) -> None:
        """While `check` finds something wrong the process should be restarted."""
        self._checks["/healthz"][name] = check

    def must_be_ready(self, name: str, check: Check) -> None:
        """While `check` finds something wrong the process has to be waited for."""
        self._checks["/readyz"][name] = check

    def _answer(self, path: str, accept: str) -> tuple[HTTPStatus, str, bytes]:
        if path == "/metrics":
            body, content_type = self._metrics.exposition(accept)
            return HTTPStatus.OK, content_type, body
        if path not in self._checks:
            return HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"/metrics, /healthz or /readyz\n"
        wrong = [f"{name}: {found}\n" for name, check in self._checks[path].items() if (found := _found(check))]
        status = HTTPStatus.SERVICE_UNAVAILABLE if wrong else HTTPStatus.OK
        return status, "text/plain; charset=utf-8", ("".join(wrong) or "ok\n").encode()


def begin_health(metrics: Metrics, host: str, port: int | None, stack: ExitStack) -> HealthServer | None:
    """Serve until `stack` is left; without a port nothing is served.

    Raises:
        SettingsError: the port cannot be had.
    """
    if port is None:
        return None
    server = stack.enter_context(HealthServer(metrics, host=host, port=port))
    log.info("metrics on http://%s:%d/metrics", host, server.port)
    return server


def _found(check: Check) -> str | None:
    try:
        return check()
    except LookoutError as error:
        return str(error)


class _Server(Listener):
    def __init__(self, host: str, port: int, answer: Callable[[str, str], tuple[HTTPStatus, str, bytes]]) -> None:
        self.answer = answer
        super().__init__(host, port, _Handler, "metrics")

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        log.warning("a request to metrics and health failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_TIMEOUT_S
    server: _Server

    def do_GET(self) -> None:  # noqa: N802 - the name the base class calls
        """Answer a request for a page."""
        path = self.path.partition("?")[0]
        status, content_type, body = self.server.answer(path, self.headers.get("Accept", ""))
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the name the base class calls

    @override
    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)
