"""Events in, alerts out: applies the rules, once per rule and event."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from typing_extensions import override

from operators.base import Operator
from operators.clock import seconds_to_ns
from operators.notify.memory import Decided, Memory
from operators.notify.rules import DEFAULTS, RuleSettings, lasted_ns
from operators.records import Alert, Event, Suppressed, alert_id, escalation_id

MAX_KNOWN = 100_000  # pairs of camera and label whose rules are remembered


class Alerter(Operator[Event, Alert | Suppressed]):
    """Applies every rule to every event.

    A rule tells of an event at its first record that lacks nothing, lies in no quiet hours or cooldown and is
    within the rate; so an event that outlasts what holds it back is told late rather than never. One that belongs
    to an incident told already is settled by that. Only the events' own time counts: the same events give the
    same alerts, replayed at any speed and after any restart.

    For each rule, alerts that are no escalations + suppressed = closed events that it is about, apart from those
    still open; an event that no rule is about counts once, as `unmatched`. Cooldown is of one camera, incidents and
    rates span the cameras that this alerter is given.
    """

    def __init__(self, rules: Sequence[RuleSettings], alertable: Collection[str]) -> None:
        """Hold the rules.

        Args:
            rules: none: `rules.DEFAULTS`.
            alertable: the labels that a rule without labels is about.
        """
        self._rules = tuple(rules) or DEFAULTS
        self._alertable = frozenset(alertable)
        self._memory = Memory()
        self._rules_about: dict[tuple[str, str], Sequence[RuleSettings]] = {}  # (camera, label), as `wants` said

    @override
    def process(self, batch: Sequence[Event]) -> Iterator[Alert | Suppressed]:
        for event in batch:
            rules = self._about(event)
            for rule in rules:
                yield from self._apply(rule, event)
            if event.kind == "close":
                self._memory.forget(event)
                if not rules:
                    yield Suppressed(rule="", reason="unmatched", event=event)

    @override
    def snapshot(self) -> Mapping[str, bytes]:
        return self._memory.snapshot()

    @override
    def restore(self, state: Mapping[str, bytes]) -> None:
        self._memory.restore(state, {rule.name for rule in self._rules})

    def _about(self, event: Event) -> Sequence[RuleSettings]:
        """The rules that are about such events."""
        known = self._rules_about.get((event.camera, event.label))
        if known is None:
            if len(self._rules_about) >= MAX_KNOWN:
                self._rules_about.clear()
            known = tuple(rule for rule in self._rules if rule.wants(event, self._alertable))
            self._rules_about[event.camera, event.label] = known
        return known

    def _apply(self, rule: RuleSettings, event: Event) -> Iterator[Alert | Suppressed]:
        decided = self._memory.decided(rule, event)
        reason = None if decided else rule.lacks(event)
        if decided is None and reason is None:
            if incident := self._memory.incident(rule, event):
                decided = self._memory.join(rule, event, *incident)
            elif not (reason := self._held(rule, event)):
                decided = self._memory.tell(rule, event, alert_id(rule.name, event.id))
                yield Alert(id=decided.incident, rule=rule.name, created_ns=event.time_ns, event=event,
                            severity=rule.severity, incident=decided.incident, sinks=rule.sinks)
        if decided:
            yield from self._escalated(rule, event, decided)
        if event.kind == "close" and (decided is None or decided.joined):
            yield Suppressed(rule=rule.name, reason=reason or "grouped", event=event,
                             incident=decided.incident if decided else "")

    def _held(self, rule: RuleSettings, event: Event) -> str | None:
        if self._memory.cooling(rule, event):
            return "cooldown"
        return "rate" if self._memory.spent(rule, event) else None

    def _escalated(self, rule: RuleSettings, event: Event, decided: Decided) -> Iterator[Alert]:
        wanted = rule.escalate
        if (wanted and lasted_ns(event) >= seconds_to_ns(wanted.after_s)
                and self._memory.escalate(rule, event, decided)):
            yield Alert(id=escalation_id(rule.name, decided.incident), rule=rule.name, created_ns=event.time_ns,
                        event=event, severity=wanted.severity, incident=decided.incident, escalated=True,
                        sinks=wanted.sinks or rule.sinks)
