"""Every Prometheus metric of Lookout, each once, and the one place that sets them."""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import get_args

from typing_extensions import override

from operators.backends.load import ENGINES
from operators.capture.camera import CameraStatus
from operators.clock import Clock, SystemClock, ns_to_seconds
from operators.notify.outbox import Delivery, Result
from operators.records import Alert, Embedding, Event, Segment, Suppressed
from pipeline.metrics.cameras import CameraMetrics
from pipeline.metrics.evidence import EvidenceMetrics, Making
from pipeline.metrics.series import MetricInfo, Series
from pipeline.metrics.stages import JOURNEY_BUCKETS_S, WORK_BUCKETS_S, StageMetrics
from pipeline.watcher import TravellingRecord

HEALTH = "health"  # the stage that tells what is wrong with cameras
NO_RULE = "none"  # an event that no rule is about; to Prometheus an empty label is none


class Metrics(StageMetrics):
    """The metrics of one process, in a registry of their own. Any thread may call any method.

    The `on_` methods are what workers, cameras, engines and operators report to.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._series = Series()
        super().__init__(self._series)
        self._cameras = CameraMetrics(self._series)
        self._declare_engines(self._series)
        self._declare_alerts(self._series)
        self._evidence = EvidenceMetrics(self._series)

    def _declare_engines(self, series: Series) -> None:
        self._fallbacks = series.counter(
            "lookout_engine_fallbacks_total", "times an inference engine could not be used and another was", "backend")
        self._engines = series.gauge(
            "lookout_engine_info", "always 1; which engine computes a graph of the model, and how exactly", "graph",
            "backend", "precision")
        build = series.gauge("lookout_build_info", "always 1; what is running", "version", "python")
        build.labels(_version(), platform.python_version()).set(1)

    def _declare_alerts(self, series: Series) -> None:
        self._events = series.counter(
            "lookout_events_total", "events opened, updated, closed", "camera", "label", "kind")
        self._to_event = series.histogram(
            "lookout_segment_to_event_seconds", "from the arrival of media to the event it caused", JOURNEY_BUCKETS_S)
        self._alerts = series.counter(
            "lookout_alerts_total", "events that a rule fired for", "rule", "camera", "label")
        self._suppressed = series.counter(
            "lookout_alerts_suppressed_total", "events that ended without an alert of the rule", "rule", "reason")
        self._escalations = series.counter(
            "lookout_alert_escalations_total", "incidents told a second time because they lasted", "rule")
        self._deliveries = series.counter(
            "lookout_deliveries_total", "attempts to deliver an alert: delivered, retried, dead", "endpoint", "result")
        self._delivery_time = series.histogram(
            "lookout_delivery_duration_seconds", "how long a receiver took to answer", WORK_BUCKETS_S, "endpoint")
        self._to_delivery = series.histogram(
            "lookout_segment_to_delivery_seconds", "from the arrival of media to the delivery of its alert",
            JOURNEY_BUCKETS_S, "endpoint")
        self._pending = series.gauge("lookout_deliveries_pending", "alerts that a receiver does not have yet")

    def table(self) -> Sequence[MetricInfo]:
        """Every metric, for the documentation."""
        return tuple(self._series.table)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """All values in the text format that an Accept header asks for, and its content type."""
        return self._series.exposition(accept)

    def expect(self, *, stages: Iterable[str] = (), endpoints: Iterable[str] = ()) -> None:
        """Show zeros for what runs here, so that the first dead letter is an increase and not a new series."""
        for stage in stages:
            self.expect_stage(stage)
        for endpoint in endpoints:
            for result in get_args(Result):
                self._deliveries.labels(endpoint, result)

    def on_cameras(self, statuses: Mapping[str, CameraStatus]) -> None:
        """Every camera captured in this process, as it is now; called every now and then, by one thread."""
        self._cameras.on_statuses(statuses, self._clock.now_ns())

    @override
    def on_spool(self, camera: str, size_bytes: int) -> None:
        """So much of the camera's media waits on disk for the log."""
        self._cameras.on_spool(camera, size_bytes)

    @override
    def on_unsent(self, camera: str, reason: str, segments: int) -> None:
        """So many of the camera's segments were given up before they came into the log."""
        self._cameras.on_unsent(camera, reason, segments)

    def on_engine(self, graph: str, backend: str, precision: str) -> None:
        """An inference engine has loaded one of the model's graphs."""
        self._engines.labels(graph, backend, precision).set(1)
        for name, *_ in ENGINES:
            self._fallbacks.labels(name)  # shows as 0 before the first

    def on_fallback(self, backend: str) -> None:
        """An inference engine could not be used."""
        self._fallbacks.labels(backend).inc()

    @override
    def on_output(self, stage: str, record: TravellingRecord) -> None:
        """A stage gave out a record, and it is committed."""
        match record:
            case Segment():
                self._cameras.on_segment(record)
            case Embedding():
                self._cameras.on_embedding(record)
            case Event():
                self._events.labels(record.camera, record.label, record.kind).inc()
                if not self._cameras.on_event(record):  # no media causes what is wrong with a camera
                    self._observe_journey(self._to_event.observe, record, self._clock.now_ns())
            case Alert(escalated=True):
                self._escalations.labels(record.rule).inc()
            case Alert():
                self._alerts.labels(record.rule, record.event.camera, record.event.label).inc()
            case Suppressed():
                self._suppressed.labels(record.rule or NO_RULE, record.reason).inc()

    @override
    def on_assigned(self, stage: str, partitions: Collection[int]) -> None:
        super().on_assigned(stage, partitions)
        if stage == HEALTH:
            self._cameras.forget_conditions()

    def on_delivery(self, delivery: Delivery) -> None:
        """An attempt to deliver an alert ended."""
        self._deliveries.labels(delivery.sink, delivery.result).inc()
        self._delivery_time.labels(delivery.sink).observe(ns_to_seconds(delivery.took_ns))
        if delivery.result == "delivered":
            observe = self._to_delivery.labels(delivery.sink).observe
            self._observe_journey(observe, delivery.alert.event, delivery.ended_ns)

    def expect_evidence(self, parts: Iterable[str], reasons: Collection[str]) -> None:
        """Show zeros where evidence is made."""
        self._evidence.expect(parts, reasons)

    def on_making(self, making: Making) -> None:
        """Making the evidence of an event ended."""
        self._evidence.on_making(making)

    def on_evidence(self, pending: int, kept_bytes: int) -> None:
        """So many events wait for their evidence to be made, and so much is kept."""
        self._evidence.on_evidence(pending, kept_bytes)

    def on_pending(self, deliveries: int) -> None:
        """That many deliveries are not made yet."""
        self._pending.set(deliveries)

    @staticmethod
    def _observe_journey(observe: Callable[[float], None], event: Event, ended_ns: int) -> None:
        if event.received_ns:
            observe(max(0.0, ns_to_seconds(ended_ns - event.received_ns)))


def _version() -> str:
    try:
        return version("lookout")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"
