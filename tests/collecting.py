"""Collecting what nobody refers to any more, where a test lets pass what that says."""

from __future__ import annotations

import gc

_TURNS = 5  # as many as pytest takes: what finalisers bring back to life is only collected by the next one


def collect() -> None:
    """Collect all of it."""
    for _ in range(_TURNS):
        gc.collect()
