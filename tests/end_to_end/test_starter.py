"""The bundle that comes with Lookout: what is promised of it, measured on sources that it was not trained on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from operators.models.bundle import STARTER, load
from tests.end_to_end.lookout import command, lines, run

ROOT = Path(__file__).parent.parent.parent
DATA = ROOT.parent / "shared/data"
LABELS = {"fight", "air_conditioner", "car_horn", "children_playing", "dog_bark", "drilling", "engine_idling",
          "gun_shot", "jackhammer", "siren", "street_music", "crying_baby", "baby_laugh"}
MAX_BYTES, MAX_MEMORY_BYTES = 25 * 10**6, 900 * 10**6

# A program's peak counts what its parent held when it was started, and pytest holds a gigabyte by then.
IN_A_SMALL_PROCESS = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""

needs_data = pytest.mark.skipif(not (DATA / "labels.csv").exists(), reason="wants the training data beside the project")


def test_it_is_whole_small_and_says_what_it_is() -> None:
    bundle = load("starter")
    assert set(bundle.label_names) == LABELS
    assert sum(path.stat().st_size for path in STARTER.iterdir()) <= MAX_BYTES
    manifest = bundle.manifest
    assert "NC" in manifest.licence or "non-commercial" in manifest.licence.lower()
    assert manifest.quality["clips"]["fight"]["accuracy"] > 0
    assert manifest.training["held_out"]
    for label in manifest.labels:
        assert label.close < label.open


def test_its_card_says_what_fusing_gains() -> None:
    """As `lookout evaluate --compare --record` has measured it, which takes longer than a test may."""
    compared = load("starter").manifest.quality["comparison"]
    assert compared["folds"] == 5
    gain = compared["composed_scenes"]["gain"]
    assert gain["over_best_late_fusion"]["mean"] >= 2.0
    assert gain["over_best_late_fusion"]["low"] > 0.0
    by_label = compared["composed_scenes"]["gain_over_better_sense_by_label"]
    for one in (gain["no_sound_over_visual"], gain["black_over_acoustic"], *by_label.values()):
        assert one["mean"] >= -1.0


@pytest.fixture(scope="module")
def lobby(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], int]:
    """The events of the composed stream, and how many bytes `lookout watch` took at most."""
    done = subprocess.run([sys.executable, "-c", IN_A_SMALL_PROCESS, *command(
        "watch", DATA / "streams/lobby.mp4", "--data", tmp_path_factory.mktemp("lobby") / "data", "--json")],
        capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return lines(done.stdout), int(done.stderr.split()[-1]) * 1024


@needs_data
@pytest.mark.slow
def test_a_composed_stream_gives_its_events_in_little_memory(lobby: tuple[list[dict[str, Any]], int]) -> None:
    events, peak_bytes = lobby
    assert 10 * 10**6 < peak_bytes < MAX_MEMORY_BYTES
    schema = json.loads((ROOT / "operators/schemas/event.schema.json").read_text())
    for event in events:
        jsonschema.validate(event, schema)
    assert {"fight", "siren", "gun_shot", "crying_baby"} <= {event["subject"] for event in events}


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """What `lookout evaluate` measures of the starter, on sources that it was not trained on."""
    done = run("evaluate", "--model", "starter", "--data", DATA, "--json", timeout_s=900)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@needs_data
@pytest.mark.slow
@pytest.mark.timeout(900)
class TestHeldOut:
    def test_what_the_manifest_says_is_what_is_measured(self, report: dict[str, Any]) -> None:
        assert report["left_out"]["trained_on"] > 0
        assert report["left_out"]["unusable"] == 0
        for name, figures in load("starter").manifest.quality["clips"].items():
            for measure, value in figures.items():
                if isinstance(value, float):  # another engine decides a clip or two otherwise
                    near = pytest.approx(value, abs=max(0.02, 2 / figures["n"]))
                    assert report["clips"][name][measure] == near, (name, measure)

    def test_fights(self, report: dict[str, Any]) -> None:
        assert report["clips"]["fight"]["accuracy"] >= 0.83

    def test_sounds(self, report: dict[str, Any]) -> None:
        sound = report["clips"]["sound"]
        assert sound["accuracy"] >= 0.70
        assert sound["by_set"]["urbansound8k"]["classes"] == 10
        assert sound["by_set"]["urbansound8k"]["accuracy"] >= 0.69

    def test_a_stream_of_them(self, report: dict[str, Any]) -> None:
        assert report["streams"]["lobby"]["f1"] >= 0.74

    def test_sentiment(self, report: dict[str, Any]) -> None:
        assert report["clips"]["sentiment"]["uar"] >= 0.85
