"""What became of every alert, from what the log holds: alerts, what waits, what was given up or held back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from operators.clock import rfc3339
from operators.cloudevent import alert_to_cloudevent, event_to_cloudevent
from operators.errors import CodecError, SettingsError
from operators.notify.backlog import Pending
from operators.notify.outbox import read
from operators.notify.text import title_of
from operators.records import Alert, Suppressed
from pipeline import codec
from pipeline.topics.base import Log, Message
from pipeline.topology import ALERTS, DELIVER, SUPPRESSED, dead_letter_topic
from pipeline.workers.operator_state import Kept
from pipeline.workers.refused import HEADERS

WRITER = "replay-alerts"


@dataclass
class Entry:
    """One alert and where it stands with its receivers."""

    alert: Alert
    written_ns: int  # when it last came into the topic
    taken: bool  # the deliver stage knows of it
    waiting: dict[str, Pending] = field(default_factory=dict)  # by receiver
    dead: dict[str, str] = field(default_factory=dict)  # receiver -> why

    @property
    def status(self) -> str:
        """In a word: dead, waiting, queued, or delivered to all."""
        return "dead" if self.dead else "waiting" if self.waiting else "delivered" if self.taken else "queued"

    def line(self) -> str:
        """The alert in one line."""
        alert = self.alert
        return (f"{alert.id} {rfc3339(alert.created_ns)} {self.status:9} {alert.severity:8} {alert.rule}: "
                f"{title_of(alert)}")

    def lines(self) -> list[str]:
        """Where it stands with each receiver that does not have it."""
        waiting = [f"{sink}: waits, {pending.failures} failures, next try {rfc3339(pending.due_ns)}"
                   for sink, pending in self.waiting.items()]
        return waiting + [f"{sink}: dead: {why}" for sink, why in self.dead.items()]

    def record(self) -> dict[str, Any]:
        """All of it for any JSON encoder."""
        return {"status": self.status, "alert": alert_to_cloudevent(self.alert), "dead": self.dead,
                "waiting": {sink: {"failures": pending.failures, "next_try": rfc3339(pending.due_ns)}
                            for sink, pending in self.waiting.items()}}


def entries(log: Log) -> list[Entry]:
    """Every alert that the log still holds, oldest first."""
    found: dict[str, Entry] = {}
    lag, ends = log.lag(DELIVER, ALERTS), log.ends(ALERTS)
    replayed_ns: dict[tuple[str, str], int] = {}
    for message, alert in _records(log, ALERTS, Alert):
        taken = message.offset < ends[message.partition][1] - lag[message.partition]
        entry = found.setdefault(alert.id, Entry(alert, message.timestamp_ns, taken))
        entry.taken = taken
        if alert.replayed:
            replayed_ns |= {(alert.id, sink): message.timestamp_ns for sink in alert.sinks}
    for message, alert in _records(log, dead_letter_topic(DELIVER), Alert):
        entry = found.setdefault(alert.id, Entry(alert, message.timestamp_ns, taken=True))
        why = message.headers.get(HEADERS + "reason", b"").decode(errors="replace")
        for sink in alert.sinks or ("all",):
            if replayed_ns.get((alert.id, sink), -1) < message.timestamp_ns:
                entry.dead[sink] = why
    for pending in _waiting(log):
        found.setdefault(pending.alert.id, Entry(pending.alert, 0, taken=True)).waiting[pending.sink] = pending
    return sorted(found.values(), key=lambda entry: (entry.alert.created_ns, entry.alert.id))


def entry_of(log: Log, name: str) -> Entry:
    """The alert whose id begins so.

    Raises:
        SettingsError: there is none, or several.
    """
    fitting = [entry for entry in entries(log) if entry.alert.id.startswith(name)]
    if len(fitting) != 1:
        message = f"{len(fitting) or 'no'} alerts have an id that begins with {name!r}; `lookout alerts list` shows all"
        raise SettingsError(message)
    return fitting[0]


def replay(log: Log, wanted: Sequence[tuple[Entry, Sequence[str]]]) -> int:
    """Give alerts to the deliver stage once more, each for these receivers alone; says how many deliveries that is.

    A receiver knows them by their ids. One that was disabled is tried.
    """
    with log.transaction(WRITER) as transaction:
        for entry, sinks in wanted:
            alert = msgspec.structs.replace(entry.alert, sinks=tuple(sinks), replayed=True)
            value, headers = codec.encode(alert)
            transaction.append(ALERTS, alert.event.camera, value, headers)
    return sum(len(sinks) for _, sinks in wanted)


def held_back(log: Log) -> list[Suppressed]:
    """Every event that a rule did not make an alert of, oldest first."""
    return sorted((held for _, held in _records(log, SUPPRESSED, Suppressed)), key=lambda held: held.event.time_ns)


def held_line(held: Suppressed) -> str:
    """It in one line."""
    event = held.event
    incident = f" of incident {held.incident}" if held.incident else ""
    return (f"{rfc3339(event.start_ns)} {event.camera} {event.label}: {held.reason}{incident}"
            + (f", by {held.rule}" if held.rule else ""))


def held_record(held: Suppressed) -> dict[str, Any]:
    """It for any JSON encoder."""
    return {"rule": held.rule, "reason": held.reason, "incident": held.incident,
            "event": event_to_cloudevent(held.event)}


def _records(log: Log, topic: str, kind: type[Any]) -> Iterator[tuple[Message, Any]]:
    for partition, (first, end) in log.ends(topic).items():
        for message in log.read(topic, partition, first, end):
            try:
                record = codec.decode(message)
            except CodecError:  # `lookout deadletters` shows those
                continue
            if isinstance(record, kind):
                yield message, record


def _waiting(log: Log) -> Iterator[Pending]:
    for partition in log.ends(ALERTS):
        for value in log.state(DELIVER, partition).values():
            yield from read(msgspec.msgpack.decode(value, type=Kept).state).waiting
