"""Events and alerts as the outside sees them: CloudEvents 1.0 in JSON.

An event's `id` is its one stable id in open, update and close alike, so that a reader joins them by
it. CloudEvents would let a reader take equal `source` and `id` for a repeat; here a repeat is equal in
(`id`, `type`, `time`), so whoever drops repeats must compare all three. An alert happens once and its
`id` is its own: the same on every retry, so a receiver drops what it has already seen by `id` alone.

The structs below are both what is written and what the JSON Schemas are generated from:
`python -m operators.cloudevent` writes them to `operators/schemas/`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

import msgspec
from msgspec import Meta

from operators.clock import from_rfc3339, ns_to_seconds, rfc3339, seconds_to_ns
from operators.errors import CodecError
from operators.records import Alert, Event, Senses, Sentiment, Severity

SCHEMAS = Path(__file__).parent / "schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"

EventType = Literal["lookout.event.open", "lookout.event.update", "lookout.event.close"]
_KINDS: dict[EventType, Literal["open", "update", "close"]] = {
    "lookout.event.open": "open", "lookout.event.update": "update", "lookout.event.close": "close"}
_TYPES: dict[str, EventType] = {kind: name for name, kind in _KINDS.items()}

_Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
_Score = Annotated[float, Meta(ge=0.0, le=1.0)]
_MediaTime = Annotated[float, Meta(ge=0.0, description="seconds from the beginning of the file; null for live cameras")]


class EventData(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen or heard."""

    camera: str
    label: str
    score: Annotated[_Score, Meta(description="at `time`")]
    peak_score: Annotated[_Score, Meta(description="highest so far")]
    start: _Time
    end: Annotated[_Time | None, Meta(description="null until the event has closed")]
    media_start_s: _MediaTime | None
    media_end_s: _MediaTime | None
    sentiment: Annotated[Sentiment | None, Meta(description="null where nobody was heard")]
    senses: Senses


_Link = Annotated[str, Meta(extra_json_schema={"format": "uri"})]


class EvidenceLinks(msgspec.Struct, frozen=True, kw_only=True):
    """Where the evidence of an event will be once the event is over, until the links expire."""

    clip: Annotated[_Link, Meta(description="video with sound, from before the event until after it")]
    snapshot: Annotated[_Link, Meta(description="JPEG at the highest score")]
    why: Annotated[_Link, Meta(description="PNG of what was seen and heard, and the scores over time")]


class AlertData(EventData, frozen=True, kw_only=True):
    """An event that somebody wants to be told of, and by which rule."""

    rule: str
    event_id: str
    severity: Severity
    incident: Annotated[str, Meta(description="id of the first alert of the incident, this one's own for itself")]
    escalated: Annotated[bool, Meta(description="the incident was told before, and lasts")]
    evidence: Annotated[EvidenceLinks | None, Meta(description="null where none is served")]


class _Envelope(msgspec.Struct, frozen=True, kw_only=True):
    specversion: Literal["1.0"]
    id: Annotated[str, Meta(min_length=1)]
    source: Annotated[str, Meta(pattern="^/cameras/.+", extra_json_schema={"format": "uri-reference"})]
    type: str
    time: Annotated[_Time, Meta(description="in the camera's stream, not when it was written")]
    subject: Annotated[str, Meta(min_length=1, description="the label")]
    datacontenttype: Literal["application/json"]
    data: EventData


class EventMessage(_Envelope, frozen=True, kw_only=True):
    """An event opened, went on, or closed: one `id` in all three, a repeat is equal in `id`, `type` and `time`."""

    type: EventType


class AlertMessage(_Envelope, frozen=True, kw_only=True):
    """A rule fired for an event; once per rule and event, with the same `id` on every retry."""

    type: Literal["lookout.alert"]
    data: AlertData


Links = Callable[[Alert], EvidenceLinks | None]


def no_links(alert: Alert) -> None:
    """For where no evidence is served."""


def event_to_cloudevent(event: Event) -> dict[str, Any]:
    """The CloudEvent that tells of `event`, ready for any JSON encoder."""
    return _built(EventMessage(
        id=event.id, type=_TYPES[event.kind], data=EventData(**_data(event)), **_context(event, event.time_ns)))


def alert_to_cloudevent(alert: Alert, links: Links = no_links) -> dict[str, Any]:
    """The CloudEvent that tells of `alert`, with links to its evidence, ready for any JSON encoder."""
    event = alert.event
    return _built(AlertMessage(
        id=alert.id, type="lookout.alert", **_context(event, alert.created_ns),
        data=AlertData(rule=alert.rule, event_id=event.id, severity=alert.severity,
                       incident=alert.incident or alert.id, escalated=alert.escalated,
                       evidence=links(alert), **_data(event))))


def event_from_cloudevent(line: bytes | str) -> Event:
    """The event that `event_to_cloudevent` told of, as exactly as its text says.

    Raises:
        CodecError: the text is no such message; says what is wrong with it.
    """
    try:
        message = msgspec.json.decode(line, type=EventMessage)
        return _event(message, message.data)
    except (msgspec.MsgspecError, ValueError) as error:
        text = f"not an event: {error}"
        raise CodecError(text) from error


def _event(message: EventMessage, data: EventData) -> Event:
    return Event(
        id=message.id, kind=_KINDS[message.type], camera=data.camera, session="", label=data.label, score=data.score,
        peak_score=data.peak_score, time_ns=from_rfc3339(message.time), start_ns=from_rfc3339(data.start),
        end_ns=None if data.end is None else from_rfc3339(data.end),
        media_start_ns=None if data.media_start_s is None else seconds_to_ns(data.media_start_s),
        media_end_ns=None if data.media_end_s is None else seconds_to_ns(data.media_end_s),
        sentiment=data.sentiment, senses=data.senses)


def write_schemas(folder: Path) -> None:
    """Write one JSON Schema for each kind of message."""
    for name, kind in {"event.schema.json": EventMessage, "alert.schema.json": AlertMessage}.items():
        (folder / name).write_bytes(_schema(kind))


def _schema(kind: Any) -> bytes:
    schema = {"$schema": DIALECT, **msgspec.json.schema(kind)}
    return msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n"


def _built(message: _Envelope) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(message)
    return built


def _context(event: Event, time_ns: int) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "source": f"/cameras/{quote(event.camera, safe='')}",
        "time": rfc3339(time_ns),
        "subject": event.label,
        "datacontenttype": "application/json",
    }


def _data(event: Event) -> dict[str, Any]:
    return {
        "camera": event.camera,
        "label": event.label,
        "score": _rounded(event.score),
        "peak_score": _rounded(event.peak_score),
        "start": rfc3339(event.start_ns),
        "end": None if event.end_ns is None else rfc3339(event.end_ns),
        "media_start_s": _seconds(event.media_start_ns),
        "media_end_s": _seconds(event.media_end_ns),
        "sentiment": None if event.sentiment is None else Sentiment(**_rounded_fields(event.sentiment)),
        "senses": Senses(**_rounded_fields(event.senses)),
    }


def _rounded(score: float) -> float:
    return round(score, 4)


def _rounded_fields(scores: Sentiment | Senses) -> dict[str, Any]:
    fields = msgspec.structs.asdict(scores)
    return {name: _rounded(value) if isinstance(value, float) else value for name, value in fields.items()}


def _seconds(ns: int | None) -> float | None:
    return None if ns is None else round(ns_to_seconds(ns), 3)


if __name__ == "__main__":
    write_schemas(SCHEMAS)
