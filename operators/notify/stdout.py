"""Alerts on standard output, as lines of CloudEvents JSON."""

from __future__ import annotations

import sys
from typing import BinaryIO

import msgspec
from typing_extensions import override

from operators.base import Settings
from operators.cloudevent import Links, alert_to_cloudevent, no_links
from operators.errors import DeliveryError
from operators.notify.sink import Name, Sink
from operators.records import Alert


class StdoutSettings(Settings, frozen=True, kw_only=True, tag_field="kind", tag="stdout"):
    """Whoever reads this process's standard output."""

    name: Name = "stdout"


class Stdout(Sink):
    """Writes a line for every alert."""

    def __init__(self, settings: StdoutSettings, out: BinaryIO | None = None, *,
                 links: Links = no_links) -> None:
        """Write to `out`, or to standard output; `links` are those of an alert's evidence."""
        self.name, self._links = settings.name, links
        self._out = out or sys.stdout.buffer

    @override
    def deliver(self, alert: Alert) -> None:
        try:
            self._out.write(msgspec.json.encode(alert_to_cloudevent(alert, self._links)) + b"\n")
            self._out.flush()
        except (OSError, ValueError) as error:  # who read it is gone, or it is closed
            message = f"standard output: {error}"
            raise DeliveryError(message) from error

    @override
    def close(self) -> None:
        pass
