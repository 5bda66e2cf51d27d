"""Alerts to a topic of Kafka, for whoever reads it: CloudEvents in structured mode, keyed by camera."""

from __future__ import annotations

import secrets
from typing import Annotated

import msgspec
from msgspec import Meta
from typing_extensions import override

from operators.base import Settings
from operators.cloudevent import Links, alert_to_cloudevent, no_links
from operators.errors import DeliveryError, DeliveryRefused, LogError, RecordTooLarge
from operators.notify.sink import Name, Sink
from operators.records import Alert
from pipeline.topics.base import Log
from pipeline.topics.kafka_settings import KafkaSettings

HEADERS = {"content-type": b"application/cloudevents+json; charset=UTF-8"}  # as CloudEvents' Kafka binding says


class TopicSettings(Settings, frozen=True, kw_only=True, tag_field="kind", tag="topic"):
    """A topic that is there already."""

    name: Name = "topic"
    topic: Annotated[str, Meta(pattern="^[A-Za-z0-9._-]{1,200}$", description="after the cluster's prefix")]
    kafka: Annotated[KafkaSettings | None, Meta(description="its cluster; null: the one under `kafka:`")] = None


class TopicSink(Sink):
    """Appends to a topic of a log."""

    def __init__(self, settings: TopicSettings, log: Log, *, links: Links = no_links) -> None:
        """Write through `log`, which is closed by `close`; `links` are those of an alert's evidence."""
        self.name, self._links = settings.name, links
        self._topic, self._log = settings.topic, log
        self._writer = f"sink-{settings.name}-{secrets.token_hex(8)}"

    @override
    def deliver(self, alert: Alert) -> None:
        try:
            with self._log.transaction(self._writer) as transaction:
                body = msgspec.json.encode(alert_to_cloudevent(alert, self._links))
                transaction.append(self._topic, alert.event.camera, body, HEADERS)
        except RecordTooLarge as error:
            raise DeliveryRefused(str(error)) from error
        except LogError as error:
            raise DeliveryError(str(error)) from error

    @override
    def close(self) -> None:
        self._log.close()
