"""An alert in plain words, for people."""

from __future__ import annotations

import msgspec

from operators.clock import NS_PER_S, rfc3339
from operators.cloudevent import Links, no_links
from operators.notify.rules import lasted_ns
from operators.records import Alert


def title_of(alert: Alert) -> str:
    """The alert in one line."""
    lasting = f", for {lasted_ns(alert.event) // NS_PER_S} s now" if alert.escalated else ""
    return f"{alert.event.label.replace('_', ' ')} at {alert.event.camera}{lasting}"


def body_of(alert: Alert, links: Links = no_links) -> str:
    """What else is known of it, a line each."""
    event = alert.event
    heard = f"{event.senses.visual:.0%} seen, {event.senses.acoustic:.0%} heard"
    lines = [f"since {rfc3339(event.start_ns)}", f"score up to {event.peak_score:.2f}: {heard}"]
    if event.sentiment:
        lines.append(f"people sound {event.sentiment.label}")
    if evidence := links(alert):
        lines += [f"{name}: {link}" for name, link in msgspec.structs.asdict(evidence).items()]
    return "\n".join([*lines, f"rule {alert.rule}, {alert.severity}, alert {alert.id}"])
