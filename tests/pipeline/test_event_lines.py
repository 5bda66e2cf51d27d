"""Event lines: a file gets every event once, whatever a kill left behind."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from operators.errors import SettingsError
from operators.records import Event, Senses
from pipeline import codec
from pipeline.event_lines import EventLines
from pipeline.settings import LogSettings
from pipeline.topics.embedded_log import EmbeddedLog
from pipeline.topology import EVENTS, topics


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    log = EmbeddedLog(tmp_path / "data")
    log.ensure(topics(LogSettings()))
    yield log
    log.close()


def put(log: EmbeddedLog, *numbers: int) -> None:
    with log.transaction("test") as transaction:
        for number in numbers:
            event = Event(id=f"event{number}", kind="open", camera="a", session="s", label="siren", score=1.0,
                          peak_score=1.0, time_ns=number, start_ns=number, end_ns=None, media_start_ns=None,
                          media_end_ns=None, sentiment=None, senses=Senses(visual=0.0, acoustic=1.0))
            transaction.append(EVENTS, "a", *codec.encode(event))


def write_all(log: EmbeddedLog, path: Path) -> list[str]:
    """Run until everything is written; the ids in the file."""
    lines, stop = EventLines(log, path), threading.Event()
    thread = threading.Thread(target=lines.run, args=(stop,))
    thread.start()
    while any(log.lag(lines.group, EVENTS).values()):
        thread.join(0.02)
    stop.set()
    thread.join()
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def test_each_run_adds_what_is_new(log: EmbeddedLog, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    put(log, 1, 2)
    assert write_all(log, path) == ["event1", "event2"]
    put(log, 3)
    assert write_all(log, path) == ["event1", "event2", "event3"]


def test_what_was_written_but_not_committed_is_cut_off(log: EmbeddedLog, tmp_path: Path) -> None:
    """A killed run leaves lines, even half a line, that the log does not know of; they come again."""
    path = tmp_path / "events.jsonl"
    put(log, 1)
    write_all(log, path)
    with path.open("a") as file:
        file.write('{"id":"event2"}\n{"id":"ev')
    put(log, 2, 3)
    assert write_all(log, path) == ["event1", "event2", "event3"]


@pytest.mark.parametrize("before", ["", '{"id":"of another tool"}\n'])
def test_so_it_is_when_the_first_commit_never_came(log: EmbeddedLog, tmp_path: Path, before: str) -> None:
    """A run that is killed before it has committed anything leaves lines in a file that was new, or was not ours."""
    path = tmp_path / "events.jsonl"
    path.write_text(before)
    stopped = threading.Event()
    stopped.set()
    EventLines(log, path).run(stopped)
    with path.open("a") as file:
        file.write('{"id":"event1"}\n{"id":"ev')
    put(log, 1, 2)
    assert write_all(log, path) == [json.loads(line)["id"] for line in before.splitlines()] + ["event1", "event2"]


def test_two_files_each_get_everything(log: EmbeddedLog, tmp_path: Path) -> None:
    put(log, 1, 2)
    assert write_all(log, tmp_path / "a") == write_all(log, tmp_path / "b") == ["event1", "event2"]


def test_a_file_that_was_taken_away_begins_anew_with_what_is_new(log: EmbeddedLog, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    put(log, 1)
    write_all(log, path)
    path.rename(tmp_path / "yesterday.jsonl")
    put(log, 2)
    assert write_all(log, path) == ["event2"]
    put(log, 3)
    assert write_all(log, path) == ["event2", "event3"]


def test_a_file_that_cannot_be_written(log: EmbeddedLog, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--events"):
        EventLines(log, tmp_path)
