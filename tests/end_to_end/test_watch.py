"""`lookout watch` on files: what is drawn and played comes out as events, once, and the exit code means something."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.end_to_end.lookout import BRIGHT_S, LOUD_S, command, draw, lines, make_scene, run, summary, tone
from tests.tiny_bundle import make_bundle

SCHEMA = Path(__file__).parent.parent.parent / "operators/schemas/event.schema.json"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def scene(media: Callable[..., Path]) -> Path:
    return make_scene(media)


def white(time_s: float, picture: NDArray[np.uint8]) -> None:
    picture.fill(255)


def test_what_is_shown_and_played_comes_out_as_events(scene: Path, bundle: Path, tmp_path: Path) -> None:
    done = run("watch", f"hall={scene}", "--model", bundle, "--data", tmp_path / "data", "--json")
    assert done.returncode == 0, done.stderr
    events = lines(done.stdout)
    schema = json.loads(SCHEMA.read_text())
    for event in events:
        jsonschema.validate(event, schema)
        assert event["source"] == "/cameras/hall"
    for label, spans in (("bright", BRIGHT_S), ("loud", LOUD_S)):
        closed = [item for item in summary(events) if item[:2] == ("close", label)]
        assert len(closed) == len(spans)
        for (_, _, start_s, end_s), (drawn_start_s, drawn_end_s) in zip(closed, spans, strict=True):
            assert start_s == pytest.approx(drawn_start_s, abs=0.6)
            assert end_s == pytest.approx(drawn_end_s, abs=1.1)  # sound is heard over a window of a second
    opened = {event["id"] for event in events if event["type"].endswith("open")}
    assert opened == {event["id"] for event in events if event["type"].endswith("close")}
    loud = next(event for event in events if event["subject"] == "loud" and event["type"].endswith("close"))
    assert loud["data"]["senses"] == {"visual": 0.0, "acoustic": 1.0}
    assert loud["data"]["sentiment"]["label"] == "negative"
    assert "real time" in done.stderr


def test_two_runs_over_new_folders_give_the_same_bytes(scene: Path, bundle: Path, tmp_path: Path) -> None:
    outputs = [run("watch", scene, "--model", bundle, "--data", tmp_path / name, "--json").stdout for name in "ab"]
    assert outputs[0] == outputs[1] != ""


def test_a_second_run_over_the_same_folder_has_nothing_left_to_do(scene: Path, bundle: Path, tmp_path: Path) -> None:
    arguments = ("watch", scene, "--model", bundle, "--data", tmp_path / "data", "--json")
    assert run(*arguments).stdout
    second = run(*arguments)
    assert (second.returncode, second.stdout) == (0, "")


def test_ctrl_c_stops_gracefully_and_the_next_run_gives_the_rest(scene: Path, bundle: Path, tmp_path: Path) -> None:
    whole = run("watch", scene, "--model", bundle, "--data", tmp_path / "whole", "--json").stdout
    arguments = ("watch", scene, "--model", bundle, "--data", tmp_path / "data", "--json")
    with (tmp_path / "errors").open("w+") as errors:
        process = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=errors, text=True)
        assert process.stdout is not None
        first = process.stdout.readline()  # at least one event is out
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        process.stdout.close()
        assert process.wait(60) == 0
        errors.seek(0)
        assert "watched 1 camera" in errors.read()
    assert first + rest + run(*arguments).stdout == whole


def test_several_cameras_are_kept_apart(scene: Path, bundle: Path, tmp_path: Path) -> None:
    done = run("watch", f"a={scene}", f"b={scene}", "--model", bundle, "--data", tmp_path / "data",
               "--events", tmp_path / "events.jsonl")
    assert done.returncode == 0, done.stderr
    events = lines((tmp_path / "events.jsonl").read_text())
    by_camera = {name: summary([event for event in events if event["data"]["camera"] == name]) for name in "ab"}
    assert by_camera["a"] == by_camera["b"] != []
    assert len({event["id"] for event in events}) == 2 * len({(i[1], i[2]) for i in by_camera["a"]})


def test_video_without_sound_and_sound_without_video(media: Callable[..., Path], bundle: Path, tmp_path: Path) -> None:
    silent = media("silent.mp4", seconds=2, draw=white)  # longer, and it is frozen
    blind = media("blind.wav", seconds=4, codec=None, audio_codec="pcm_s16le", tone=440.0)
    done = run("watch", f"eye={silent}", f"ear={blind}", "--model", bundle, "--data", tmp_path / "data", "--json")
    assert done.returncode == 0, done.stderr
    assert {(event["data"]["camera"], event["subject"]) for event in lines(done.stdout)} == {
        ("eye", "bright"), ("ear", "loud")}


def test_keyframes_far_apart_change_nothing(media: Callable[..., Path], bundle: Path, tmp_path: Path) -> None:
    """Segments that begin between keyframes need the decoder's state of the one before."""
    rare = media("rare.mp4", seconds=20.0, fps=10, gop=100, audio_codec="aac", draw=draw, tone=tone)
    done = run("watch", f"hall={rare}", "--model", bundle, "--data", tmp_path / "data", "--json")
    bright = [item for item in summary(lines(done.stdout)) if item[:2] == ("close", "bright")]
    assert [(start_s, end_s) for _, _, start_s, end_s in bright] == [pytest.approx(span, abs=0.6) for span in BRIGHT_S]


def test_plain_lines_where_there_is_no_terminal(scene: Path, bundle: Path, tmp_path: Path) -> None:
    done = run("watch", scene, "--model", bundle, "--data", tmp_path / "data")
    assert done.returncode == 0
    assert "bright open" in done.stderr
    assert "\x1b[" not in done.stdout + done.stderr
    assert "events: bright 2, loud 2" in done.stdout


def test_lines_that_are_asked_for_are_not_drawn_over_on_a_terminal(scene: Path, bundle: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command("watch", scene, "--model", bundle, "--data", tmp_path, "--log-format", "json"),
                               stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    with suppress(OSError), open(ours, "rb", buffering=0) as terminal:  # an error is how a pseudo-terminal ends
        while piece := terminal.read(4096):
            shown += piece
    assert process.wait(60) == 0
    assert b"\x1b[" not in shown
    said = [json.loads(line)["message"] for line in shown.splitlines() if line.startswith(b"{")]
    assert any("bright open" in message for message in said)


def test_two_at_once_over_one_folder_are_refused(scene: Path, bundle: Path, tmp_path: Path) -> None:
    arguments = ("watch", scene, "--model", bundle, "--data", tmp_path / "data", "--json")
    first = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert first.stdout is not None
    first.stdout.readline()
    first.send_signal(signal.SIGSTOP)
    try:
        second = run(*arguments)
    finally:
        first.send_signal(signal.SIGCONT)
        first.communicate(timeout=60)
    assert second.returncode == 2
    assert "another lookout is running there" in second.stderr
