"""A process that makes alerts of the events in a log and delivers them to a webhook, until it is killed.

    python -m tests.pipeline.alerts.notifying FOLDER URL
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

from operators.base import Operator
from operators.clock import SystemClock
from operators.notify import retry
from operators.notify.alerter import Alerter
from operators.notify.outbox import Outbox
from operators.notify.rules import RuleSettings
from operators.notify.webhook import Webhook, WebhookSettings
from pipeline.topics.embedded_log import EmbeddedLog
from pipeline.topology import STAGES
from pipeline.watcher import Watcher
from pipeline.workers.worker import Worker

RULE = RuleSettings(name="all", labels=("siren",), cooldown_s=0.0)


def main(folder: Path, url: str) -> None:
    """Run the last two stages."""
    retry.DELAYS_S = (0.1,) * retry.RETRIES  # type: ignore[assignment]  # the schedule itself has tests of its own
    clock, log, stop = SystemClock(), EmbeddedLog(folder), threading.Event()
    webhook = Webhook(WebhookSettings(name="guard", url=url, secret_file=str(folder / "secret"), timeout_s=2.0,
                                      allow=("127.0.0.1",)), folder, clock)
    outbox = Outbox([webhook], clock=clock)
    operators: dict[str, Operator[Any, Any]] = {"notify": Alerter([RULE], ()), "deliver": outbox}
    threads = [threading.Thread(target=Worker(stage.lane, operators[stage.lane.stage], log, clock, Watcher()).run,
                                args=(stop,)) for stage in STAGES if stage.lane.stage in operators]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
