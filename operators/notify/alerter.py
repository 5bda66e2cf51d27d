"""Events in, alerts out: applies the rules, once per rule and event."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import msgspec
from typing_extensions import override

from operators.base import Operator
from operators.clock import seconds_to_ns
from operators.notify.rules import DEFAULT, RuleSettings
from operators.records import Alert, Event, alert_id

MAX_OPEN = 256  # open events remembered per camera; the fuser keeps far fewer, this bounds a broken stream


class Suppressed(msgspec.Struct, frozen=True, kw_only=True):
    """A closed event that a rule did not make an alert of."""

    rule: str  # empty: no rule is about such events
    reason: str  # unmatched, score, length, cooldown
    event: Event


class _State(msgspec.Struct):
    """What a camera's next events depend on."""

    open: dict[str, list[str]] = {}  # id of an event not yet closed -> rules that have told of it
    told_ns: dict[str, dict[str, int]] = {}  # rule -> label -> event time of its latest alert


class Alerter(Operator[Event, Alert]):
    """Applies every rule to every event.

    A rule fires at the first record of an event that has all the rule asks for and is not within the
    cooldown; so an event that outlasts the cooldown is told late rather than never. Only the events'
    own time counts: the same events give the same alerts, replayed at any speed and after any restart.
    For each rule, alerts + suppressed = closed events it is about, apart from those still open.
    """

    def __init__(self, rules: Sequence[RuleSettings], alertable: Collection[str],
                 on_suppressed: Callable[[Suppressed], None] = lambda _: None) -> None:
        """Hold the rules.

        Args:
            rules: none: `rules.DEFAULT` alone.
            alertable: the labels that a rule without labels is about.
            on_suppressed: told of every event that ended without an alert and why, in the worker's thread.
        """
        self._rules = tuple(rules) or (DEFAULT,)
        self._alertable = frozenset(alertable)
        self._on_suppressed = on_suppressed
        self._states: dict[str, _State] = {}
        self._changed: set[str] = set()

    @override
    def process(self, batch: Sequence[Event]) -> Iterator[Alert]:
        for event in batch:
            rules = [rule for rule in self._rules if rule.wants(event, self._alertable)]
            for rule in rules:
                yield from self._apply(rule, event)
            if event.kind == "close":
                self._forget(event)
                if not rules:
                    self._on_suppressed(Suppressed(rule="", reason="unmatched", event=event))

    @override
    def snapshot(self) -> Mapping[str, bytes]:
        changed = {camera: msgspec.msgpack.encode(self._states[camera]) for camera in self._changed}
        self._changed.clear()
        return changed

    @override
    def restore(self, state: Mapping[str, bytes]) -> None:
        self._states = {camera: msgspec.msgpack.decode(encoded, type=_State) for camera, encoded in state.items()}
        self._changed.clear()
        configured = {rule.name for rule in self._rules}
        for restored in self._states.values():
            for name in restored.told_ns.keys() - configured:
                del restored.told_ns[name]

    def _apply(self, rule: RuleSettings, event: Event) -> Iterator[Alert]:
        state = self._states.setdefault(event.camera, _State())
        if rule.name in state.open.get(event.id, ()):
            return
        reason = rule.lacks(event) or self._cooling(rule, event, state)
        if reason is None:
            self._remember(rule, event, state)
            yield Alert(id=alert_id(rule.name, event.id), rule=rule.name, created_ns=event.time_ns, event=event)
        elif event.kind == "close":
            self._on_suppressed(Suppressed(rule=rule.name, reason=reason, event=event))

    @staticmethod
    def _cooling(rule: RuleSettings, event: Event, state: _State) -> str | None:
        told_ns = state.told_ns.get(rule.name, {}).get(event.label)
        # A camera whose clock was set back may give events before the latest alert: those are new.
        if told_ns is None or not 0 <= event.time_ns - told_ns < seconds_to_ns(rule.cooldown_s):
            return None
        return "cooldown"

    def _remember(self, rule: RuleSettings, event: Event, state: _State) -> None:
        state.told_ns.setdefault(rule.name, {})[event.label] = event.time_ns
        state.open.setdefault(event.id, []).append(rule.name)
        if len(state.open) > MAX_OPEN:
            del state.open[next(iter(state.open))]
        self._changed.add(event.camera)

    def _forget(self, event: Event) -> None:
        state = self._states.get(event.camera)
        if state is not None and state.open.pop(event.id, None) is not None:
            self._changed.add(event.camera)
