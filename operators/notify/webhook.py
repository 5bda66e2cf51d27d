"""A webhook: alerts as CloudEvents in JSON, posted over HTTP and signed per Standard Webhooks."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import msgspec
import standardwebhooks
from msgspec import Meta
from typing_extensions import override

from operators.base import Settings
from operators.clock import NS_PER_S, Clock, SystemClock, ns_to_seconds
from operators.cloudevent import Links, alert_to_cloudevent, no_links
from operators.errors import DeliveryError, DeliveryRefused, ReceiverGone, SettingsError
from operators.notify import secret
from operators.notify.address import Resolve
from operators.notify.exchange import Exchange
from operators.notify.sink import Name, Sink
from operators.records import Alert

MAX_BODY_BYTES = 20_000  # receivers of Standard Webhooks need take no more
REFUSALS: dict[int, type[DeliveryRefused]] = {
    HTTPStatus.GONE: ReceiverGone,  # Standard Webhooks: the receiver wants no more
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: DeliveryRefused,  # the same alert stays as large
}
Allow = Annotated[tuple[str, ...], Meta(description=(
    "hosts, addresses and networks that alerts may go to although they are private"))]
Timeout = Annotated[float, Meta(ge=0.1, le=60, description="for the whole exchange, from resolving to the answer")]


class WebhookSettings(Settings, frozen=True, kw_only=True):
    """One receiver. With neither `secret_env` nor `secret_file`, a secret is made and kept beside the data.

    A variable or file may hold two secrets, with white space between: both sign, so that a receiver can change
    from the one to the other whenever it likes.
    """

    name: Name = "webhook"
    url: Annotated[str, Meta(description="http:// or https:// address that alerts are posted to")]
    secret_env: Annotated[str | None, Meta(description="environment variable that holds the signing secret")] = None
    secret_file: Annotated[str | None, Meta(description="file that holds the signing secret")] = None
    timeout_s: Timeout = 15.0
    allow: Allow = ()


class Webhook(Sink):
    """Posts alerts to one address. Redirects are not followed: the signature was meant for this address."""

    parallel = 4

    def __init__(self, settings: WebhookSettings, secrets: Path, clock: Clock | None = None,
                 resolve: Resolve | None = None, *, links: Links = no_links) -> None:
        """Check everything that can be checked without asking the receiver.

        Args:
            settings: of this receiver.
            secrets: folder where a secret is kept that is made here.
            clock: for signatures, and what a receiver says of times.
            resolve: in place of the DNS.
            links: those of an alert's evidence.

        Raises:
            SettingsError: the URL is none or not allowed, or the secret is not there; names the field.
        """
        field = f"webhooks.{settings.name}"
        self._exchange = exchange_of(settings, resolve)
        self.name, self._links = settings.name, links
        self._clock = clock or SystemClock()
        self._signers = [standardwebhooks.Webhook(key) for key in _keys(field, settings, secrets)]

    @override
    def deliver(self, alert: Alert) -> None:
        body = msgspec.json.encode(alert_to_cloudevent(alert, self._links))
        if len(body) > MAX_BODY_BYTES:
            message = f"the alert has {len(body)} bytes, a webhook takes {MAX_BODY_BYTES}"
            raise DeliveryRefused(message)
        answer = self._exchange.post(body, self._headers(alert.id, body))
        if not answer.taken:
            message = f"{self._exchange.shown} {answer}"
            raise REFUSALS.get(answer.status, DeliveryError)(message, wait_s(answer.retry_after, self._clock))

    @override
    def close(self) -> None:
        pass

    def _headers(self, message_id: str, body: bytes) -> dict[str, str]:
        now = datetime.fromtimestamp(self._clock.now_ns() // NS_PER_S, UTC)
        return {
            "content-type": "application/cloudevents+json",
            "user-agent": "lookout",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signer.sign(message_id, now, body.decode()) for signer in self._signers),
        }


def exchange_of(settings: WebhookSettings, resolve: Resolve | None = None) -> Exchange:
    """How the receiver is reached.

    Raises:
        SettingsError: the URL is none, or of an address that is not allowed.
    """
    return Exchange(f"webhooks.{settings.name}", settings.url, timeout_s=settings.timeout_s, allow=settings.allow,
                    resolve=resolve)


def wait_s(retry_after: str | None, clock: Clock) -> float | None:
    """Seconds that a Retry-After header asks for, in either of its forms; None where it says nothing."""
    if retry_after is None:
        return None
    if re.fullmatch(r"\d{1,9}", retry_after.strip()):
        return float(retry_after)
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, until.timestamp() - ns_to_seconds(clock.now_ns()))


def _keys(field: str, settings: WebhookSettings, secrets: Path) -> tuple[bytes, ...]:
    if settings.secret_env is not None and settings.secret_file is not None:
        message = f"{field}: secret_env and secret_file exclude each other"
        raise SettingsError(message)
    if settings.secret_env is not None:
        return secret.from_environment(f"{field}.secret_env", settings.secret_env)
    if settings.secret_file is not None:
        return secret.from_file(f"{field}.secret_file", Path(settings.secret_file))
    return secret.kept(field, secrets / f"{settings.name}.secret")
