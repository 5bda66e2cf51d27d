"""Who is told what the stages do: metrics, views, summaries."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import override

from operators.records import Alert, Embedding, Event, Segment, Suppressed

TravellingRecord = Segment | Embedding | Event | Alert | Suppressed


class Watcher:
    """Who is told what a stage did, after it is committed; called from the workers' threads. Deaf by default."""

    def on_batch(self, stage: str, records: int, seconds: float) -> None:
        """A batch of `records` took `seconds`."""

    def on_output(self, stage: str, record: TravellingRecord) -> None:
        """The stage gave out a record."""

    def on_dead(self, stage: str, reason: str) -> None:
        """A record went to the stage's dead-letter topic."""

    def on_lag(self, stage: str, records: int) -> None:
        """That many records wait for the stage."""

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
    def on_lag(self, stage: str, records: int) -> None:
        for watcher in self._watchers:
            watcher.on_lag(stage, records)

    @override
    def on_spool(self, camera: str, size_bytes: int) -> None:
        for watcher in self._watchers:
            watcher.on_spool(camera, size_bytes)

    @override
    def on_unsent(self, camera: str, reason: str, segments: int) -> None:
        for watcher in self._watchers:
            watcher.on_unsent(camera, reason, segments)
