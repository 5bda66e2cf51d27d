"""One POST and the status it is answered with: to a checked address, within one deadline, no redirect followed."""

from __future__ import annotations

import base64
import logging
import re
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import certifi
import httpcore
from typing_extensions import override

from operators.errors import DeliveryError, SettingsError
from operators.notify.address import Guard, Resolve

SCHEMES = {"http": 80, "https": 443}
MAX_SHOWN = 80  # characters of a user's value repeated in an error
_PATH_SAFE = "/%:@!$&'()*+,;=~-._"  # what may stand in a path or query as it is

logging.getLogger("httpcore").setLevel(logging.WARNING)  # it would log every URL, which often is a password


@dataclass(frozen=True)
class Answer:
    """What a receiver answered; its body is never read."""

    status: int
    retry_after: str | None

    @property
    def taken(self) -> bool:
        """Whether it has what was sent."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    def __str__(self) -> str:
        redirects = HTTPStatus.MULTIPLE_CHOICES <= self.status < HTTPStatus.BAD_REQUEST
        return f"answered {self.status}" + ("; redirects are not followed" if redirects else "")


class Exchange:
    """Posts to one URL. Any thread may, several at a time. No proxy of the environment is asked: it would resolve."""

    def __init__(self, field: str, url: str, *, timeout_s: float, allow: Sequence[str] = (),
                 resolve: Resolve | None = None) -> None:
        """Check what can be checked without asking anybody.

        Args:
            field: of the configuration, for messages.
            url: http:// or https://, with user and password where the receiver wants them.
            timeout_s: for the whole exchange: resolving, connecting, TLS, sending, and the answer's head.
            allow: private hosts, addresses and networks that are meant.
            resolve: in place of the system's resolver.

        Raises:
            SettingsError: the URL is none, or of an address that is not allowed.
        """
        self._target = _Target.of(f"{field}.url", url)
        self._timeout_s = timeout_s
        self._guard = Guard(f"{field}.allow", allow, resolve)
        self._guard.check_literal(self._target.host)
        self._tls = _trust() if self._target.scheme == "https" else None
        self.shown = redacted(url)

    def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send it.

        Raises:
            DeliveryError: no answer came, or not in time.
            DeliveryRefused: the address is not allowed.
        """
        target, network = self._target, _Network(self._guard, time.monotonic() + self._timeout_s)
        origin = httpcore.Origin(target.scheme.encode(), target.host.encode(), target.port)
        url = httpcore.URL(scheme=origin.scheme, host=origin.host, port=target.port, target=target.path.encode())
        sent = [(name.encode(), value.encode()) for name, value in {**target.headers, **headers}.items()]
        try:
            # A kept connection may be dead by the next alert, and its failure would cost a retry.
            with (httpcore.HTTPConnection(origin, ssl_context=self._tls, network_backend=network) as connection,
                  connection.stream(b"POST", url, headers=sent, content=body) as answer):
                retry_after = {name.lower(): value for name, value in answer.headers}.get(b"retry-after")
                return Answer(answer.status, None if retry_after is None else retry_after.decode("latin-1"))
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
            message = f"{self.shown}: {type(error).__name__}: {error}"
            raise DeliveryError(message) from error
        except DeliveryError as error:
            message = f"{self.shown}: {error}"
            raise type(error)(message) from None


@dataclass(frozen=True)
class _Target:
    """A URL taken apart."""

    scheme: str
    host: str  # in ASCII, an IPv6 address without brackets
    port: int
    path: str  # with its query
    headers: Mapping[str, str]

    @classmethod
    def of(cls, field: str, url: str) -> _Target:
        try:
            if re.search(r"[\s\x00-\x1f\x7f]", url):
                raise ValueError
            parts = urlsplit(url)
            host = (parts.hostname or "").encode("idna").decode()  # what the resolver would do, and fail at
            if parts.scheme not in SCHEMES or not host or parts.port == 0:
                raise ValueError
            port = parts.port or SCHEMES[parts.scheme]
        except ValueError:
            message = f"{field}: {redacted(url)!r} is not an http:// or https:// URL"
            raise SettingsError(message) from None
        path = quote(parts.path or "/", safe=_PATH_SAFE)
        query = f"?{quote(parts.query, safe=_PATH_SAFE + '?')}" if parts.query else ""
        shown_host = f"[{host}]" if ":" in host else host
        headers = {"host": shown_host if port == SCHEMES[parts.scheme] else f"{shown_host}:{port}"}
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            headers["authorization"] = f"Basic {base64.b64encode(login).decode()}"
        return cls(parts.scheme, host, port, path + query, headers)


class _Network(httpcore.NetworkBackend):
    """Connects to what the guard has checked; whatever is done over it ends at the deadline."""

    def __init__(self, guard: Guard, deadline_s: float) -> None:
        self._guard, self._deadline_s = guard, deadline_s

    @override
    def connect_tcp(self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
                    socket_options: Any = None) -> httpcore.NetworkStream:
        addresses = self._guard.addresses(host, port, _left(self._deadline_s, httpcore.ConnectTimeout))
        for remaining, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            timeout_s = _left(self._deadline_s, httpcore.ConnectTimeout) / remaining
            try:
                connected = socket.create_connection((address, port), timeout_s)
            except OSError as error:
                failed = error
            else:
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return _Stream(connected, self._deadline_s)
        raise (httpcore.ConnectTimeout if isinstance(failed, TimeoutError) else httpcore.ConnectError)(failed)


class _Stream(httpcore.NetworkStream):
    """A socket whose every step gets what is left of the time; the timeouts of httpcore would begin anew."""

    def __init__(self, connected: socket.socket, deadline_s: float) -> None:
        self._socket, self._deadline_s = connected, deadline_s

    @override
    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            self._socket.settimeout(_left(self._deadline_s, httpcore.ReadTimeout))
            return self._socket.recv(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(error) from error
        except OSError as error:
            raise httpcore.ReadError(error) from error

    @override
    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            while buffer:
                self._socket.settimeout(_left(self._deadline_s, httpcore.WriteTimeout))
                buffer = buffer[self._socket.send(buffer):]
        except TimeoutError as error:
            raise httpcore.WriteTimeout(error) from error
        except OSError as error:
            raise httpcore.WriteError(error) from error

    @override
    def start_tls(self, ssl_context: ssl.SSLContext, server_hostname: str | None = None,
                  timeout: float | None = None) -> httpcore.NetworkStream:
        try:
            self._socket.settimeout(_left(self._deadline_s, httpcore.ConnectTimeout))
            return _Stream(ssl_context.wrap_socket(self._socket, server_hostname=server_hostname), self._deadline_s)
        except TimeoutError as error:
            self.close()
            raise httpcore.ConnectTimeout(error) from error
        except OSError as error:
            self.close()
            raise httpcore.ConnectError(error) from error

    @override
    def close(self) -> None:
        self._socket.close()

    @override
    def get_extra_info(self, info: str) -> Any:
        return None


def _left(deadline_s: float, error: type[httpcore.TimeoutException]) -> float:
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        message = "timed out"
        raise error(message)
    return left_s


def _trust() -> ssl.SSLContext:
    """Whom the system trusts, and where it knows nobody, whom browsers trust."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def redacted(url: str) -> str:
    """Scheme and host of a URL; user, password, path and query may be secret and show as an ellipsis."""
    scheme = match[0] if (match := re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", url)) else ""
    rest = url[len(scheme):]
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    if "@" in rest[len(authority):]:
        authority, host = "", ""  # an unescaped slash in a password: what looks like the host is its beginning
    else:
        host = authority.rpartition("@")[2]
    return f"{scheme}{host}{'/…' if len(authority) < len(rest) else ''}"[:MAX_SHOWN]
