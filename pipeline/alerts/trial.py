"""What the configured rules would have made of recorded events: sent to whom, or held back and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from operators.clock import ns_to_seconds, rfc3339
from operators.cloudevent import event_from_cloudevent
from operators.errors import CodecError, SettingsError
from operators.notify.alerter import Alerter
from operators.notify.rules import DEFAULTS, RuleSettings, lasted_ns
from operators.records import Alert, Event, Suppressed

WHY: dict[str, Callable[[RuleSettings, Suppressed], str]] = {  # reason -> what to tell people
    "score": lambda rule, held: f"its score reached {held.event.peak_score:.2f} of {rule.min_score:.2f}",
    "length": lambda rule, held: f"it lasted {ns_to_seconds(lasted_ns(held.event)):.1f} s of {rule.min_length_s:g} s",
    "sentiment": lambda rule, held: ("nobody was heard" if held.event.sentiment is None
                                     else f"people sounded {held.event.sentiment.label}"),
    "senses": lambda rule, held: f"{held.event.senses.visual:.0%} seen, {held.event.senses.acoustic:.0%} heard",
    "hours": lambda rule, held: f"outside of the rule's hours, {rfc3339(held.event.time_ns)}",
    "quiet": lambda rule, held: f"within quiet hours, {rfc3339(held.event.time_ns)}",
    "grouped": lambda rule, held: f"counted to incident {held.incident}",
    "cooldown": lambda rule, held: f"within {rule.cooldown_s:g} s of an alert of the same camera and label",
    "rate": lambda rule, held: (f"the rule had told {rule.rate.alerts} in {rule.rate.per_s:g} s" if rule.rate else ""),
}


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule did with one event."""

    event_id: str
    camera: str
    label: str
    start: str
    rule: str  # empty: no rule is about such events
    verdict: Literal["sent", "escalated", "held"]
    reason: str = ""
    why: str = ""
    severity: str = ""
    sinks: tuple[str, ...] = ()
    alert_id: str = ""

    def line(self) -> str:
        """The verdict for people."""
        told = f"{self.rule} sends {self.severity} to {', '.join(self.sinks) or 'all'}"
        words = {"sent": told, "escalated": f"{told}, as it lasts",
                 "held": f"{self.rule} holds it back, {self.reason}: {self.why}" if self.rule else self.why}
        return f"{self.start} {self.camera} {self.label}: {words[self.verdict]}"


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """One rule over all events: sent + held + not_about = events."""

    rule: str
    sent: int
    escalated: int
    held: dict[str, int]  # reason -> events
    not_about: int


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    events: int
    verdicts: list[Verdict]
    rules: list[Tally]


def read_events(lines: Iterable[bytes]) -> Iterator[Event]:
    """Events of JSON lines as `lookout watch --json` writes them; each once, and closed at the end if it is not.

    Raises:
        SettingsError: a line is none; names it.
    """
    seen: set[tuple[str, str, int]] = set()
    open_: dict[str, Event] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            event = event_from_cloudevent(line)
        except CodecError as error:
            message = f"line {number}: {error}"
            raise SettingsError(message) from error
        if (event.id, event.kind, event.time_ns) in seen:
            continue
        seen.add((event.id, event.kind, event.time_ns))
        if event.kind == "close":
            open_.pop(event.id, None)
        else:
            open_[event.id] = event
        yield event
    for event in open_.values():
        yield msgspec.structs.replace(event, kind="close", end_ns=event.time_ns)


def try_rules(events: Iterable[Event], rules: Sequence[RuleSettings], alertable: Collection[str]) -> Trial:
    """Give the events to the rules, as the notify stage does."""
    rules = tuple(rules) or DEFAULTS
    named = {rule.name: rule for rule in rules}
    alerter, closed = Alerter(rules, alertable), 0
    verdicts: list[Verdict] = []
    for event in events:
        closed += event.kind == "close"
        verdicts += [_verdict(made, named) for made in alerter.process([event])
                     if isinstance(made, Alert | Suppressed)]
    return Trial(events=closed, verdicts=verdicts, rules=[_tally(rule.name, verdicts, closed) for rule in rules])


def _verdict(made: Alert | Suppressed, rules: dict[str, RuleSettings]) -> Verdict:
    event = made.event
    verdict = Verdict(event_id=event.id, camera=event.camera, label=event.label, start=rfc3339(event.start_ns),
                      rule=made.rule, verdict="held")
    if isinstance(made, Alert):
        return msgspec.structs.replace(verdict, verdict="escalated" if made.escalated else "sent",
                                       severity=made.severity, sinks=made.sinks, alert_id=made.id)
    why = WHY[made.reason](rules[made.rule], made) if made.rule else "no rule is about it"
    return msgspec.structs.replace(verdict, reason=made.reason, why=why)


def _tally(rule: str, verdicts: Sequence[Verdict], events: int) -> Tally:
    count = Counter((one.verdict, one.reason) for one in verdicts if one.rule == rule)
    held = {reason: number for (verdict, reason), number in sorted(count.items()) if verdict == "held"}
    sent = count["sent", ""]
    return Tally(rule=rule, sent=sent, escalated=count["escalated", ""], held=held,
                 not_about=events - sent - sum(held.values()))
