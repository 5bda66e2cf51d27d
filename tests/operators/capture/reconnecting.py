"""A camera that loses its connection again and again, in a process that holds nothing else: what does it keep?

    python -m tests.operators.capture.reconnecting SOURCE ended|refused BEFORE AFTER

Prints, as JSON, what the process holds after so many sessions (or refused connections), and after so many more.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
from pathlib import Path

from tests.operators.capture.watching import Watch, assert_whole, watching

PATIENCE_S = 150.0


def held() -> dict[str, int]:
    """What this process holds."""
    gc.collect()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {"memory_bytes": int(status["RssAnon"].split()[0]) * 1024, "threads": threading.active_count(),
            "descriptors": len(list(Path("/proc/self/fd").iterdir()))}


def wait(watch: Watch, what: str, count: int) -> None:
    """Until so many sessions have begun or connections were refused; the camera may be between two."""
    if what == "ended":
        watch.wait_for_session(count, PATIENCE_S)
    else:
        watch.wait_for(lambda: watch.camera.status.errors.get("open", 0) >= count, PATIENCE_S)


def main(source: str, what: str, before: int, after: int) -> None:
    with watching(source, backoff_min_s=0.01, backoff_max_s=0.01) as watch:
        found = []
        for count in (before, after):
            wait(watch, what, count)
            found.append(held())
    for segments in watch.sessions().values():
        assert_whole(segments)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
