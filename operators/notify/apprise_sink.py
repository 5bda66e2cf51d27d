"""Alerts to chat, mail, SMS or push, by Apprise: one URL names the service and who is told."""

from __future__ import annotations

import logging
import os
from typing import Annotated

from msgspec import Meta
from typing_extensions import override

from operators.base import Settings
from operators.cloudevent import Links, no_links
from operators.errors import DeliveryError, SettingsError
from operators.notify.sink import Name, Sink
from operators.notify.text import body_of, title_of
from operators.records import Alert, Severity

TYPES: dict[Severity, str] = {"info": "info", "warning": "warning", "critical": "failure"}  # in Apprise's words

logging.getLogger("apprise").setLevel(logging.WARNING)  # it would log URLs, and those hold passwords


class AppriseSettings(Settings, frozen=True, kw_only=True, tag_field="kind", tag="apprise"):
    """One service. Its URL holds a password or token, so it comes from the environment."""

    name: Name
    url_env: Annotated[str, Meta(description=(
        "environment variable with an Apprise URL, such as mailtos://… or slack://…; see its documentation"))]


class AppriseSink(Sink):
    """Tells one service. Apprise says no more than whether it was told, so every failure is tried again."""

    def __init__(self, settings: AppriseSettings, *, links: Links = no_links) -> None:
        """Read the URL; `links` are those of an alert's evidence.

        Raises:
            SettingsError: Apprise is not installed, or the variable holds no URL that it knows.
        """
        try:
            import apprise  # noqa: PLC0415 - an extra
        except ImportError:
            message = f"sinks.{settings.name}: needs pip install 'lookout[apprise]'"
            raise SettingsError(message) from None
        self.name, self._links = settings.name, links
        self._services = apprise.Apprise()
        url = os.environ.get(settings.url_env)
        if url is None or not self._services.add(url):
            what = "the environment has no" if url is None else "Apprise knows no service for what is in"
            message = f"sinks.{settings.name}.url_env: {what} {settings.url_env}"
            raise SettingsError(message)

    @override
    def deliver(self, alert: Alert) -> None:
        if not self._services.notify(title=title_of(alert), body=body_of(alert, self._links),
                                     notify_type=TYPES[alert.severity]):
            message = "Apprise could not tell its service"
            raise DeliveryError(message)

    @override
    def close(self) -> None:
        pass
