"""THE table: which stage reads what, makes what, and of which operators it is built.

    capture ──► [segments] ──► perceive ──► [embeddings] ──► fuse ──► [events] ──► notify ──► [alerts] ──► deliver
                                                                                                      └──► evidence

What fuse sees and hears are events; so is what health finds wrong with a camera, from the same embeddings.
Every stage that reads also has a topic `dead.<stage>` for the records that it could not take; events that became
no alert go to `suppressed` with the reason. On a cluster,
where cameras come and go while capture runs, the topic `cameras` says which there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from operators.backends.base import Backend
from operators.backends.load import BackendName
from operators.backends.load import load as load_backend
from operators.base import Operator
from operators.clock import Clock
from operators.decode.decoder import Decoder
from operators.encode.encoder import Encoder
from operators.errors import SettingsError
from operators.fuse.fuser import Fuser
from operators.health.monitor import HealthMonitor
from operators.models.bundle import Bundle, Graph
from operators.notify.alerter import Alerter
from operators.notify.outbox import Outbox
from operators.records import Suppressed
from pipeline.settings import LogSettings, LookoutSettings
from pipeline.topics.base import TopicSettings
from pipeline.tracing.base import UNTRACED, Tracing
from pipeline.workers.perceive import Perceive
from pipeline.workers.refused import LETTER_BYTES

CAPTURE, DELIVER, EVIDENCE = "capture", "deliver", "evidence"
CAMERAS, SEGMENTS, EMBEDDINGS, EVENTS, ALERTS = "cameras", "segments", "embeddings", "events", "alerts"
SUPPRESSED = "suppressed"

JSON_COMPRESSION = "zstd"  # media and vectors are as small as they get


@dataclass(frozen=True)
class Lane:
    """Where a stage reads and writes."""

    stage: str
    consumes: str
    produces: str | None
    max_records: int  # per batch
    besides: Mapping[type, str] = field(default_factory=dict)  # where outputs of other types go

    def topic_of(self, output: object) -> str | None:
        """Where an output goes."""
        return self.besides.get(type(output), self.produces)

    @property
    def dead_letters(self) -> str:
        """The topic of the records that this stage could not take."""
        return dead_letter_topic(self.stage)


def dead_letter_topic(stage: str) -> str:
    """The topic that keeps the records `stage` could not take."""
    return f"dead.{stage}"


@dataclass(frozen=True)
class Parts:
    """What operators are built of."""

    settings: LookoutSettings
    bundle: Bundle
    clock: Clock
    outbox: Outbox  # built by the caller, who has the secrets and asks it what is still to be delivered
    evidence: Operator[Any, Any] | None = None  # built by the caller too; None: none is kept
    tracing: Tracing = UNTRACED
    on_fallback: Callable[[str, str], None] = lambda engine, reason: None
    on_engine: Callable[[str, str, str], None] = lambda graph, engine, precision: None

    def engine(self, graph: Graph, backend: BackendName, batch: int, threads: int) -> Backend:
        """One graph of the bundle, loaded."""
        loaded = load_backend(self.bundle, graph, batch=batch, backend=backend, threads=threads or None,
                              on_fallback=self.on_fallback)
        self.on_engine(loaded.path.stem, loaded.name, loaded.precision)
        return loaded


def _perceive(parts: Parts) -> Operator[Any, Any]:
    manifest, encode = parts.bundle.manifest, parts.settings.encode
    visual = parts.engine(manifest.visual, encode.backend, encode.visual_batch, encode.threads)
    acoustic = parts.engine(manifest.acoustic, encode.backend, encode.acoustic_batch, encode.threads)
    return Perceive(Decoder(parts.settings.decode, parts.bundle.sampling, parts.clock), Encoder(visual, acoustic))


def _fuse(parts: Parts) -> Operator[Any, Any]:
    fuse = parts.settings.fuse
    return Fuser(parts.bundle, parts.engine(parts.bundle.manifest.fusion, fuse.backend, fuse.batch, fuse.threads), fuse)


def _health(parts: Parts) -> Operator[Any, Any]:
    return HealthMonitor(parts.settings.health)


def _notify(parts: Parts) -> Operator[Any, Any]:
    alertable = [label.name for label in parts.bundle.manifest.labels if label.alertable]
    return Alerter(parts.settings.rules, alertable)


def _deliver(parts: Parts) -> Operator[Any, Any]:
    return parts.outbox


def _evidence(parts: Parts) -> Operator[Any, Any]:
    if parts.evidence is None:
        message = "evidence: it is not said where evidence is to be kept"
        raise SettingsError(message)
    return parts.evidence


@dataclass(frozen=True)
class Stage:
    """One row of the table."""

    lane: Lane
    build: Callable[[Parts], Operator[Any, Any]]


STAGES: tuple[Stage, ...] = (
    Stage(Lane("perceive", SEGMENTS, EMBEDDINGS, max_records=32), _perceive),
    Stage(Lane("fuse", EMBEDDINGS, EVENTS, max_records=64), _fuse),
    Stage(Lane("health", EMBEDDINGS, EVENTS, max_records=256), _health),
    Stage(Lane("notify", EVENTS, ALERTS, max_records=256, besides={Suppressed: SUPPRESSED}), _notify),
    Stage(Lane(DELIVER, ALERTS, None, max_records=256), _deliver),
)
OPTIONAL: tuple[Stage, ...] = (  # those that only run where the settings ask for them
    Stage(Lane(EVIDENCE, ALERTS, None, max_records=256), _evidence),
)


def stages(settings: LookoutSettings) -> tuple[Stage, ...]:
    """The rows that a whole Lookout runs with these settings."""
    return (*STAGES, *(OPTIONAL if settings.evidence else ()))


def topics(settings: LogSettings) -> tuple[TopicSettings, ...]:
    """Every topic of the log."""
    kept_s, partitions = settings.events_retention_s, settings.partitions
    return (
        TopicSettings(CAMERAS, partitions, kept_s, compacted=True),
        TopicSettings(SEGMENTS, partitions, settings.segments_retention_s, settings.segments_retention_bytes),
        TopicSettings(EMBEDDINGS, partitions, settings.segments_retention_s),
        TopicSettings(EVENTS, partitions, kept_s, compression=JSON_COMPRESSION),
        TopicSettings(ALERTS, partitions, kept_s, compression=JSON_COMPRESSION),
        TopicSettings(SUPPRESSED, partitions, kept_s, compression=JSON_COMPRESSION),
        *(TopicSettings(dead_letter_topic(stage.lane.stage), partitions, kept_s,
                        max_record_bytes=TopicSettings.max_record_bytes + LETTER_BYTES)
          for stage in (*STAGES, *OPTIONAL)),
    )
