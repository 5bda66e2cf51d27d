"""Embeddings for the tiny bundle, whose scores a test can foretell."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from operators.records import Embedding, Event, Health

STEP_NS = 500_000_000
START_NS = 1_700_000_000_000_000_000

# A step as (brightness, motion, loudness); None for a sense that is not there.
Step = tuple[tuple[float, float] | None, float | None]
QUIET: Step = ((0.1, 0.0), 0.0)
BRIGHT: Step = ((0.9, 0.0), 0.0)
LOUD: Step = ((0.1, 0.0), 0.5)
BLIND_LOUD: Step = (None, 0.5)
NOTHING: Step = (None, None)


def embedding(steps: Sequence[Step], *, sequence: int = 0, first: int = 1, camera: str = "cam", session: str = "s",
              live: bool = False, final: bool = False) -> Embedding:
    """One record of `steps`, the first of them the session's step number `first` (1 is at START + one step)."""
    visual = np.array([step[0] or (0, 0) for step in steps], "<f2").reshape(len(steps), 2)
    acoustic = np.array([[step[1] or 0] for step in steps], "<f2").reshape(len(steps), 1)
    times = START_NS + (first + np.arange(len(steps), dtype="<i8")) * STEP_NS
    start_ns = START_NS + (first - 1) * STEP_NS
    return Embedding(
        camera=camera, session=session, sequence=sequence, start_ns=start_ns, duration_ns=len(steps) * STEP_NS,
        media_start_ns=None if live else start_ns - START_NS, received_ns=start_ns + len(steps) * STEP_NS, final=final,
        steps=len(steps), step_ns_raw=times.astype("<i8").tobytes(), visual_raw=visual.tobytes(),
        visual_valid_raw=np.array([step[0] is not None for step in steps], np.bool_).tobytes(),
        acoustic_raw=acoustic.tobytes(),
        acoustic_valid_raw=np.array([step[1] is not None for step in steps], np.bool_).tobytes(), health=Health())


def stream(steps: Sequence[Step], *, per_record: int = 2, camera: str = "cam", session: str = "s", live: bool = False,
           final: bool = True) -> list[Embedding]:
    """`steps` in records of a few steps each."""
    starts = range(0, len(steps), per_record)
    return [embedding(steps[start:start + per_record], sequence=number, first=1 + start, camera=camera,
                      session=session, live=live, final=final and start + per_record >= len(steps))
            for number, start in enumerate(starts)]


def step_of(time_ns: int | None) -> float | None:
    """A time as number of steps since the session's start."""
    return None if time_ns is None else (time_ns - START_NS) / STEP_NS


def story(events: Sequence[Event]) -> list[tuple[str, str, float | None, float | None]]:
    """(label, kind, start, end) of each, in steps since the session's start."""
    return [(event.label, event.kind, step_of(event.start_ns), step_of(event.end_ns)) for event in events]


def plain(events: Sequence[Event]) -> list[bytes]:
    """Every byte of them, to compare."""
    return [msgspec.json.encode(event) for event in events]
