"""Who is told what the stages do: metrics, views, summaries."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from typing_extensions import override

from operators.records import Alert, Embedding, Event, Segment, Suppressed

TravellingRecord = Segment | Embedding | Event | Alert | Suppressed


@dataclass(frozen=True)
class Account:
    """What became of the records of a committed batch: received = processed + shed + dead."""

    processed: int
    shed: Mapping[str, int]  # reason -> records of live cameras that were not looked at
    dead: int
    waited_s: float  # how long the oldest of them lay in the log before
    age_s: float | None = None  # since the oldest media behind them arrived; None: unknown

    @property
    def received(self) -> int:
        """All of them."""
        return self.processed + sum(self.shed.values()) + self.dead


class Watcher:
    """Who is told what a stage did, after it is committed; called from the workers' threads. Deaf by default."""

    def on_batch(self, stage: str, records: int, seconds: float) -> None:
        """A batch of `records` took `seconds`."""

    def on_account(self, stage: str, account: Account) -> None:
        """What became of a batch's records."""

    def on_output(self, stage: str, record: TravellingRecord) -> None:
        """The stage gave out a record."""

    def on_dead(self, stage: str, reason: str) -> None:
        """A record went to the stage's dead-letter topic."""

    def on_lag(self, stage: str, topic: str, records: Mapping[int, int]) -> None:
        """That many records wait, by partition that is ours; called every now and then."""

    def on_assigned(self, stage: str, partitions: Collection[int]) -> None:
        """Partitions came or went, and these are ours now."""

    def on_transaction(self, stage: str, seconds: float) -> None:
        """Committing took `seconds`."""

    def on_retry(self, stage: str, reason: str) -> None:
        """The stage begins again from what is committed, because of an error of the class `reason`."""

    def on_spool(self, camera: str, size_bytes: int) -> None:
        """So much of the camera's media waits on disk for the log."""

    def on_unsent(self, camera: str, reason: str, segments: int) -> None:
        """So many of the camera's segments were given up before they came into the log."""


class Watchers(Watcher):
    """Several watchers as one."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._watchers = watchers

    @override
    def on_batch(self, stage: str, records: int, seconds: float) -> None:
        for watcher in self._watchers:
            watcher.on_batch(stage, records, seconds)

    @override
    def on_output(self, stage: str, record: TravellingRecord) -> None:
        for watcher in self._watchers:
            watcher.on_output(stage, record)

    @override
    def on_dead(self, stage: str, reason: str) -> None:
        for watcher in self._watchers:
            watcher.on_dead(stage, reason)

    @override
    def on_account(self, stage: str, account: Account) -> None:
        for watcher in self._watchers:
            watcher.on_account(stage, account)

    @override
    def on_lag(self, stage: str, topic: str, records: Mapping[int, int]) -> None:
        for watcher in self._watchers:
            watcher.on_lag(stage, topic, records)

    @override
    def on_assigned(self, stage: str, partitions: Collection[int]) -> None:
        for watcher in self._watchers:
            watcher.on_assigned(stage, partitions)

    @override
    def on_transaction(self, stage: str, seconds: float) -> None:
        for watcher in self._watchers:
            watcher.on_transaction(stage, seconds)

    @override
    def on_retry(self, stage: str, reason: str) -> None:
        for watcher in self._watchers:
            watcher.on_retry(stage, reason)

    @override
    def on_spool(self, camera: str, size_bytes: int) -> None:
        for watcher in self._watchers:
            watcher.on_spool(camera, size_bytes)

    @override
    def on_unsent(self, camera: str, reason: str, segments: int) -> None:
        for watcher in self._watchers:
            watcher.on_unsent(camera, reason, segments)
