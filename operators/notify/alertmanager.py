"""Alerts to Prometheus's Alertmanager, which groups, silences and routes them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta
from typing_extensions import override

from operators.base import Settings
from operators.clock import Clock, SystemClock, rfc3339
from operators.cloudevent import Links, no_links
from operators.errors import DeliveryError
from operators.notify.address import Resolve
from operators.notify.exchange import Exchange
from operators.notify.sink import Name, Sink
from operators.notify.text import title_of
from operators.notify.webhook import Allow, Timeout, wait_s
from operators.records import Alert

PATH = "/api/v2/alerts"


class AlertmanagerSettings(Settings, frozen=True, kw_only=True, tag_field="kind", tag="alertmanager"):
    """One Alertmanager. It resolves an alert by itself when nothing more is said of it: its `resolve_timeout`."""

    name: Name = "alertmanager"
    url: Annotated[str, Meta(description="http:// or https:// address of its web page, with its path prefix")]
    timeout_s: Timeout = 15.0
    allow: Allow = ()


class Alertmanager(Sink):
    """Posts alerts to the API. Alertmanager takes those with the same labels for the same, so no id is among them."""

    parallel = 4

    def __init__(self, settings: AlertmanagerSettings, clock: Clock | None = None,
                 resolve: Resolve | None = None, *, links: Links = no_links) -> None:
        """Check the URL; `links` are those of an alert's evidence.

        Raises:
            SettingsError: it is none, or of an address that is not allowed.
        """
        self.name, self._links = settings.name, links
        self._clock = clock or SystemClock()
        self._exchange = Exchange(f"sinks.{settings.name}", settings.url.rstrip("/") + PATH,
                                  timeout_s=settings.timeout_s, allow=settings.allow, resolve=resolve)

    @override
    def deliver(self, alert: Alert) -> None:
        body = msgspec.json.encode([posted(alert, self._links)])
        answer = self._exchange.post(body, {"content-type": "application/json"})
        if not answer.taken:
            message = f"{self._exchange.shown} {answer}"
            raise DeliveryError(message, wait_s(answer.retry_after, self._clock))

    @override
    def close(self) -> None:
        pass


def posted(alert: Alert, links: Links = no_links) -> dict[str, Any]:
    """The alert as the API takes it."""
    event, evidence = alert.event, links(alert)
    return {
        "labels": {"alertname": event.label, "camera": event.camera, "rule": alert.rule, "severity": alert.severity},
        "annotations": {
            "summary": title_of(alert), "alert_id": alert.id, "event_id": event.id, "incident": alert.incident,
            "peak_score": f"{event.peak_score:.2f}",
            **({} if evidence is None else msgspec.structs.asdict(evidence))},
        "startsAt": rfc3339(event.start_ns),
    }
