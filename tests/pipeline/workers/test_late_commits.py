"""A worker whose log does not say whether a transaction was kept, and keeps it after all: nothing comes twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from typing_extensions import override

from operators.errors import LogUnavailable
from pipeline.topics.base import TopicSettings, Transaction
from pipeline.topics.embedded_log import EmbeddedLog
from tests.pipeline.workers.test_worker import Summing, labels, put, run_until_done, segment

EVERY = 3  # which transactions are late


class Late(EmbeddedLog):
    """Some transactions are under way for long, as a cluster's may be: until the next one is asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._count = 0
        self._under_way: Callable[[], None] | None = None
        self.late = 0

    @override
    def transaction(self, writer: str) -> Transaction:
        if self._under_way:
            self._under_way()
            self._under_way = None
        transaction = super().transaction(writer)
        write = transaction._write

        def maybe_later() -> None:
            self._count += 1
            if self._count % EVERY:
                return write()
            self._under_way, self.late = write, self.late + 1
            message = "the cluster does not answer"
            raise LogUnavailable(message)

        transaction._write = maybe_later  # type: ignore[method-assign]
        return transaction


def test_what_was_kept_late_is_not_done_again(tmp_path: Path) -> None:
    log = Late(tmp_path)
    log.ensure([TopicSettings(name, partitions=2) for name in ("segments", "events", "dead.count")])
    feeder = EmbeddedLog(tmp_path)
    put(feeder, *map(segment, range(30)))
    feeder.close()
    run_until_done(log, Summing())
    assert log.late
    assert labels(log) == [f"{sum(range(n + 1))}/{n + max(0, n - 1)}" for n in range(30)]
    log.close()
