"""A camera's story in a log: what would be there of a bright event, with media or without."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from operators.backends.load import load as load_backend
from operators.clock import NS_PER_S
from operators.fuse.fuser import Fuser
from operators.models.bundle import Bundle
from operators.models.bundle import load as load_bundle
from operators.records import Alert, Embedding, Event, Segment, alert_id
from pipeline import codec
from pipeline.topics.base import Log
from pipeline.topology import ALERTS, EMBEDDINGS, EVENTS, SEGMENTS
from tests.operators.fuse.embeddings import BRIGHT, QUIET, STEP_NS, Step, stream

CAMERA = "cam"
BRIGHT_FROM, BRIGHT_TO = 24, 32  # steps: 8 s of the tiny bundle's memory and more lie before
STORY: Sequence[Step] = [QUIET] * BRIGHT_FROM + [BRIGHT] * (BRIGHT_TO - BRIGHT_FROM) + [QUIET] * 16
TOPICS: dict[type, str] = {Segment: SEGMENTS, Embedding: EMBEDDINGS, Event: EVENTS, Alert: ALERTS}


def a_fuser(bundle: Bundle) -> Fuser:
    return Fuser(bundle, load_backend(bundle, bundle.manifest.fusion, batch=1, backend="onnxruntime", threads=1))


def embeddings(steps: Sequence[Step] = STORY, camera: str = CAMERA) -> list[Embedding]:
    """A record a second, of a file that ends with the last one."""
    return stream(steps, camera=camera)


def events(bundle: Path, records: Sequence[Embedding]) -> list[Event]:
    """What the fusion makes of them."""
    return [event for event in a_fuser(load_bundle(bundle)).process(records) if event.label == "bright"]


def an_alert_of(event: Event) -> Alert:
    return Alert(id=alert_id("r", event.id), rule="r", created_ns=event.time_ns, event=event)


def fitted(segments: Sequence[Segment], records: Sequence[Embedding]) -> list[Segment]:
    """Real media in the place of what the embeddings were made of: segments of a second each."""
    return [msgspec.structs.replace(
        segment, camera=one.camera, session=one.session, sequence=one.sequence, start_ns=one.start_ns,
        duration_ns=one.duration_ns, media_start_ns=one.media_start_ns, received_ns=one.received_ns, final=one.final)
        for segment, one in zip(segments, records, strict=False)]


def append(log: Log, *records: Segment | Embedding | Event | Alert) -> None:
    """Each in a transaction of its own, as they would come."""
    for record in records:
        camera = record.event.camera if isinstance(record, Alert) else record.camera
        with log.transaction("test") as transaction:
            transaction.append(TOPICS[type(record)], camera, *codec.encode(record))


def second(start_ns: int, time_ns: int) -> float:
    return (time_ns - start_ns) / NS_PER_S


assert STEP_NS * 2 == NS_PER_S  # two steps a record
