"""Who is told of alerts: the receivers that the settings name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from operators.clock import Clock
from operators.cloudevent import Links, no_links
from operators.errors import SettingsError
from operators.notify.alertmanager import Alertmanager, AlertmanagerSettings
from operators.notify.apprise_sink import AppriseSettings, AppriseSink
from operators.notify.sink import Sink
from operators.notify.stdout import Stdout, StdoutSettings
from operators.notify.webhook import Webhook, exchange_of
from pipeline.settings import LookoutSettings
from pipeline.topic_sink import TopicSettings, TopicSink
from pipeline.topics.kafka_settings import KafkaSettings


def sink_names(settings: LookoutSettings) -> list[str]:
    """The names of all receivers.

    Raises:
        SettingsError: two have the same.
    """
    names = [sink.name for sink in (*settings.webhooks, *settings.sinks)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        message = f"webhooks and sinks: two have the name {twice[0]!r}"
        raise SettingsError(message)
    return names


def check_sinks(settings: LookoutSettings) -> list[str]:
    """Refuse receivers that cannot be, without writing anything; returns their names.

    Raises:
        SettingsError: two share a name, a URL is none or not allowed, or what a sink needs is not there.
    """
    for webhook in settings.webhooks:
        exchange_of(webhook)
    for sink in settings.sinks:
        if isinstance(sink, TopicSettings):
            _kafka(settings, sink)
        else:
            _MADE[type(sink)](sink).close()
    return sink_names(settings)


def made_sinks(settings: LookoutSettings, data: Path, clock: Clock, links: Links = no_links) -> list[Sink]:
    """All receivers.

    Args:
        settings: the whole tree.
        data: folder where secrets are kept that are made here.
        clock: that of the process.
        links: those of an alert's evidence.

    Raises:
        SettingsError: one cannot be.
    """
    made: list[Sink] = [Webhook(webhook, data / "secrets", clock, links=links) for webhook in settings.webhooks]
    for sink in settings.sinks:
        made.append(_topic(settings, sink, links) if isinstance(sink, TopicSettings)
                    else _MADE[type(sink)](sink, links=links))
    return made


_MADE: dict[type, Callable[..., Sink]] = {
    AlertmanagerSettings: Alertmanager,
    AppriseSettings: AppriseSink,
    StdoutSettings: Stdout,
}


def _topic(settings: LookoutSettings, sink: TopicSettings, links: Links) -> Sink:
    from pipeline.topics.kafka_log import KafkaLog  # noqa: PLC0415 - a second that only this kind needs

    return TopicSink(sink, KafkaLog(_kafka(settings, sink)), links=links)


def _kafka(settings: LookoutSettings, sink: TopicSettings) -> KafkaSettings:
    cluster = sink.kafka or settings.kafka
    if cluster is None:
        message = f"sinks.{sink.name}.kafka: which cluster? there is no `kafka:` either"
        raise SettingsError(message)
    return cluster
