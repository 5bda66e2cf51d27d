"""What is known of every camera at this moment: fed by the stages, read by the views."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field, replace

from typing_extensions import override

from operators.capture.camera import CameraStatus
from operators.clock import NS_PER_S, Clock
from operators.records import Alert, Embedding, Event, Segment
from pipeline.watcher import TravellingRecord, Watcher

RATE_OVER_NS = 5 * NS_PER_S  # frames/s is a mean over this span
RECENT_EVENTS = 8


@dataclass(frozen=True)
class CameraRow:
    """One camera."""

    name: str
    status: CameraStatus | None = None
    frames: int = 0
    frames_per_s: float = 0.0
    level_dbfs: float | None = None
    skew_ns: int | None = None
    waiting: int = 0  # segments captured and not decoded yet
    media_ns: int = 0  # of media processed
    open_events: tuple[str, ...] = ()


@dataclass(frozen=True)
class Totals:
    """The whole run."""

    frames: int = 0
    media_ns: int = 0
    heard_ns: int = 0
    events: dict[str, int] = field(default_factory=dict)  # label -> opened
    alerts: int = 0
    dead: int = 0


class Board(Watcher):
    """Collects from the workers' threads; `rows` and `totals` may be called from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._rows: dict[str, CameraRow] = {}
        self._rates: dict[str, deque[tuple[int, int]]] = {}
        self._totals = Totals()
        self.recent: deque[Event] = deque(maxlen=RECENT_EVENTS)

    def rows(self) -> list[CameraRow]:
        """Every camera, by name."""
        with self._lock:
            return [self._rows[name] for name in sorted(self._rows)]

    def totals(self) -> Totals:
        """What has been done so far."""
        with self._lock:
            return self._totals

    def on_status(self, name: str, status: CameraStatus) -> None:
        """The camera's connection, as it is now."""
        with self._lock:
            self._rows[name] = replace(self._row(name), status=status)

    @override
    def on_dead(self, stage: str, reason: str) -> None:
        with self._lock:
            self._totals = replace(self._totals, dead=self._totals.dead + 1)

    @override
    def on_output(self, stage: str, record: TravellingRecord) -> None:
        with self._lock:
            match record:
                case Segment():
                    row = self._row(record.camera)
                    self._rows[record.camera] = replace(row, waiting=row.waiting + 1)
                case Embedding():
                    self._on_embedding(record)
                case Event():
                    self._on_event(record)
                case Alert():
                    self._totals = replace(self._totals, alerts=self._totals.alerts + 1)

    def _row(self, name: str) -> CameraRow:
        return self._rows.setdefault(name, CameraRow(name))

    def _on_embedding(self, record: Embedding) -> None:
        row, health, now_ns = self._row(record.camera), record.health, self._clock.monotonic_ns()
        rates = self._rates.setdefault(record.camera, deque())
        rates.append((now_ns, health.frames))
        while len(rates) > 2 and now_ns - rates[0][0] > RATE_OVER_NS:  # noqa: PLR2004 - two make an interval
            rates.popleft()
        span_ns = now_ns - rates[0][0]
        counted = sum(frames for _, frames in list(rates)[1:])
        self._rows[record.camera] = replace(
            row, frames=row.frames + health.frames, level_dbfs=health.level_dbfs, skew_ns=health.skew_ns,
            frames_per_s=counted * NS_PER_S / span_ns if span_ns else 0.0, waiting=max(0, row.waiting - 1),
            media_ns=row.media_ns + record.duration_ns)
        totals = self._totals
        self._totals = replace(totals, frames=totals.frames + health.frames,
                               media_ns=totals.media_ns + record.duration_ns,
                               heard_ns=totals.heard_ns + (record.duration_ns if health.heard else 0))

    def _on_event(self, event: Event) -> None:
        row = self._row(event.camera)
        others = tuple(label for label in row.open_events if label != event.label)
        is_open = (*others, event.label) if event.kind != "close" else others
        self._rows[event.camera] = replace(row, open_events=is_open)
        if event.kind != "update":
            self.recent.append(event)
        if event.kind == "open":
            events = {**self._totals.events, event.label: self._totals.events.get(event.label, 0) + 1}
            self._totals = replace(self._totals, events=events)
