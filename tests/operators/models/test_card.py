"""The model card says everything that a user has to know before using a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from operators.models.bundle import NOT_FOR, STARTER, load
from operators.models.card import card
from pipeline.cli import app
from tests.tiny_bundle import make_bundle

TRAINING: dict[str, Any] = {
    "data": {"fights": {"licence": "MIT", "origin": "Somebody 2019"}, "": {"licence": "not stated", "origin": "?"}},
    "sources": {"fights": ["a", "b", "c"], "": ["x"]}, "held_out": {"fights": ["d", "e"]},
    "weights": "a|b\nc", "parity": {"visual.onnx": {"openvino bf16": 0.99871}}, "seed": 3}
QUALITY: dict[str, Any] = {
    "clips": {"fight": {"accuracy": 0.8163265, "n": 49}, "sound": {"ap": {"siren": None}}},
    "streams": {"lobby": {"f1": 0.7142857}}, "folds": [{"ap": 0.5}, {"ap": 1.0}], "interval": [0.25, 0.75],
    "better": True}

SAID = {
    "labels": "| loud | acoustic | yes | 0.70 | 0.30 | 0.5 s |",
    "an alert nobody gets": "| motion | visual | no | 0.70 | 0.30 | 0.5 s |",
    "a data set with its licence and its split": "| fights | MIT | Somebody 2019 | 3 | 2 |",
    "a data set without a name": "| (no name) | not stated | ? | 1 | 0 |",
    "what would break the table": "| weights | a/b c |",
    "agreement of engines": "| parity / visual.onnx / openvino bf16 | 0.9987 |",
    "a figure": "| clips / fight / accuracy | 0.8163 |",
    "a count": "| clips / fight / n | 49 |",
    "a figure that could not be measured": "| clips / sound / ap / siren | – |",
    "a stream": "| streams / lobby / f1 | 0.7143 |",
    "a fold": "| folds / 2 / ap | 1 |",
    "an interval": "| interval | 0.25, 0.75 |",
    "an answer": "| better | yes |",
    "the licence": "\nFor nothing but tests.\n",
    "the reach": "every 0.5 s, back over 4 s.",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle"), training=TRAINING, quality=QUALITY,
                       licence="For nothing but tests")


@pytest.mark.parametrize("what", SAID)
def test_the_card_says(folder: Path, what: str) -> None:
    assert SAID[what] in card(load(folder).manifest)


def test_it_says_what_the_bundle_must_not_be_used_for(folder: Path, tmp_path: Path) -> None:
    assert all(f"- {what}\n" in card(load(folder).manifest) for what in NOT_FOR)
    own = load(make_bundle(tmp_path, not_for=("on ships",)))
    assert "It must not be used:\n\n- on ships\n\n" in card(own.manifest)


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    text = card(load(make_bundle(tmp_path)).manifest)
    assert "Nobody has written down what it was trained on." in text
    assert "Not measured." in text


def test_every_file_is_named_with_its_digest(folder: Path) -> None:
    manifest = load(folder).manifest
    for graph in (manifest.visual, manifest.acoustic, manifest.fusion):
        assert f"| {graph.file} | fp32 | {graph.sha256} |" in card(manifest)


def test_the_command_prints_it(folder: Path) -> None:
    run = CliRunner().invoke(app, ["model", "show", str(folder)])
    assert (run.exit_code, run.stdout) == (0, card(load(folder).manifest))


def test_the_starter_is_shown_unless_another_is_named() -> None:
    run = CliRunner().invoke(app, ["model", "show"])
    assert run.exit_code == 0
    assert run.stdout == card(load(STARTER).manifest)
    assert "Non-commercial" in run.stdout
