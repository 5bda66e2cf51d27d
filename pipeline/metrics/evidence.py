"""The metrics of evidence: what was made of it and what could not be, how long that took, and how much is kept."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.metrics.series import Series

MAKING_BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)


@dataclass(frozen=True)
class Making:
    """How making the evidence of one event ended."""

    made: Sequence[str]  # parts: clip, snapshot, why
    failed: Mapping[str, str]  # part -> reason
    took_s: float


class EvidenceMetrics:
    """Declares and sets them; any thread may call any method."""

    def __init__(self, series: Series) -> None:
        self._made = series.counter(
            "lookout_evidence_made_total", "parts of an event's evidence that are kept: clip, snapshot, why", "part")
        self._failed = series.counter(
            "lookout_evidence_failed_total", "parts that could not be made", "part", "reason")
        self._took = series.histogram(
            "lookout_evidence_duration_seconds", "how long making and storing the evidence of an event took",
            MAKING_BUCKETS_S)
        self._pending = series.gauge("lookout_evidence_pending", "events whose evidence is still to be made")
        self._kept = series.gauge("lookout_evidence_kept_bytes", "size of all evidence that is kept")

    def expect(self, parts: Iterable[str], reasons: Collection[str]) -> None:
        """Show zeros where evidence is made."""
        for part in parts:
            self._made.labels(part)
            for reason in reasons:
                self._failed.labels(part, reason)

    def on_making(self, making: Making) -> None:
        """Making the evidence of an event ended."""
        for part in making.made:
            self._made.labels(part).inc()
        for part, reason in making.failed.items():
            self._failed.labels(part, reason).inc()
        if making.made:
            self._took.observe(making.took_s)

    def on_evidence(self, pending: int, kept_bytes: int) -> None:
        """So many events wait for their evidence to be made, and so much is kept."""
        self._pending.set(pending)
        self._kept.set(kept_bytes)
