"""Which events somebody wants to be told of."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from typing import Annotated

from msgspec import Meta

from operators.base import Settings
from operators.clock import seconds_to_ns
from operators.errors import SettingsError
from operators.notify.sink import Name
from operators.records import Event, Probability

Seconds = Annotated[float, Meta(ge=0, le=7 * 24 * 3600)]


class RuleSettings(Settings, frozen=True, kw_only=True):
    """Tell of an event that matches everything said here, once per event."""

    name: Name
    labels: Annotated[tuple[str, ...], Meta(description="any of these; none: all that the model calls alertable")] = ()
    cameras: Annotated[tuple[str, ...], Meta(min_length=1, description="names or globs such as 'gate-*'")] = ("*",)
    min_score: Annotated[Probability, Meta(description="the event's highest score so far reaches this")] = 0.0
    min_length_s: Annotated[Seconds, Meta(description="the event lasts this long")] = 0.0
    cooldown_s: Annotated[Seconds, Meta(description="silence after an alert of the same camera and label")] = 60.0
    webhooks: Annotated[tuple[str, ...], Meta(description="names of those to tell; none: all")] = ()

    def wants(self, event: Event, alertable: Collection[str]) -> bool:
        """Whether the rule is about such events at all; what stays the same for the whole event."""
        return (event.label in (self.labels or alertable)
                and any(fnmatchcase(event.camera, pattern) for pattern in self.cameras))

    def lacks(self, event: Event) -> str | None:
        """What the event has not reached yet and still may: `score` or `length`; None if nothing."""
        if event.peak_score < self.min_score:
            return "score"
        reached_ns = (event.time_ns if event.end_ns is None else event.end_ns) - event.start_ns
        return "length" if reached_ns < seconds_to_ns(self.min_length_s) else None


DEFAULT = RuleSettings(name="default")  # where no rule is configured: every alertable label, on every camera


def check_rules(rules: Sequence[RuleSettings], labels: Collection[str], webhooks: Collection[str]) -> None:
    """Refuse rules that can never do what they say.

    Raises:
        SettingsError: two share a name, or one names a label or webhook that is not there.
    """
    seen: set[str] = set()
    for rule in rules:
        if rule.name in seen:
            message = f"rules.{rule.name}: the name is used twice"
            raise SettingsError(message)
        seen.add(rule.name)
        for field, named, known in (("labels", rule.labels, labels), ("webhooks", rule.webhooks, webhooks)):
            for name in named:
                if name not in known:
                    message = f"rules.{rule.name}.{field}: {name!r} is none of {', '.join(sorted(known)) or 'none'}"
                    raise SettingsError(message)
