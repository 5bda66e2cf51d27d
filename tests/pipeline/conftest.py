"""What the rooms of the pipeline share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.settings import LogSettings
from pipeline.topics.embedded_log import EmbeddedLog
from pipeline.topology import topics


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    """An empty log with every topic."""
    log = EmbeddedLog(tmp_path)
    log.ensure(topics(LogSettings(partitions=2)))
    yield log
    log.close()
