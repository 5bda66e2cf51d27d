"""When an alert that did not arrive is tried again."""

from __future__ import annotations

import hashlib

from operators.clock import seconds_to_ns

DELAYS_S = (5, 30, 120, 600, 1800, 3600, 7200, 18000, 36000)  # after the first failure, the second, ...
JITTER = 0.2  # a delay is up to this much longer, so that many alerts do not come back at once
RETRIES = len(DELAYS_S)  # when the last of them fails too, about 19 hours after the first, an alert is given up
MAX_RETRY_AFTER_S = 36000.0  # a receiver cannot ask to be left alone for longer


def delay_ns(alert: str, failures: int, retry_after_s: float | None = None) -> int:
    """How long to wait after the alert's `failures`-th failure: the same after every restart."""
    digest = hashlib.sha256(f"{alert}/{failures}".encode()).digest()
    jitter = JITTER * int.from_bytes(digest[:4], "big") / 2**32
    delay_s = DELAYS_S[min(failures, len(DELAYS_S)) - 1] * (1.0 + jitter)
    return seconds_to_ns(max(delay_s, min(retry_after_s or 0.0, MAX_RETRY_AFTER_S)))
