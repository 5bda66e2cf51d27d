"""Log lines say what they are about, in plain text or JSON, and repeat themselves no more than a few times."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from operators.clock import ManualClock
from pipeline import logs
from pipeline.logs import BURST, PERIOD_S, JsonLines, Repeats, about

Written = Callable[[], list[str]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    logger = logging.getLogger("lookout.test")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    yield logger
    logger.handlers.clear()
    logger.propagate = True


@pytest.fixture
def written(log: logging.Logger, clock: ManualClock) -> Written:
    """The lines so far, as JSON."""
    return to(log, clock, JsonLines())


def to(log: logging.Logger, clock: ManualClock, formatter: logging.Formatter) -> Written:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    handler.addFilter(Repeats(clock))
    log.addHandler(handler)
    return lambda: stream.getvalue().splitlines()


def test_a_line_of_json_says_what_it_is_about(log: logging.Logger, written: Written) -> None:
    with about(stage="perceive"), about(camera="gate"):
        log.warning("lost %d of\n%s", 3, "all", extra={"segment": "s1/7", "trace_id": "ab" * 16})
    log.info("after that")
    first, second = map(json.loads, written())
    assert first.pop("time").endswith("Z")
    assert first == {"level": "warning", "logger": "lookout.test", "message": "lost 3 of\nall", "camera": "gate",
                     "stage": "perceive", "segment": "s1/7", "trace_id": "ab" * 16}
    assert second.keys() == {"time", "level", "logger", "message"}


def test_an_error_brings_its_traceback_in_the_same_line(log: logging.Logger, written: Written) -> None:
    try:
        raise KeyError("gone")  # noqa: EM101
    except KeyError:
        log.exception("broken")
    (line,) = map(json.loads, written())
    assert line["traceback"].startswith("Traceback")
    assert "KeyError: 'gone'" in line["traceback"]


def test_a_line_that_repeats_itself_is_counted(log: logging.Logger, written: Written, clock: ManualClock) -> None:
    for tries in range(100):
        log.warning("%s: %s; trying again in %.1f s", "gate", OSError(f"attempt {tries}"), tries / 10)
        log.warning("%s: %s; trying again in %.1f s", "gate2", OSError(f"attempt {tries}"), tries / 10)
    assert len(written()) == 2 * BURST
    clock.sleep(PERIOD_S)
    log.warning("%s: %s; trying again in %.1f s", "gate", OSError("attempt 7"), 1.0)
    assert json.loads(written()[-1])["repeated"] == 100 - BURST
    log.warning("%s: %s; trying again in %.1f s", "gate", OSError("attempt 8"), 1.0)
    assert "repeated" not in json.loads(written()[-1])


def test_lines_of_different_cameras_and_events_do_not_repeat_each_other(log: logging.Logger, written: Written) -> None:
    for number in range(100):
        with about(camera=f"camera{number}"):
            log.warning("nothing comes")
        log.info("%s", f"event {number} opened")
    assert len(written()) == 200


def test_in_plain_text_the_count_stands_behind_the_line(
        log: logging.Logger, clock: ManualClock) -> None:
    written = to(log, clock, logging.Formatter(logs.PLAIN))
    for _ in range(BURST + 2):
        log.warning("again")
    clock.sleep(PERIOD_S)
    log.warning("again")
    assert written()[0].endswith(" WARNING again")
    assert written()[-1].endswith(" WARNING again (left out before: 2 like it)")


def test_ever_new_lines_fill_no_memory(log: logging.Logger, clock: ManualClock) -> None:
    repeats = Repeats(clock)
    for number in range(3 * logs.MAX_KINDS):
        repeats.filter(log.makeRecord("a", logging.INFO, "", 0, f"line {number}", (), None))
    assert len(repeats._kinds) == logs.MAX_KINDS


@pytest.mark.parametrize(("wanted", "terminal", "people", "machines"), [
    ("auto", True, "plain", "plain"), ("auto", False, "plain", "json"),
    ("plain", False, "plain", "plain"), ("json", True, "json", "json")])
def test_the_form_suits_where_lines_go(wanted: logs.LogFormat, terminal: bool, people: str, machines: str,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    assert logs.form_for_people(wanted) == people
    assert logs.form_for_machines(wanted) == machines


def test_of_what_libraries_say_only_warnings_are_logged() -> None:
    script = ("import logging; from pipeline.logs import log_to_stream; log_to_stream('plain')\n"
              "for name in ('pipeline.workers.worker', 'onnxscript'):\n"
              "    logging.getLogger(name).info('info of %s', name)\n"
              "    logging.getLogger(name).warning('warning of %s', name)\n")
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert [line.split(" ", 3)[-1] for line in done.stderr.splitlines()] == [
        "info of pipeline.workers.worker", "warning of pipeline.workers.worker", "warning of onnxscript"]
