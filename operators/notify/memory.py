"""What rules remember of the cameras: who was told of what, kept with the camera it is about.

Everything lies with one camera, so that it moves with the camera's records: incidents and rate limits look over
all cameras that are held here.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Mapping

import msgspec

from operators.clock import seconds_to_ns
from operators.notify.rules import RuleSettings
from operators.records import Event

MAX_OPEN = 256  # open events remembered per camera; the fuser keeps far fewer, this bounds a broken stream


class Told(msgspec.Struct):
    """A rule's latest alert of a camera and label."""

    time_ns: int  # the event's
    incident: str
    escalated: bool = False


class Decided(msgspec.Struct):
    """What a rule did with an event that is still open: told of it, or counted it to an incident already told."""

    incident: str
    teller: str  # camera of the incident's alert
    joined: bool = False
    escalated: bool = False


class _Camera(msgspec.Struct):
    """What a camera's next events depend on."""

    decided: dict[str, dict[str, Decided]] = {}  # event id -> rule
    told: dict[str, dict[str, Told]] = {}  # rule -> label
    spent_ns: dict[str, list[int]] = {}  # rule with a rate limit -> times of its alerts


class Memory:
    """The cameras' states, which of them changed, and what rules ask of them."""

    def __init__(self) -> None:
        self._cameras: dict[str, _Camera] = {}
        self._changed: set[str] = set()
        # The cameras' `told` and `spent_ns` again, from the other side.
        self._told: dict[tuple[str, str], dict[str, Told]] = {}  # (rule, label) -> camera
        self._spent_ns: dict[str, list[int]] = {}  # rule -> times over all cameras, oldest first

    def decided(self, rule: RuleSettings, event: Event) -> Decided | None:
        """What the rule did with the event; None: nothing yet."""
        camera = self._cameras.get(event.camera)
        return camera.decided.get(event.id, {}).get(rule.name) if camera else None

    def incident(self, rule: RuleSettings, event: Event) -> tuple[str, Told] | None:
        """The incident that the event belongs to, and the camera that it was told of."""
        if rule.group is None:
            return None
        window_ns = seconds_to_ns(rule.group.window_s)
        near = [(told.time_ns, name) for name, told in self._told.get((rule.name, event.label), {}).items()
                if abs(event.time_ns - told.time_ns) < window_ns and rule.group.neighbours(event.camera, name)]
        if not near:
            return None
        _, name = max(near)  # the newest: the same one after a restart, whatever the order of cameras then
        return name, self._told[rule.name, event.label][name]

    def cooling(self, rule: RuleSettings, event: Event) -> bool:
        """Whether the rule has told of the same camera and label just before."""
        camera = self._cameras.get(event.camera)
        told = camera.told.get(rule.name, {}).get(event.label) if camera else None
        # A camera whose clock was set back may give events before the latest alert: those are new.
        return told is not None and 0 <= event.time_ns - told.time_ns < seconds_to_ns(rule.cooldown_s)

    def spent(self, rule: RuleSettings, event: Event) -> bool:
        """Whether the rule has told as much as its rate allows."""
        if rule.rate is None:
            return False
        span_ns = seconds_to_ns(rule.rate.per_s)
        spent_ns = self._spent_ns.get(rule.name, [])
        near = bisect_left(spent_ns, event.time_ns + span_ns) - bisect_right(spent_ns, event.time_ns - span_ns)
        return near >= rule.rate.alerts

    def tell(self, rule: RuleSettings, event: Event, incident: str) -> Decided:
        """The rule tells of the event, which begins an incident."""
        camera = self._cameras.setdefault(event.camera, _Camera())
        told = camera.told.setdefault(rule.name, {})[event.label] = Told(event.time_ns, incident)
        self._told.setdefault((rule.name, event.label), {})[event.camera] = told
        if rule.rate:
            self._spend(rule.name, seconds_to_ns(rule.rate.per_s), camera, event.time_ns)
        return self._decide(rule, event, Decided(incident, event.camera))

    def join(self, rule: RuleSettings, event: Event, teller: str, told: Told) -> Decided:
        """The event belongs to an incident that was told already."""
        return self._decide(rule, event, Decided(told.incident, teller, joined=True))

    def escalate(self, rule: RuleSettings, event: Event, decided: Decided) -> bool:
        """Note that the event's incident escalates; False where it has already."""
        teller = self._cameras.get(decided.teller)
        told = teller.told.get(rule.name, {}).get(event.label) if teller else None
        if decided.escalated:
            return False
        decided.escalated = True
        self._changed.add(event.camera)
        if told is None or told.incident != decided.incident:
            return True
        was, told.escalated = told.escalated, True
        self._changed.add(decided.teller)
        return not was

    def forget(self, event: Event) -> None:
        """The event has closed."""
        camera = self._cameras.get(event.camera)
        if camera is not None and camera.decided.pop(event.id, None) is not None:
            self._changed.add(event.camera)

    def snapshot(self) -> dict[str, bytes]:
        """The cameras changed since the last call."""
        changed = {name: msgspec.msgpack.encode(self._cameras[name]) for name in self._changed}
        self._changed.clear()
        return changed

    def restore(self, state: Mapping[str, bytes], rules: Collection[str]) -> None:
        """Hold what the newest snapshots hold of these rules, and nothing else."""
        self._cameras = {name: msgspec.msgpack.decode(encoded, type=_Camera) for name, encoded in state.items()}
        self._changed.clear()
        self._told, self._spent_ns = {}, {}
        for name, camera in self._cameras.items():
            camera.told = {rule: told for rule, told in camera.told.items() if rule in rules}
            camera.spent_ns = {rule: spent_ns for rule, spent_ns in camera.spent_ns.items() if rule in rules}
            camera.decided = {event: {rule: decided for rule, decided in of_event.items() if rule in rules}
                              for event, of_event in camera.decided.items()}
            for rule, of_label in camera.told.items():
                for label, told in of_label.items():
                    self._told.setdefault((rule, label), {})[name] = told
            for rule, spent_ns in camera.spent_ns.items():
                self._spent_ns.setdefault(rule, []).extend(spent_ns)
        for every_ns in self._spent_ns.values():
            every_ns.sort()

    def _spend(self, rule: str, span_ns: int, camera: _Camera, time_ns: int) -> None:
        """Note the time of an alert, and forget those of the camera that no longer count."""
        every_ns = self._spent_ns.setdefault(rule, [])
        kept_ns = [time_ns]
        for one_ns in camera.spent_ns.get(rule, ()):
            if abs(time_ns - one_ns) < span_ns:
                kept_ns.append(one_ns)
            else:
                del every_ns[bisect_left(every_ns, one_ns)]
        camera.spent_ns[rule] = kept_ns
        insort(every_ns, time_ns)

    def _decide(self, rule: RuleSettings, event: Event, decided: Decided) -> Decided:
        camera = self._cameras.setdefault(event.camera, _Camera())
        camera.decided.setdefault(event.id, {})[rule.name] = decided
        if len(camera.decided) > MAX_OPEN:
            del camera.decided[next(iter(camera.decided))]
        self._changed.add(event.camera)
        return decided
