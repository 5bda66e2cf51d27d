"""`lookout rules test` says what every rule would have made of every event, and it adds up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from operators.cloudevent import event_from_cloudevent, event_to_cloudevent
from operators.errors import SettingsError
from operators.notify.rules import LACKS, EscalateSettings, GroupSettings, RateSettings, RuleSettings
from operators.records import Event, Sentiment
from pipeline.alerts.trial import WHY, read_events, try_rules
from pipeline.cli import app
from tests.end_to_end.lookout import run
from tests.operators.notify.events import an_event

RULES = [
    RuleSettings(name="loud", labels=("siren",), min_score=0.5, cooldown_s=30, sinks=("guard",), severity="critical",
                 escalate=EscalateSettings(after_s=10)),
    RuleSettings(name="gates", labels=("siren", "dog_bark"), cameras=("gate-*",), cooldown_s=0,
                 group=GroupSettings(window_s=60), rate=RateSettings(alerts=1)),
]
EVENTS = [
    an_event("open", camera="gate-1"), an_event("update", at_s=12, camera="gate-1"),
    an_event("close", at_s=13, camera="gate-1"),
    an_event("close", start_s=20, at_s=21, camera="gate-1", peak_score=0.8),
    an_event("close", start_s=25, at_s=26, camera="hall", peak_score=0.3),
    an_event("close", start_s=200, at_s=201, camera="gate-2", label="dog_bark"),
    an_event("close", start_s=300, at_s=301, camera="hall", label="fight"),
    an_event("open", start_s=400, camera="hall"),  # the file ends before it does
]


def lines(events: list[Event]) -> list[bytes]:
    return [msgspec.json.encode(event_to_cloudevent(event)) for event in events]


@pytest.mark.parametrize("event", [
    *EVENTS, an_event("close", at_s=2.5, media_start_ns=1_500_000_000, media_end_ns=4_000_000_000,
                      sentiment=Sentiment("negative", 0.8, 0.15, 0.05))])
def test_an_event_comes_back_from_its_line(event: Event) -> None:
    rounded = msgspec.structs.replace(event, session="", score=0.8123, received_ns=0)
    assert event_from_cloudevent(lines([event])[0]) == rounded


def test_every_event_has_a_verdict_of_every_rule_about_it_and_it_adds_up() -> None:
    trial = try_rules(read_events(lines(EVENTS)), RULES, ("siren",))
    found = [(one.rule, one.camera, one.verdict, one.reason) for one in trial.verdicts]
    assert found == [
        ("loud", "gate-1", "sent", ""), ("gates", "gate-1", "sent", ""), ("loud", "gate-1", "escalated", ""),
        ("loud", "gate-1", "held", "cooldown"), ("gates", "gate-1", "held", "grouped"),
        ("loud", "hall", "held", "score"), ("gates", "gate-2", "held", "rate"), ("", "hall", "held", "unmatched"),
        ("loud", "hall", "sent", "")]
    assert trial.events == 6
    loud, gates = trial.rules
    assert (loud.sent, loud.escalated, loud.held, loud.not_about) == (2, 1, {"cooldown": 1, "score": 1}, 2)
    assert (gates.sent, gates.escalated, gates.held, gates.not_about) == (1, 0, {"grouped": 1, "rate": 1}, 3)
    said = "\n".join(one.line() for one in trial.verdicts)
    assert "loud sends critical to guard, as it lasts" in said
    assert "hall siren: loud holds it back, score: its score reached 0.30 of 0.50" in said
    assert "gates sends warning to all" in said
    assert "hall fight: no rule is about it" in said


def test_a_repeated_line_counts_once() -> None:
    assert try_rules(read_events(lines(EVENTS) * 2), RULES, ("siren",)).events >= 5
    assert [event.id for event in read_events(lines(EVENTS[:3]) * 2)] == [event.id for event in EVENTS[:3]]


def test_there_are_words_for_every_reason() -> None:
    assert set(WHY) == {*LACKS, "grouped", "cooldown", "rate"}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    events, config = tmp_path / "events.jsonl", tmp_path / "rules.yaml"
    events.write_bytes(b"\n".join(lines(EVENTS)) + b"\n\n")
    config.write_text("rules:\n  - {name: loud, labels: [siren], min_score: 0.5, cooldown_s: 30, sinks: [guard]}\n"
                      "webhooks: [{name: guard, url: 'https://guard.example'}]\n")
    return events, config


def said(*arguments: object) -> str:
    """What `lookout rules test …` writes."""
    done = CliRunner().invoke(app, ["rules", "test", *map(str, arguments)])
    if done.exception:
        raise done.exception
    return done.stdout


def test_the_command_tells_people_and_machines(files: tuple[Path, Path]) -> None:
    events, config = files
    told = said(events, "--config", config)
    assert "loud sends warning to guard" in told
    assert "6 events" in told
    trial: dict[str, Any] = json.loads(said(events, "--config", config, "--json"))
    tally, = trial["rules"]
    assert tally["sent"] + sum(tally["held"].values()) + tally["not_about"] == trial["events"] == 6


@pytest.mark.parametrize(("line", "config", "says"), [
    (b'{"no": "event"}\n', "", "events.jsonl: line 1: not an event"),
    (b"\xff\n", "", "events.jsonl: line 1: not an event"),
    (b"", "rules: [{name: a, labels: [figth]}]\n", "rules.a.labels: 'figth' is none of"),
    (b"", "rules: [{name: a, hours: [{timezone: Europe/Atlantis}]}]\n", "there is no time zone 'Europe/Atlantis'"),
])
def test_what_cannot_be_read_is_said(line: bytes, config: str, says: str, files: tuple[Path, Path]) -> None:
    files[0].write_bytes(line)
    files[1].write_text(config)
    with pytest.raises(SettingsError) as caught:
        said(files[0], "--config", files[1])
    assert says in str(caught.value)


def test_what_cannot_be_read_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    wrong = run("rules", "test", tmp_path / "nowhere.jsonl")
    assert wrong.returncode == 2
    assert wrong.stderr.endswith("nowhere.jsonl: No such file or directory\n")
    assert wrong.stderr.count("\n") == 1


def test_a_time_without_an_offset_is_no_event() -> None:
    line = lines(EVENTS)[0].replace(b"Z", b"")
    with pytest.raises(SettingsError, match="line 1: .*offset from UTC"):
        list(read_events([line]))
