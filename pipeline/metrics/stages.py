"""The metrics of stages: what waits for each, how long its work takes, and what became of every record.

A stage's records add up: received = processed + the sum of shed over all reasons + dead. All four count
records whose batch is committed, so that none is counted twice however often a batch has to be tried.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from typing_extensions import override

from operators.errors import Fenced, LogUnavailable, every_kind
from pipeline.metrics.series import Series
from pipeline.watcher import Account, Watcher

WORK_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
WAIT_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
JOURNEY_BUCKETS_S = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0, 36000.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
RETRY_REASONS = (Fenced.__name__, LogUnavailable.__name__)
SHED_REASONS = ("overload",)
UNEXPECTED = "unexpected"  # any error that Lookout does not raise on purpose
DEAD_REASONS = (*(kind.__name__ for kind in every_kind()), UNEXPECTED)


class StageMetrics(Watcher):
    """Declares and sets them; any thread may call any method."""

    def __init__(self, series: Series) -> None:
        self._partitions: dict[tuple[str, str], set[int]] = {}  # of which the lag is shown
        self._declare_records(series)
        self._declare_work(series)
        self._declare_place(series)

    def _declare_records(self, series: Series) -> None:
        self._received = series.counter("lookout_stage_records_received_total", "records a stage took", "stage")
        self._processed = series.counter(
            "lookout_stage_records_processed_total", "records of which a stage made what there was to make", "stage")
        self._shed = series.counter(
            "lookout_stage_records_shed_total", "records of live cameras that were not looked at", "stage", "reason")
        self._dead = series.counter(
            "lookout_stage_records_dead_total", "records that became dead letters instead", "stage")
        self._letters = series.counter(
            "lookout_dead_letters_total", "records a stage could not take or gave up later, by class of error",
            "stage", "reason")

    def _declare_work(self, series: Series) -> None:
        self._latency = series.histogram(
            "lookout_stage_latency_seconds", "time a stage took for a batch, commit included", WORK_BUCKETS_S, "stage")
        self._batch = series.histogram("lookout_stage_batch_size", "records in a batch", BATCH_BUCKETS, "stage")
        self._wait = series.histogram(
            "lookout_stage_wait_seconds", "how long the oldest record of a batch lay in the log", WAIT_BUCKETS_S,
            "stage")
        self._age = series.histogram(
            "lookout_stage_age_seconds", "from the arrival of a batch's oldest media to the commit of what the stage "
            "made of it", JOURNEY_BUCKETS_S, "stage")
        self._transaction = series.histogram(
            "lookout_transaction_seconds", "time that committing took", WORK_BUCKETS_S, "stage")
        self._retries = series.counter(
            "lookout_stage_retries_total", "times a stage began again from what was committed", "stage", "reason")

    def _declare_place(self, series: Series) -> None:
        self._lag = series.gauge(
            "lookout_stage_lag_records", "records that wait for this process's part of the stage", "stage")
        self._partition_lag = series.gauge(
            "lookout_consumer_lag_records", "records that wait for the stage; told by whoever has the partition",
            "stage", "topic", "partition")
        self._assigned = series.gauge(
            "lookout_partitions_assigned", "partitions that are this process's part of the stage", "stage")
        self._rebalances = series.counter(
            "lookout_rebalances_total", "times that partitions of this process came or went", "stage")

    def expect_stage(self, stage: str) -> None:
        """Show zeros for a stage that runs here."""
        for family in (self._received, self._processed, self._dead, self._rebalances):
            family.labels(stage)
        for reason in SHED_REASONS:
            self._shed.labels(stage, reason)
        for reason in RETRY_REASONS:
            self._retries.labels(stage, reason)
        for reason in DEAD_REASONS:
            self._letters.labels(stage, reason)

    @override
    def on_batch(self, stage: str, records: int, seconds: float) -> None:
        self._latency.labels(stage).observe(seconds)
        self._batch.labels(stage).observe(records)

    @override
    def on_account(self, stage: str, account: Account) -> None:
        self._received.labels(stage).inc(account.received)
        self._processed.labels(stage).inc(account.processed)
        self._dead.labels(stage).inc(account.dead)
        for reason, records in account.shed.items():
            self._shed.labels(stage, reason).inc(records)
        self._wait.labels(stage).observe(account.waited_s)
        if account.age_s is not None:
            self._age.labels(stage).observe(account.age_s)

    @override
    def on_dead(self, stage: str, reason: str) -> None:
        self._letters.labels(stage, reason if reason in DEAD_REASONS else UNEXPECTED).inc()

    @override
    def on_transaction(self, stage: str, seconds: float) -> None:
        self._transaction.labels(stage).observe(seconds)

    @override
    def on_retry(self, stage: str, reason: str) -> None:
        self._retries.labels(stage, reason).inc()

    @override
    def on_assigned(self, stage: str, partitions: Collection[int]) -> None:
        self._assigned.labels(stage).set(len(partitions))
        self._rebalances.labels(stage).inc()

    @override
    def on_lag(self, stage: str, topic: str, records: Mapping[int, int]) -> None:
        self._lag.labels(stage).set(sum(records.values()))
        before = self._partitions.get((stage, topic), set())
        for partition in before - records.keys():
            self._partition_lag.remove(stage, topic, str(partition))
        for partition, waiting in records.items():
            self._partition_lag.labels(stage, topic, partition).set(waiting)
        self._partitions[stage, topic] = set(records)
