"""Where alerts go: the interface every kind of receiver implements, and what may be named."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated

from msgspec import Meta

from operators.records import Alert

Name = Annotated[str, Meta(pattern="^[A-Za-z0-9_.-]{1,64}$", description=(
    "letters, digits, '_', '.' and '-'; it names metrics and files"))]


class Sink(ABC):
    """One receiver of alerts. The outbox gives it one alert at a time, from a thread of its own."""

    name: str

    @abstractmethod
    def deliver(self, alert: Alert) -> None:
        """Hand the alert over; returning means that the receiver has it. May block up to a timeout of its own.

        Raises:
            DeliveryError: not now; the outbox tries again, and leaves the receiver alone for `retry_after_s`.
            DeliveryRefused: not ever; the outbox gives the alert up.
        """

    @abstractmethod
    def close(self) -> None:
        """Free what is held. Called once, by the thread that delivers, after its last delivery."""
