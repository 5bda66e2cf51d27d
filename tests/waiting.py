"""Waiting for what another process or thread does, where it does not announce itself."""

from __future__ import annotations

import time
from collections.abc import Callable

LOOK_S = 0.02


def until(done: Callable[[], object], within_s: float,
          told: Callable[[], object] = lambda: "it never happened") -> None:
    """Look again and again; an AssertionError with what is `told` where it has not happened within that time."""
    deadline_s = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < deadline_s, told()
        time.sleep(LOOK_S)
