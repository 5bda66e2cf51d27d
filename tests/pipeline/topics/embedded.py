"""What the tests of the embedded log share: one key, its partition, and other processes on the same folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import IO, cast

from pipeline.topics.base import Consumer, Log, TopicSettings, partition_of

KEY = "cam"
OTHER_KEY = "cam4"
PARTITION = partition_of(KEY, 2)
OTHER_PARTITION = partition_of(OTHER_KEY, 2)
TOPIC = TopicSettings(name="in", partitions=2)
assert PARTITION != OTHER_PARTITION

_PRELUDE = """
import os, sys
from pathlib import Path
from operators.errors import LogError, SettingsError
from pipeline.topics.embedded_log import EmbeddedLog
from tests.pipeline.topics.embedded import *
folder = Path(sys.argv[1])
log = EmbeddedLog(folder)
log.ensure([TOPIC])
"""


def append(log: Log, topic: str, count: int, value: bytes = b"", key: str = KEY, writer: str = "writer") -> None:
    with log.transaction(writer) as tx:
        for _ in range(count):
            tx.append(topic, key, value)


def commit(log: Log, consumer: Consumer, offset: int) -> None:
    """Commit `offset` in KEY's partition, and leave the other as it is."""
    with log.transaction("reader") as tx:
        tx.commit(consumer, {PARTITION: offset})


def ends(log: Log, topic: str = "in") -> tuple[int, int]:
    """The first kept and the next offset of KEY's partition."""
    return log.ends(topic)[PARTITION]


class Child:
    """Another process that runs `code` on the log in `folder`, open there as `log`."""

    def __init__(self, folder: Path, code: str) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", _PRELUDE + code, str(folder)], text=True,
                                        cwd=Path(__file__).parents[3], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def line(self) -> str:
        """The next line it prints."""
        return cast(IO[str], self.process.stdout).readline().strip()

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.communicate()

    def finish(self, said: str = "") -> str:
        """Say the last thing to it, let it end well, and return what it printed."""
        printed, _ = self.process.communicate(said)
        assert self.process.returncode == 0, printed
        return printed
