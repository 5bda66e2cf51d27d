"""A fresh log of each kind for every test, and real processes that share it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

import pytest

from pipeline.topics.base import Log, TopicSettings
from tests.contracts.logs import LOGS, LogUnderTest

REPOSITORY = Path(__file__).parents[2]
TOPICS = [
    TopicSettings(name="in", partitions=4),
    TopicSettings(name="out", partitions=4),
    TopicSettings(name="small", partitions=2, max_record_bytes=10_000),
]


class Child:
    """Another process that has the log open; see log_child.py for what it can do."""

    def __init__(self, kind: str, address: str, *action: str) -> None:
        command = [sys.executable, "-m", "tests.contracts.log_child", kind, address, *action]
        self.process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)

    def line(self) -> str:
        """The next line it says; fails when it has ended without one."""
        said = cast(IO[str], self.process.stdout).readline().strip()
        assert said, f"the process ended with {self.process.wait()}"
        return said

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def finish(self) -> None:
        """Let it end by itself, and see that it does so well."""
        cast(IO[str], self.process.stdin).close()
        assert self.process.wait(30) == 0


@pytest.fixture(params=LOGS)
def kind(request: pytest.FixtureRequest) -> str:
    return cast(str, request.param)


@pytest.fixture
def address(kind: str, request: pytest.FixtureRequest) -> str:
    return LOGS[kind].fresh(request)


@pytest.fixture
def open_log(kind: str, address: str) -> Iterator[Callable[[], Log]]:
    """Opens the log once more, as another process would."""
    opened: list[Log] = []
    under_test: LogUnderTest = LOGS[kind]

    def open_one() -> Log:
        opened.append(under_test.open(address, under_test.session_timeout_s))
        return opened[-1]

    yield open_one
    for log in opened:
        log.close()


@pytest.fixture
def log(open_log: Callable[[], Log]) -> Log:
    """An empty log with TOPICS."""
    log = open_log()
    log.ensure(TOPICS)
    return log


@pytest.fixture
def start(kind: str, address: str, log: Log) -> Iterator[Callable[..., Child]]:
    """Starts another process on the log."""
    children: list[Child] = []

    def start_one(*action: str) -> Child:
        children.append(Child(kind, address, *action))
        return children[-1]

    yield start_one
    for child in children:
        child.kill()
        for pipe in (child.process.stdin, child.process.stdout):
            cast(IO[str], pipe).close()
