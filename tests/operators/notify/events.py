"""Events and alerts to test with."""

from __future__ import annotations

from typing import Any

from operators.clock import NS_PER_S
from operators.records import Alert, Event, Senses, Sentiment, alert_id, event_id

T0 = 1_700_000_000 * NS_PER_S


def an_event(kind: str = "open", *, start_s: float = 0.0, at_s: float | None = None, **fields: Any) -> Event:
    """An event that started `start_s` after T0, as it was `at_s` after T0 (by default: just begun)."""
    start_ns = T0 + round(start_s * NS_PER_S)
    time_ns = T0 + round((start_s if at_s is None else at_s) * NS_PER_S)
    camera, label = fields.pop("camera", "lobby"), fields.pop("label", "siren")
    return Event(**{
        "id": event_id(camera, "s1", label, start_ns), "kind": kind, "camera": camera, "session": "s1",
        "label": label, "score": 0.81234567, "peak_score": 0.9, "time_ns": time_ns, "start_ns": start_ns,
        "end_ns": time_ns if kind == "close" else None, "media_start_ns": None, "media_end_ns": None,
        "sentiment": None, "senses": Senses(0.25, 0.75), "received_ns": time_ns, **fields})


def an_alert(number: int = 0, *, camera: str = "lobby", rule: str = "default") -> Alert:
    event = an_event(camera=camera, start_s=number, sentiment=Sentiment("negative", 0.8, 0.15, 0.05))
    return Alert(id=alert_id(rule, event.id), rule=rule, created_ns=event.time_ns, event=event)
