"""Dead letters are shown and given to their stage once more, on the embedded log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from operators.errors import SettingsError
from pipeline.cluster.dead_letters import dead_letter, dead_letters, replay, replay_all
from pipeline.settings import LogSettings
from pipeline.topics.embedded_log import EmbeddedLog
from pipeline.topology import EMBEDDINGS, topics
from tests.contracts.logs import everything

HEADERS = {"lookout-type": b"embedding", "lookout-dead-reason": b"too\nbad", "lookout-dead-topic": b"embeddings",
           "lookout-dead-partition": b"1", "lookout-dead-offset": b"7", "lookout-dead-traceback": b"Traceback ..."}


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    log = EmbeddedLog(tmp_path)
    log.ensure(topics(LogSettings(partitions=2)))
    with log.transaction("fuse") as transaction:
        for number in range(3):
            transaction.append("dead.fuse", "gate", b"%d" % number, HEADERS)
    yield log
    log.close()


def test_they_are_listed_a_line_each_and_shown_in_full(log: EmbeddedLog) -> None:
    letters = list(dead_letters(log, "fuse"))
    assert len(letters) == 3
    assert "camera gate from embeddings[1] offset 7, 1 bytes: too bad" in letters[1].line()
    shown = dead_letter(log, "fuse", letters[1].place)
    assert shown == letters[1]
    assert shown.text().endswith("Traceback ...")


def test_one_is_replayed_as_it_was(log: EmbeddedLog) -> None:
    replay(log, list(dead_letters(log, "fuse"))[1])
    [again] = everything(log, EMBEDDINGS)
    assert (again.key, again.value, dict(again.headers)) == ("gate", b"1", {"lookout-type": b"embedding"})
    assert len(list(dead_letters(log, "fuse"))) == 3


def test_all_are_replayed_once(log: EmbeddedLog) -> None:
    assert replay_all(log, "fuse") == 3
    assert [message.value for message in everything(log, EMBEDDINGS)] == [b"0", b"1", b"2"]
    assert replay_all(log, "fuse") == 0
    assert len(everything(log, EMBEDDINGS)) == 3


@pytest.mark.parametrize("place", ["0:99", "9:0", "nonsense", "-1:0"])
def test_what_is_not_there_is_said(log: EmbeddedLog, place: str) -> None:
    with pytest.raises(SettingsError, match="PARTITION:OFFSET"):
        dead_letter(log, "fuse", place)


def test_an_unknown_stage_is_refused(log: EmbeddedLog) -> None:
    with pytest.raises(SettingsError, match="perceive, fuse, health, notify, deliver, evidence"):
        list(dead_letters(log, "capture"))
