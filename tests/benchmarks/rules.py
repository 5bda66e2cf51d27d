"""What rules cost: 10,000 events of many cameras through ten rules that use every table, state included.

    python -m tests.benchmarks.rules [--events 10000] [--cameras 200]

Each event is an open, two updates and a close; after every 64 records the state is taken as the worker takes it.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

from rich.console import Console
from rich.table import Table

from operators.clock import NS_PER_S
from operators.notify.alerter import Alerter
from operators.notify.hours import Hours
from operators.notify.rules import EscalateSettings, GroupSettings, RateSettings, RuleSettings, SenseShares
from operators.records import Alert, Event, Senses, Sentiment, Suppressed, event_id

LABELS = ("fight", "siren", "gun_shot", "dog_bark", "crying_baby")
BATCH = 64
NIGHT = Hours(start="22:00", end="06:00", timezone="Europe/Berlin")
RULES = (
    RuleSettings(name="plain"),
    RuleSettings(name="strong", min_score=0.7, min_length_s=1.5),
    RuleSettings(name="negative", sentiments=("negative",)),
    RuleSettings(name="seen", senses=SenseShares(visual=0.4)),
    RuleSettings(name="nights", hours=(NIGHT,)),
    RuleSettings(name="days", quiet=(NIGHT,)),
    RuleSettings(name="areas", group=GroupSettings(areas=(("cam1*",), ("cam2*", "cam3*")))),
    RuleSettings(name="rated", rate=RateSettings(alerts=1000), cooldown_s=1.0),
    RuleSettings(name="lasting", escalate=EscalateSettings(after_s=2)),
    RuleSettings(name="all of it", cameras=("cam?", "cam*7"), group=GroupSettings(), cooldown_s=0.0,
                 escalate=EscalateSettings(after_s=1), rate=RateSettings(alerts=1000)),
)


def records(events: int, cameras: int) -> list[Event]:
    """All records of the events, in order of time."""
    made = []
    for number in range(events):
        start_ns = 1_700_000_000 * NS_PER_S + number * NS_PER_S // 3
        camera, label = f"cam{number * 37 % cameras}", LABELS[number % len(LABELS)]
        for at, kind in enumerate(("open", "update", "update", "close")):
            time_ns = start_ns + at * NS_PER_S
            made.append(Event(
                id=event_id(camera, "s", label, start_ns), kind=kind, camera=camera, session="s",  # type: ignore[arg-type]
                label=label, score=0.5, peak_score=0.4 + number % 60 / 100, time_ns=time_ns, start_ns=start_ns,
                end_ns=time_ns if kind == "close" else None, media_start_ns=None, media_end_ns=None,
                sentiment=Sentiment("negative", 0.8, 0.1, 0.1) if number % 2 else None,
                senses=Senses(number % 10 / 10, 1 - number % 10 / 10)))
    return sorted(made, key=lambda event: event.time_ns)


def main() -> None:
    parser = argparse.ArgumentParser(description="events through rules")
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--cameras", type=int, default=200)
    asked = parser.parse_args()
    given = records(asked.events, asked.cameras)
    alerter = Alerter(RULES, LABELS)
    counts: Counter[str] = Counter()
    slowest_s, state_bytes = 0.0, 0
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    for at in range(0, len(given), BATCH):
        start_s = time.perf_counter()
        for made in alerter.process(given[at:at + BATCH]):
            counts["sent" if isinstance(made, Alert) and not made.escalated else
                   "escalated" if isinstance(made, Alert) else "held back"] += 1
            assert isinstance(made, Alert | Suppressed)
        state_bytes += sum(map(len, alerter.snapshot().values()))
        slowest_s = max(slowest_s, time.perf_counter() - start_s)
    took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    assert counts["sent"] + counts["held back"] == sum(
        rule.wants(event, LABELS) for event in given if event.kind == "close" for rule in RULES)
    table = Table("events", "records", "rules", "cameras", "ms an event", "ms of CPU", "slowest batch, ms", "sent",
                  "escalated", "held back", "state written, MB", title="Events through rules")
    times_ms = (1e3 * took_s / asked.events, 1e3 * cpu_s / asked.events, 1e3 * slowest_s)
    table.add_row(str(asked.events), str(len(given)), str(len(RULES)), str(asked.cameras),
                  *(f"{time_ms:.3f}" for time_ms in times_ms), str(counts["sent"]), str(counts["escalated"]),
                  str(counts["held back"]), f"{state_bytes / 1e6:.1f}")
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
