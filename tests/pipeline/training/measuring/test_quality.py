"""What was measured stands in the manifest, and the bundle is otherwise the same."""

from __future__ import annotations

from pathlib import Path

import msgspec

from operators.models.bundle import load
from operators.models.card import card
from pipeline.training.measuring.quality import record
from tests.tiny_bundle import make_bundle


def test_a_report_is_recorded_and_nothing_else_changes(tmp_path: Path) -> None:
    before = load(make_bundle(tmp_path / "bundle"))
    record(before, {"clips": {"fight": {"accuracy": 0.75, "n": 4}}})
    after = load(tmp_path / "bundle")
    assert after.manifest.quality == {"clips": {"fight": {"accuracy": 0.75, "n": 4}}}
    assert msgspec.structs.replace(after.manifest, quality={}) == before.manifest
    assert sorted(path.name for path in (tmp_path / "bundle").iterdir()) == [
        "MODEL_CARD.md", "acoustic.onnx", "fusion.onnx", "manifest.json", "visual.onnx"]
    assert (tmp_path / "bundle" / "MODEL_CARD.md").read_text() == card(after.manifest)
