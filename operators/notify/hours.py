"""Times of the week in some place's own time: when a rule is awake, and when it keeps quiet."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Annotated, Literal, get_args
from zoneinfo import ZoneInfo

from msgspec import Meta

from operators.base import Settings
from operators.clock import NS_PER_S

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)  # in the order of `datetime.weekday`
Time = Annotated[str, Meta(
    pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$", description="HH:MM, to be quoted in YAML")]


class Hours(Settings, frozen=True, kw_only=True):
    """One span of the day, on some days. Its clock is that of the place, daylight saving time included."""

    start: Time = "00:00"
    end: Annotated[Time, Meta(description="not after the start: the span goes on into the next day")] = "24:00"
    days: Annotated[tuple[Day, ...], Meta(description="on which the span starts; none: every day")] = ()
    timezone: Annotated[str, Meta(description="IANA name such as Europe/Berlin")] = "UTC"

    def __post_init__(self) -> None:
        """Refuse what contains no time, or none that is known here."""
        if self.start == self.end:
            message = f"start and end are both {self.start}; leave them out for the whole day"
            raise ValueError(message)
        try:
            ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError):  # unknown, an escape from its folder, a folder
            message = f"there is no time zone {self.timezone!r}"
            raise ValueError(message) from None

    def contain(self, time_ns: int) -> bool:
        """Whether the span is on at that time."""
        local = datetime.fromtimestamp(time_ns // NS_PER_S, ZoneInfo(self.timezone))
        minute, start, end = local.hour * 60 + local.minute, _minutes(self.start), _minutes(self.end)
        if start < end:
            return start <= minute < end and self._on(local.weekday())
        return (minute >= start and self._on(local.weekday())) or (minute < end and self._on(local.weekday() - 1))

    def _on(self, weekday: int) -> bool:
        return not self.days or DAYS[weekday] in self.days


@cache  # as many as there are minutes
def _minutes(time: str) -> int:
    return int(time[:2]) * 60 + int(time[3:])
