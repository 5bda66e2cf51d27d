"""Following a camera's media through the stages: the interface, which by itself follows nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated

from msgspec import Meta

from operators.base import Settings
from operators.notify.outbox import Delivery
from operators.records import Segment
from pipeline.logs import about
from pipeline.topics.base import Message
from pipeline.watcher import TravellingRecord

Headers = Mapping[str, bytes]


class TracesSettings(Settings, frozen=True, kw_only=True):
    """Whether segments are followed, and where to. Headers that the collector wants: OTEL_EXPORTER_OTLP_HEADERS."""

    endpoint: Annotated[Annotated[str, Meta(pattern="^https?://[^\\s@]+$")] | None, Meta(description=(
        "where spans are posted to by OTLP, such as http://collector:4318/v1/traces; null: nowhere"))] = None
    ratio: Annotated[float, Meta(gt=0, le=1, description="the share of segments that is followed")] = 1.0


class Batch:
    """The records that a stage has in hand."""

    def headers(self, output: TravellingRecord) -> Headers:
        """What goes with a record that was made of one of them, so that the next stage can go on."""
        return {}

    def about(self, message: Message) -> Mapping[str, str]:
        """What a log line says of a record beside its camera."""
        return {}


class Tracing:
    """Told by every stage what it does. Any thread may call any method; none waits for anything."""

    @contextmanager
    def capture(self, segment: Segment) -> Iterator[Headers]:
        """Around writing a segment down; what is given goes with it. Meanwhile the thread's log lines name it."""
        with about(segment=f"{segment.session}/{segment.sequence}"):
            yield {}

    @contextmanager
    def batch(self, stage: str, messages: Sequence[Message]) -> Iterator[Batch]:
        """Around processing the messages and committing what came of it."""
        yield Batch()

    def on_delivery(self, delivery: Delivery) -> None:
        """An attempt to deliver an alert ended."""

    def close(self) -> None:
        """Send what is not sent yet, for a few seconds at most."""


UNTRACED = Tracing()
