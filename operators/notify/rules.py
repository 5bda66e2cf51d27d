"""Which events somebody wants to be told of, how, and when rather not: tables, filled in by the configuration."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from msgspec import Meta

from operators.base import Settings
from operators.clock import seconds_to_ns
from operators.errors import SettingsError
from operators.notify.hours import Hours
from operators.notify.sink import Name
from operators.records import HEALTH_LABELS, Event, Probability, Severity

Seconds = Annotated[float, Meta(ge=0, le=7 * 24 * 3600)]
Globs = Annotated[tuple[str, ...], Meta(min_length=1, description="names or globs such as 'gate-*'")]
ANY_HEALTH = "camera_*"  # among a rule's labels; no other pattern is one, so that nobody gets these by accident
Sinks = Annotated[tuple[str, ...], Meta(description="names of those to tell; none: all")]


class SenseShares(Settings, frozen=True, kw_only=True):
    """How much of an event's score must at least come from each sense; the two shares of an event sum to 1."""

    visual: Probability = 0.0
    acoustic: Probability = 0.0


class GroupSettings(Settings, frozen=True, kw_only=True):
    """The same label on neighbouring cameras is one incident and told once."""

    window_s: Annotated[Seconds, Meta(description="after the incident's alert")] = 30.0
    areas: Annotated[tuple[Globs, ...], Meta(description=(
        "cameras that match the same line are neighbours; none: all that the rule is about"))] = ()

    def neighbours(self, one: str, other: str) -> bool:
        """Whether the two cameras look at one place."""
        return not self.areas or any(_matches(one, area) and _matches(other, area) for area in self.areas)


class EscalateSettings(Settings, frozen=True, kw_only=True):
    """An incident that lasts is told a second time, also in quiet hours and beyond the rate limit."""

    after_s: Annotated[Seconds, Meta(description="an event of the incident has lasted this long")]
    severity: Severity = "critical"
    sinks: Annotated[Sinks, Meta(description="none: those of the rule")] = ()


class RateSettings(Settings, frozen=True, kw_only=True):
    """At most so many alerts of the rule, over all its cameras, in any span of this length."""

    alerts: Annotated[int, Meta(ge=1, le=1000)]
    per_s: Annotated[float, Meta(gt=0, le=7 * 24 * 3600)] = 3600.0


class RuleSettings(Settings, frozen=True, kw_only=True):
    """Tell of an event that matches everything said here, once per event."""

    name: Name
    labels: Annotated[tuple[str, ...], Meta(description=(
        "any of these; `camera_*`: all that is wrong with a camera; none: all that the model calls alertable"))] = ()
    cameras: Globs = ("*",)
    min_score: Annotated[Probability, Meta(description="the event's highest score so far reaches this")] = 0.0
    min_length_s: Annotated[Seconds, Meta(description="the event lasts this long")] = 0.0
    sentiments: Annotated[tuple[Literal["negative", "neutral", "positive"], ...], Meta(
        description="people are heard, and so; none: heard or not")] = ()
    senses: SenseShares = SenseShares()
    hours: Annotated[tuple[Hours, ...], Meta(description="only within one of these; none: always")] = ()
    severity: Severity = "warning"
    quiet: Annotated[tuple[Hours, ...], Meta(description="no new alerts within these")] = ()
    cooldown_s: Annotated[Seconds, Meta(description="silence after an alert of the same camera and label")] = 60.0
    group: GroupSettings | None = None
    rate: RateSettings | None = None
    escalate: EscalateSettings | None = None
    sinks: Sinks = ()

    def wants(self, event: Event, alertable: Collection[str]) -> bool:
        """Whether the rule is about such events at all; what stays the same for the whole event."""
        named = event.label in (self.labels or alertable)
        named = named or (ANY_HEALTH in self.labels and event.label in HEALTH_LABELS.values())
        return named and _matches(event.camera, self.cameras)

    def lacks(self, event: Event) -> str | None:
        """What the event has not reached yet and still may: one of `LACKS`; None if nothing."""
        return next((reason for reason, lacks in LACKS.items() if lacks(self, event)), None)


def lasted_ns(event: Event) -> int:
    """How long the event has lasted, as far as this record knows."""
    return (event.time_ns if event.end_ns is None else event.end_ns) - event.start_ns


LACKS: dict[str, Callable[[RuleSettings, Event], bool]] = {  # reason -> whether it holds the event back; in this order
    "score": lambda rule, event: event.peak_score < rule.min_score,
    "length": lambda rule, event: lasted_ns(event) < seconds_to_ns(rule.min_length_s),
    "sentiment": lambda rule, event: bool(rule.sentiments) and (
        event.sentiment is None or event.sentiment.label not in rule.sentiments),
    "senses": lambda rule, event: (
        event.senses.visual < rule.senses.visual or event.senses.acoustic < rule.senses.acoustic),
    "hours": lambda rule, event: bool(rule.hours) and not any(span.contain(event.time_ns) for span in rule.hours),
    "quiet": lambda rule, event: any(span.contain(event.time_ns) for span in rule.quiet),
}

DEFAULTS = (  # where no rule is configured: all that the model calls alertable, and what is wrong with cameras
    RuleSettings(name="default"),
    RuleSettings(name="camera_health", labels=(ANY_HEALTH,), cooldown_s=600.0),
)


def check_rules(rules: Sequence[RuleSettings], labels: Collection[str], sinks: Collection[str]) -> None:
    """Refuse rules that can never do what they say.

    Raises:
        SettingsError: two share a name, or one names a label or sink that is not there, or asks too much of a sense.
    """
    seen: set[str] = set()
    for rule in rules:
        where = f"rules.{rule.name}"
        if rule.name in seen:
            message = f"{where}: the name is used twice"
            raise SettingsError(message)
        seen.add(rule.name)
        escalation = rule.escalate.sinks if rule.escalate else ()
        for field, named, known in (("labels", rule.labels, labels), ("sinks", rule.sinks, sinks),
                                    ("escalate.sinks", escalation, sinks)):
            for name in named:
                if name not in known and not (field == "labels" and name in (ANY_HEALTH, *HEALTH_LABELS.values())):
                    message = f"{where}.{field}: {name!r} is none of {', '.join(sorted(known)) or 'none'}"
                    raise SettingsError(message)
        if rule.senses.visual + rule.senses.acoustic > 1:
            message = f"{where}.senses: the two shares of an event sum to 1, these to more"
            raise SettingsError(message)


def _matches(camera: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(camera, glob) for glob in globs)
