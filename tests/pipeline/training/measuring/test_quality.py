"""What was measured stands in the manifest, and the bundle is otherwise the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from operators.errors import BundleError
from operators.models.bundle import load
from operators.models.card import card
from pipeline.training.measuring.quality import compared, record
from tests.end_to_end.lookout import run
from tests.media import make_video
from tests.tiny_bundle import make_bundle

SPREAD = {"mean": 61.25, "low": 60.0, "high": 62.5, "folds": [61.0, 61.5]}
COMPARISON: dict[str, Any] = {
    "method": {"trunks": "know nothing of it", "folds": [{}, {}], "effort": {"seed": 0}},
    "composed_scenes": {"mean_ap": {"clean": {"visual": SPREAD}}, "ap": {"clean": {"visual": {"fight": SPREAD}}},
                        "gain": {"over_better_sense": {"over": "visual", **SPREAD}}},
    "real_clips_with_sound": {"fight": {"n": 7}}, "diagrams": ["a.png"], "speed": {"wall_s": 1.0}}


def test_a_report_is_recorded_and_nothing_else_changes(tmp_path: Path) -> None:
    before = load(make_bundle(tmp_path / "bundle"))
    record(before, {"clips": {"fight": {"accuracy": 0.75, "n": 4}}})
    after = load(tmp_path / "bundle")
    assert after.manifest.quality == {"clips": {"fight": {"accuracy": 0.75, "n": 4}}}
    assert msgspec.structs.replace(after.manifest, quality={}) == before.manifest
    assert sorted(path.name for path in (tmp_path / "bundle").iterdir()) == [
        "MODEL_CARD.md", "acoustic.onnx", "fusion.onnx", "manifest.json", "visual.onnx"]
    assert (tmp_path / "bundle" / "MODEL_CARD.md").read_text() == card(after.manifest)


def test_a_comparison_is_recorded_as_figures_with_their_intervals(tmp_path: Path) -> None:
    bundle = load(make_bundle(tmp_path / "bundle"))
    found = compared(COMPARISON)
    assert found == {"trunks": "know nothing of it", "folds": 2, "real_clips_with_sound": {"fight": {"n": 7}},
                     "composed_scenes": {key: COMPARISON["composed_scenes"][key] for key in ("mean_ap", "gain")}}
    written = card(record(bundle, {"comparison": found}).manifest)
    assert "| comparison / composed_scenes / mean_ap / clean / visual | 61.25 (60 to 62.5) |" in written
    assert "| comparison / composed_scenes / gain / over_better_sense | 61.25 (60 to 62.5) over visual |" in written


def test_the_command_records_what_it_measures_and_keeps_what_others_did(tmp_path: Path) -> None:
    bundle = record(load(make_bundle(tmp_path / "bundle")), {"comparison": {"folds": 2}, "clips": {}})
    make_video(tmp_path / "clip.mp4", seconds=2)
    (tmp_path / "labels.csv").write_text("path,label,source\nclip.mp4,bright,a\n")
    arguments = ("evaluate", "--model", bundle.path, "--data", tmp_path, "--json")
    told = json.loads(run(*arguments).stdout)
    assert load(bundle.path).manifest == bundle.manifest
    again = run(*arguments, "--record")
    assert again.returncode == 0, again.stderr
    kept = load(bundle.path).manifest.quality
    assert kept["comparison"] == {"folds": 2}
    assert kept["engines"].keys() == {"visual.onnx", "acoustic.onnx", "fusion.onnx"}
    assert kept["clips"] == told["clips"] == json.loads(again.stdout)["clips"]


def test_a_bundle_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    bundle = load(make_bundle(tmp_path / "bundle"))
    (bundle.path / "manifest.new").mkdir()
    with pytest.raises(BundleError, match=r"bundle: cannot be written"):
        record(bundle, {})
