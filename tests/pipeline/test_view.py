"""What people see of a run: a line for every camera, a line for every event, a summary."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from operators.capture.camera import CameraStatus
from operators.clock import NS_PER_S, ManualClock
from operators.records import AudioTrack, Embedding, Event, Health, Segment, Senses, Sentiment
from pipeline.board import Board
from pipeline.local import Outcome
from pipeline.view import PlainView, TerminalView, describe
from pipeline.watch import Report

EVENT = Event(id="1", kind="open", camera="gate", session="s", label="siren", score=0.9, peak_score=0.93,
              time_ns=2 * NS_PER_S, start_ns=NS_PER_S, end_ns=None, media_start_ns=NS_PER_S, media_end_ns=None,
              sentiment=Sentiment(label="negative", negative=0.8, neutral=0.1, positive=0.1),
              senses=Senses(visual=0.25, acoustic=0.75))
CLOSED = msgspec.structs.replace(EVENT, kind="close", end_ns=4 * NS_PER_S, media_end_ns=4 * NS_PER_S)


def embedding(sequence: int, health: Health) -> Embedding:
    return Embedding(camera="gate", session="s", sequence=sequence, start_ns=0, duration_ns=NS_PER_S, steps=0,
                     step_ns_raw=b"", visual_raw=b"", visual_valid_raw=b"", acoustic_raw=b"", acoustic_valid_raw=b"",
                     health=health)


def segment(sequence: int) -> Segment:
    return Segment(camera="gate", session="s", sequence=sequence, start_ns=0, duration_ns=NS_PER_S, video=None,
                   audio=AudioTrack("aac", 16000, 1))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NS_PER_S)


@pytest.fixture
def board(clock: ManualClock) -> Board:
    """Six seconds of a camera of 25 frames/s, three segments of which are still waiting."""
    board = Board(clock)
    board.on_status("gate", CameraStatus(state="connected", connected_since_ns=NS_PER_S))
    for sequence in range(9):
        board.on_output("capture", segment(sequence))
    for sequence in range(6):
        clock.sleep(1)
        board.on_output("perceive", embedding(sequence, Health(frames=25, level_dbfs=-30.0, skew_ns=40_000_000)))
    board.on_output("fuse", EVENT)
    return board


def shown(board: Board) -> str:
    with Path("/dev/null").open("w") as nowhere:
        console = Console(width=140, record=True, force_terminal=True, file=nowhere)
        with TerminalView(board, console) as view:
            console.print(view.draw())
            return console.export_text()


def test_a_camera_has_one_line_with_all_that_is_known_of_it(board: Board) -> None:
    line = next(line for line in shown(board).splitlines() if line.startswith("gate"))
    for part in ("25.0", "-30 dB", "+40 ms", " 3 ", "siren"):
        assert part in line
    assert ":" in line  # connected since


def test_a_camera_that_was_never_reached_says_so(board: Board) -> None:
    board.on_status("yard", CameraStatus(state="waiting"))
    line = next(line for line in shown(board).splitlines() if line.startswith("yard"))
    assert "waiting" in line
    assert "none" in line  # no sound


def test_silence_is_not_the_same_as_no_sound(board: Board) -> None:
    board.on_output("perceive", embedding(7, Health(frames=25, level_dbfs=-120.0)))
    assert "silent" in shown(board)


def test_an_event_that_closes_is_no_longer_open(board: Board) -> None:
    assert board.rows()[0].open_events == ("siren",)
    board.on_output("fuse", CLOSED)
    assert board.rows()[0].open_events == ()
    assert board.totals().events == {"siren": 1}


def test_a_line_says_what_when_where_how_sure_and_by_which_sense() -> None:
    assert describe(EVENT) == ("    1.00 s  ● gate: siren open, peak 0.93 (seen 25%, heard 75%), sentiment negative")
    assert describe(CLOSED) == (
        "    4.00 s  ○ gate: siren close after 3.0 s, peak 0.93 (seen 25%, heard 75%), sentiment negative")


def test_plain_lines_leave_out_updates(caplog: pytest.LogCaptureFixture) -> None:
    view = PlainView()
    with caplog.at_level("INFO"):
        for event in (EVENT, msgspec.structs.replace(EVENT, kind="update"), CLOSED):
            view.on_output("fuse", event)
    assert len(caplog.records) == 2


def test_the_summary_adds_up(board: Board) -> None:
    report = Report(Outcome((), undelivered=2), board, Counter(delivered=1), wall_s=3.0)
    text = "\n".join(report.lines())
    assert "watched 1 camera: 6.0 s of media in 3.0 s (2.0 x real time), 150 pictures, 6.0 s of sound" in text
    assert "siren 1" in text
    assert "1 delivered, 2 waiting" in text
    assert report.exit_code == 0
    assert Report(Outcome(("perceive: broken",), 0), board, Counter(), 1.0).exit_code == 1
