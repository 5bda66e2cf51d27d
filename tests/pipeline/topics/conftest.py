"""An embedded log in a fresh folder, with a clock that stands still."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from operators.clock import ManualClock
from pipeline.topics.base import TopicSettings
from pipeline.topics.embedded_log import EmbeddedLog
from tests.pipeline.topics.embedded import TOPIC


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(10**18)


@pytest.fixture
def log(tmp_path: Path, clock: ManualClock) -> Iterator[EmbeddedLog]:
    with closing(EmbeddedLog(tmp_path, clock=clock)) as log:
        log.ensure([TOPIC, TopicSettings(name="out", partitions=2)])
        yield log
