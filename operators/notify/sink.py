"""Where alerts go: the interface every kind of receiver implements, and what may be named."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated

from msgspec import Meta

from operators.records import Alert

Name = Annotated[str, Meta(pattern="^[A-Za-z0-9_.-]{1,64}$", description=(
    "letters, digits, '_', '.' and '-'; it names metrics and files"))]


class Sink(ABC):
    """One receiver of alerts. The outbox gives it one alert of a camera at a time, from threads of its own."""

    name: str
    parallel = 1  # alerts of so many cameras at once

    @abstractmethod
    def deliver(self, alert: Alert) -> None:
        """Hand the alert over; returning means that the receiver has it. May block up to a timeout of its own.

        Raises:
            DeliveryError: not now; the outbox tries again, and leaves the receiver alone for `retry_after_s`.
            DeliveryRefused: not ever; the outbox gives the alert up.
            ReceiverGone: and no other either; the outbox disables the receiver.
        """

    @abstractmethod
    def close(self) -> None:
        """Free what is held. Called once, after the last delivery."""
