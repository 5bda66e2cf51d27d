"""Families of Prometheus series that cannot grow without bound, whatever the records name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics import MetricWrapperBase
from typing_extensions import override

MAX_LABEL_SETS = 10_000  # in one family; a thousand cameras with ten labels or reasons each
OTHER = "other"  # every label of what comes beyond, so that its sum is still right

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for every counter and histogram, which nobody reads


@dataclass(frozen=True)
class MetricInfo:
    """One row of the documentation."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


class _Bounded(MetricWrapperBase):
    """A family that takes no more label sets than it may."""

    @override
    def labels(self, *values: object) -> Self:  # type: ignore[override]  # by position alone
        names = tuple(map(str, values))
        full = names not in self._metrics and len(self._metrics) >= MAX_LABEL_SETS
        return super().labels(*([OTHER] * len(names) if full else names))


class _Counter(_Bounded, Counter):
    pass


class _Gauge(_Bounded, Gauge):
    pass


class _Histogram(_Bounded, Histogram):
    pass


class Series:
    """A registry of its own; `table` says what is in it. Any thread may use the families."""

    def __init__(self) -> None:
        self.table: list[MetricInfo] = []
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)

    def counter(self, name: str, help_: str, *labels: str) -> Counter:
        """Declare what only grows."""
        self._note(name, "counter", labels, help_)
        return _Counter(name, help_, labels, registry=self._registry)

    def gauge(self, name: str, help_: str, *labels: str) -> Gauge:
        """Declare what goes up and down."""
        self._note(name, "gauge", labels, help_)
        return _Gauge(name, help_, labels, registry=self._registry)

    def histogram(self, name: str, help_: str, buckets: Iterable[float], *labels: str) -> Histogram:
        """Declare how something is spread."""
        self._note(name, "histogram", labels, help_)
        return _Histogram(name, help_, labels, registry=self._registry, buckets=tuple(buckets))

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All values in the text format that an Accept header asks for, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def _note(self, name: str, type_: str, labels: tuple[str, ...], help_: str) -> None:
        self.table.append(MetricInfo(name, type_, labels, help_))
