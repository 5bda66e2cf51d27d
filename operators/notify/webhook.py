"""A webhook: alerts as CloudEvents in JSON, posted over HTTP and signed per Standard Webhooks."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import httpx
import msgspec
import standardwebhooks
from msgspec import Meta
from typing_extensions import override

from operators.base import Settings
from operators.clock import Clock, SystemClock, ns_to_seconds
from operators.cloudevent import alert_to_cloudevent
from operators.errors import DeliveryError, DeliveryRefused, SettingsError
from operators.notify import secret
from operators.notify.sink import Name, Sink
from operators.records import Alert

REFUSALS = frozenset({
    HTTPStatus.GONE,  # Standard Webhooks: the receiver wants no more
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,  # the same alert stays as large
})
SCHEMES = ("http", "https")
MAX_SHOWN = 80  # characters of a user's value repeated in an error
LOCAL = ("all://localhost", "all://127.0.0.1", "all://[::1]")  # no proxy of the environment can reach these

# The client logs every URL it asks for, and a webhook's URL often is its password.
logging.getLogger("httpx").setLevel(logging.WARNING)


class WebhookSettings(Settings, frozen=True, kw_only=True):
    """One receiver. With neither `secret_env` nor `secret_file`, a secret is made and kept beside the data."""

    name: Name = "webhook"
    url: Annotated[str, Meta(description="http:// or https:// address that alerts are posted to")]
    secret_env: Annotated[str | None, Meta(description="environment variable that holds the signing secret")] = None
    secret_file: Annotated[str | None, Meta(description="file that holds the signing secret")] = None
    timeout_s: Annotated[float, Meta(ge=0.1, le=60, description="how long the receiver may take for each step")] = 15.0


class Webhook(Sink):
    """Posts alerts to one address. Redirects are not followed: the signature was meant for this address."""

    def __init__(self, settings: WebhookSettings, secrets: Path, clock: Clock | None = None) -> None:
        """Check everything that can be checked without asking the receiver; `secrets` is where a made one is kept.

        Raises:
            SettingsError: the URL is none, or the secret is not there; names the field.
        """
        field = f"webhooks.{settings.name}"
        check_url(f"{field}.url", settings.url)
        self.name = settings.name
        self._url = settings.url
        self._clock = clock or SystemClock()
        self._signer = standardwebhooks.Webhook(_key(field, settings, secrets))
        self._client = httpx.Client(
            timeout=settings.timeout_s, follow_redirects=False, mounts=dict.fromkeys(LOCAL),
            # A kept connection may be dead by the next alert, and its failure would cost a retry.
            limits=httpx.Limits(max_keepalive_connections=0))

    @override
    def deliver(self, alert: Alert) -> None:
        body = msgspec.json.encode(alert_to_cloudevent(alert))
        try:
            # Streamed, so that a receiver cannot hold us with an endless body: its status says everything.
            with self._client.stream("POST", self._url, content=body, headers=self._headers(alert.id, body)) as answer:
                status, retry_after = answer.status_code, answer.headers.get("retry-after")
        except httpx.HTTPError as error:
            message = f"{redacted(self._url)}: {type(error).__name__}: {error}"
            raise DeliveryError(message) from error
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            message = f"{redacted(self._url)} answered {status}"
            raise (DeliveryRefused if status in REFUSALS else DeliveryError)(message, self._wait_s(retry_after))

    @override
    def close(self) -> None:
        self._client.close()

    def _headers(self, message_id: str, body: bytes) -> dict[str, str]:
        now = datetime.fromtimestamp(self._clock.now_ns() // 1_000_000_000, UTC)
        return {
            "content-type": "application/cloudevents+json",
            "user-agent": "lookout",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(message_id, now, body.decode()),
        }

    def _wait_s(self, retry_after: str | None) -> float | None:
        """Seconds that a Retry-After header asks for, in either of its forms; None where it says nothing."""
        if retry_after is None:
            return None
        if re.fullmatch(r"\d{1,9}", retry_after.strip()):
            return float(retry_after)
        try:
            until = parsedate_to_datetime(retry_after)
        except ValueError:
            return None
        return max(0.0, until.timestamp() - ns_to_seconds(self._clock.now_ns()))


def check_url(field: str, url: str) -> None:
    """Refuse what cannot be posted to.

    Raises:
        SettingsError: names `field` and shows the value without what may be secret in it.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0 and re.search(r"\s", url) is None
        (parts.hostname or "").encode("idna")  # what the resolver will do, and fail at
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        good = False
    if not good:
        message = f"{field}: {redacted(url)!r} is not an http:// or https:// URL"
        raise SettingsError(message)


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


def _key(field: str, settings: WebhookSettings, secrets: Path) -> bytes:
    if settings.secret_env is not None and settings.secret_file is not None:
        message = f"{field}: secret_env and secret_file exclude each other"
        raise SettingsError(message)
    if settings.secret_env is not None:
        return secret.from_environment(f"{field}.secret_env", settings.secret_env)
    if settings.secret_file is not None:
        return secret.from_file(f"{field}.secret_file", Path(settings.secret_file))
    return secret.kept(field, secrets / f"{settings.name}.secret")
