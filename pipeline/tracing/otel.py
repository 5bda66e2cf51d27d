"""Spans by OpenTelemetry: one for every segment in every stage, and one for every attempt to deliver an alert.

    capture ──► perceive ──► fuse ──► notify ──► deliver ──► delivery
    from the arrival of the last packet; every further one from when its stage polled until it has committed

The context travels in the records' headers as W3C's `traceparent`. Which message a record was made of is told
by when the media had arrived: the one thing that a segment, its embedding, events and alerts have in common, so
that an event finds the embedding that caused it also when it comes later, by a camera's silence.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, format_span_id, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from typing_extensions import override

from operators.clock import Clock
from operators.notify.outbox import Delivery
from operators.records import Alert, Segment, Suppressed
from pipeline import codec
from pipeline.logs import about
from pipeline.topics.base import Message
from pipeline.tracing.base import Batch, Headers, TracesSettings, Tracing
from pipeline.watcher import TravellingRecord

REMEMBERED = 10_000  # spans that may still be the parents of others
SEND_TIMEOUT_S = 5.0
CAPTURE, DELIVER, DELIVERY = "capture", "deliver", "delivery"

_w3c = TraceContextTextMapPropagator()
_Key = tuple[str, str, int]  # stage, camera, when the media had arrived


class OtelTracing(Tracing):
    """Exports spans from a thread of its own; what it cannot get rid of is dropped."""

    def __init__(self, settings: TracesSettings, clock: Clock, exporter: SpanExporter | None = None) -> None:
        """Begin; `exporter` in place of OTLP to the endpoint of the settings."""
        self._clock = clock
        exporter = exporter or OTLPSpanExporter(endpoint=settings.endpoint, timeout=SEND_TIMEOUT_S)
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "lookout"}), sampler=ParentBasedTraceIdRatio(settings.ratio),
            shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("lookout")
        self._lock = threading.Lock()
        self._recent: OrderedDict[_Key, Span] = OrderedDict()

    @override
    @contextmanager
    def capture(self, segment: Segment) -> Iterator[Headers]:
        span = self.begin(CAPTURE, segment.camera, segment.received_ns, None, segment.received_ns, {
            "lookout.session": segment.session, "lookout.sequence": segment.sequence})
        try:
            with super().capture(segment), about(**ids(span)):
                yield headers_of(span)
        except BaseException as error:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
        finally:
            span.end(self._clock.now_ns())

    @override
    @contextmanager
    def batch(self, stage: str, messages: Sequence[Message]) -> Iterator[Batch]:
        batch = OtelBatch(self, stage, messages, self._clock.now_ns())
        try:
            yield batch
        except BaseException as error:
            batch.end(self._clock.now_ns(), Status(StatusCode.ERROR, type(error).__name__))
            raise
        batch.end(self._clock.now_ns())

    @override
    def on_delivery(self, delivery: Delivery) -> None:
        event = delivery.alert.event
        parent = self.recall(DELIVER, event.camera, event.received_ns)
        span = self.begin(DELIVERY, event.camera, event.received_ns, set_span_in_context(parent) if parent else None,
                          delivery.ended_ns - delivery.took_ns, {
                              "lookout.endpoint": delivery.sink, "lookout.result": delivery.result,
                              "lookout.alert": delivery.alert.id}, SpanKind.CLIENT)
        if delivery.result != "delivered":
            span.set_status(Status(StatusCode.ERROR, delivery.result))
        span.end(delivery.ended_ns)

    @override
    def close(self) -> None:
        self._provider.shutdown()

    def begin(self, stage: str, camera: str, arrived_ns: int, parent: Context | None, start_ns: int,
              attributes: Mapping[str, str | int], kind: SpanKind = SpanKind.CONSUMER) -> Span:
        """A span that may become the parent of others."""
        span = self._tracer.start_span(stage, parent or Context(), kind, {
            "lookout.camera": camera, "lookout.stage": stage, **attributes}, start_time=start_ns)
        with self._lock:
            self._recent[stage, camera, arrived_ns] = span
            if len(self._recent) > REMEMBERED:
                self._recent.popitem(last=False)
        return span

    def recall(self, stage: str, camera: str, arrived_ns: int) -> Span | None:
        """The newest span of a stage over media of a camera that had arrived at a time."""
        with self._lock:
            return self._recent.get((stage, camera, arrived_ns))


class OtelBatch(Batch):
    """A span for every message."""

    def __init__(self, tracing: OtelTracing, stage: str, messages: Sequence[Message], now_ns: int) -> None:
        self._tracing, self._stage = tracing, stage
        self._spans: dict[tuple[str, int, int], Span] = {}
        for message in messages:
            carrier = {name: message.headers[name].decode(errors="replace") for name in _w3c.fields
                       if name in message.headers}
            attributes: dict[str, str | int] = {
                "messaging.destination.name": message.topic, "messaging.destination.partition.id": message.partition,
                "messaging.kafka.offset": message.offset, "messaging.batch.message_count": len(messages)}
            span = tracing.begin(stage, message.key, codec.arrived_ns(message.headers),
                                 _w3c.extract(carrier, Context()), now_ns, attributes)
            self._spans[message.topic, message.partition, message.offset] = span

    @override
    def headers(self, output: TravellingRecord) -> Headers:
        camera = output.event.camera if isinstance(output, Alert | Suppressed) else output.camera
        span = self._tracing.recall(self._stage, camera, codec.received_ns(output))
        return headers_of(span) if span else {}

    @override
    def about(self, message: Message) -> Mapping[str, str]:
        span = self._spans.get((message.topic, message.partition, message.offset))
        return ids(span) if span else {}

    def end(self, now_ns: int, status: Status | None = None) -> None:
        """The messages are dealt with."""
        for span in self._spans.values():
            if status:
                span.set_status(status)
            span.end(now_ns)


def headers_of(span: Span) -> Headers:
    """What lets another stage go on from a span."""
    carrier: dict[str, str] = {}
    _w3c.inject(carrier, set_span_in_context(span, Context()))
    return {name: value.encode() for name, value in carrier.items()}


def ids(span: Span) -> Mapping[str, str]:
    """What a log line says of a span."""
    context = span.get_span_context()
    return {"trace_id": format_trace_id(context.trace_id), "span_id": format_span_id(context.span_id)}
