"""Every Prometheus metric of Lookout, each once, and the one place that sets them.

A camera's pictures add up: received = processed + the sum of shed over all reasons. A picture that
was decoded counts as processed even where no step of the model fell on it.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from operators.clock import Clock, SystemClock, ns_to_seconds
from operators.notify.alerter import Suppressed
from operators.notify.outbox import Delivery
from operators.records import Alert, Embedding, Event, Segment
from pipeline.watcher import Watcher

WORK_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
JOURNEY_BUCKETS_S = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0, 36000.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for every counter and histogram, which nobody reads


@dataclass(frozen=True)
class MetricInfo:
    """One row of the documentation."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


class Metrics(Watcher):
    """The metrics of one process, in a registry of their own. Any thread may call any method.

    The `on_` methods are what workers, cameras, engines and operators report to.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._registry = CollectorRegistry()
        self._table: list[MetricInfo] = []
        ProcessCollector(registry=self._registry)
        self._declare_cameras()
        self._declare_stages()
        self._declare_alerts()

    def _declare_cameras(self) -> None:
        self._connected = self._gauge("lookout_camera_connected", "1 while packets come from the camera", "camera")
        self._reconnects = self._counter(
            "lookout_reconnects_total", "connections made after the camera's first", "camera")
        self._segments = self._counter("lookout_segments_total", "segments captured", "camera")
        self._media_bytes = self._counter("lookout_segment_bytes_total", "compressed media captured", "camera")
        self._received = self._counter(
            "lookout_frames_received_total", "pictures in the segments that were looked at", "camera")
        self._processed = self._counter("lookout_frames_processed_total", "pictures decoded", "camera")
        self._sampled = self._counter("lookout_frames_sampled_total", "pictures given to the model", "camera")
        self._shed = self._counter(
            "lookout_frames_shed_total", "pictures not decoded, because of overload or damage", "camera", "reason")
        self._decode_errors = self._counter(
            "lookout_decode_errors_total", "packets and segments that did not decode", "camera")
        self._level = self._gauge(
            "lookout_audio_level_dbfs", "sound level, 0 is full scale; absent while there is no sound", "camera")
        self._skew = self._gauge(
            "lookout_audio_video_skew_seconds", "how far sound is ahead of picture; absent unless both are there",
            "camera")

    def _declare_stages(self) -> None:
        self._latency = self._histogram(
            "lookout_stage_latency_seconds", "time a stage took for a batch, commit included", WORK_BUCKETS_S, "stage")
        self._batch = self._histogram("lookout_stage_batch_size", "records in a batch", BATCH_BUCKETS, "stage")
        self._lag = self._gauge("lookout_stage_lag_records", "records that wait for the stage", "stage")
        self._dead = self._counter(
            "lookout_dead_letters_total", "records a stage could not take, by class of error", "stage", "reason")
        self._fallbacks = self._counter(
            "lookout_engine_fallbacks_total", "times an inference engine could not be used and another was", "backend")
        build = self._gauge("lookout_build_info", "always 1; what is running", "version", "python")
        build.labels(_version(), platform.python_version()).set(1)

    def _declare_alerts(self) -> None:
        self._events = self._counter(
            "lookout_events_total", "events opened, updated, closed", "camera", "label", "kind")
        self._to_event = self._histogram(
            "lookout_segment_to_event_seconds", "from the arrival of media to the event it caused", JOURNEY_BUCKETS_S)
        self._alerts = self._counter("lookout_alerts_total", "events that a rule fired for", "rule", "camera", "label")
        self._suppressed = self._counter(
            "lookout_alerts_suppressed_total", "events that ended without an alert of the rule", "rule", "reason")
        self._deliveries = self._counter(
            "lookout_deliveries_total", "attempts to deliver an alert: delivered, retried, dead", "endpoint", "result")
        self._delivery_time = self._histogram(
            "lookout_delivery_duration_seconds", "how long a receiver took to answer", WORK_BUCKETS_S, "endpoint")
        self._to_delivery = self._histogram(
            "lookout_segment_to_delivery_seconds", "from the arrival of media to the delivery of its alert",
            JOURNEY_BUCKETS_S, "endpoint")
        self._pending = self._gauge("lookout_deliveries_pending", "alerts that a receiver does not have yet")

    def table(self) -> Sequence[MetricInfo]:
        """Every metric above, for the documentation."""
        return tuple(self._table)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """All values in the text format that an Accept header asks for, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def on_connection(self, camera: str, connected: bool) -> None:
        """The camera's stream came or went."""
        self._connected.labels(camera).set(connected)
        self._reconnects.labels(camera)  # shows as 0 before the first

    def on_reconnect(self, camera: str) -> None:
        """A new session of the camera began."""
        self._reconnects.labels(camera).inc()

    def on_batch(self, stage: str, records: int, seconds: float) -> None:
        """A stage took `seconds` for a batch of `records`."""
        self._latency.labels(stage).observe(seconds)
        self._batch.labels(stage).observe(records)

    def on_lag(self, stage: str, records: int) -> None:
        """That many records wait for the stage."""
        self._lag.labels(stage).set(records)

    def on_dead(self, stage: str, reason: str) -> None:
        """A record went to the stage's dead-letter topic."""
        self._dead.labels(stage, reason).inc()

    def on_fallback(self, backend: str) -> None:
        """An inference engine could not be used."""
        self._fallbacks.labels(backend).inc()

    def on_output(self, stage: str, record: Segment | Embedding | Event | Alert) -> None:
        """A stage gave out a record, and it is committed."""
        match record:
            case Segment():
                self._segments.labels(record.camera).inc()
                self._media_bytes.labels(record.camera).inc(len(record.media))
            case Embedding():
                self._on_embedding(record)
            case Event():
                self._events.labels(record.camera, record.label, record.kind).inc()
                self._observe_journey(self._to_event, record, self._clock.now_ns())
            case Alert():
                self._alerts.labels(record.rule, record.event.camera, record.event.label).inc()

    def on_suppressed(self, suppressed: Suppressed) -> None:
        """An event ended without an alert."""
        self._suppressed.labels(suppressed.rule, suppressed.reason).inc()

    def on_delivery(self, delivery: Delivery) -> None:
        """An attempt to deliver an alert ended."""
        self._deliveries.labels(delivery.sink, delivery.result).inc()
        self._delivery_time.labels(delivery.sink).observe(ns_to_seconds(delivery.took_ns))
        if delivery.result == "delivered":
            self._observe_journey(self._to_delivery.labels(delivery.sink), delivery.alert.event, delivery.ended_ns)

    def on_pending(self, deliveries: int) -> None:
        """That many deliveries are not made yet."""
        self._pending.set(deliveries)

    def _on_embedding(self, embedding: Embedding) -> None:
        camera, health = embedding.camera, embedding.health
        self._received.labels(camera).inc(health.frames)
        self._processed.labels(camera).inc(health.frames - sum(health.shed.values()))
        self._sampled.labels(camera).inc(health.sampled)
        self._decode_errors.labels(camera).inc(health.decode_errors)
        for reason, frames in health.shed.items():
            self._shed.labels(camera, reason).inc(frames)
        skew_s = None if health.skew_ns is None else ns_to_seconds(health.skew_ns)
        for gauge, value in ((self._level, health.level_dbfs), (self._skew, skew_s)):
            if value is None:
                gauge.remove(camera)
            else:
                gauge.labels(camera).set(value)

    @staticmethod
    def _observe_journey(histogram: Histogram, event: Event, ended_ns: int) -> None:
        if event.received_ns:
            histogram.observe(max(0.0, ns_to_seconds(ended_ns - event.received_ns)))

    def _counter(self, name: str, help_: str, *labels: str) -> Counter:
        self._table.append(MetricInfo(name, "counter", labels, help_))
        return Counter(name, help_, labels, registry=self._registry)

    def _gauge(self, name: str, help_: str, *labels: str) -> Gauge:
        self._table.append(MetricInfo(name, "gauge", labels, help_))
        return Gauge(name, help_, labels, registry=self._registry)

    def _histogram(self, name: str, help_: str, buckets: Iterable[float], *labels: str) -> Histogram:
        self._table.append(MetricInfo(name, "histogram", labels, help_))
        return Histogram(name, help_, labels, registry=self._registry, buckets=tuple(buckets))


def _version() -> str:
    try:
        return version("lookout")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"
