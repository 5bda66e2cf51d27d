from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("torch", reason="the train extra is not installed")

from operators.errors import SettingsError
from operators.models.bundle import Bundle, load
from pipeline.cli import main
from pipeline.training.comparison import compare as room
from pipeline.training.comparison.baselines import METHODS
from pipeline.training.comparison.compare import Terms, compare
from pipeline.training.comparison.contest import Contest, Effort, Fold
from pipeline.training.dataset import Problem
from pipeline.training.features import Features
from pipeline.training.measuring.report import comparison
from pipeline.training.scenes.stage import CONDITIONS
from pipeline.training.split import Part, Source
from tests.drawn import chirp, flicker, still
from tests.media import make_video

pytestmark = [pytest.mark.slow, pytest.mark.long]
EFFORT = Effort(epochs=1, batches=1, ordinary_scenes=2, composed_scenes=4, checked_scenes=4, measured_scenes=8)
SOURCES, FOLDS = 3, 2


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn fights with and without sound, sirens and voices."""
    folder = tmp_path_factory.mktemp("data")
    rows = ["path,label,source,set,intensity"]
    tones: list[tuple[str, float | Callable[..., Any]]] = [("siren", chirp), ("angry", 220.0), ("calm", 330.0)]
    for source in range(SOURCES):
        for label, draw in (("fight", flicker), ("no_fight", still)):
            sound: dict[str, Any] = {"audio_codec": "aac", "tone": 110.0} if source % 2 else {}
            make_video(folder / f"{label}{source}.mp4", seconds=2, draw=draw, **sound)
            rows.append(f"{label}{source}.mp4,{label},{source},drawn,")
        for label, tone in tones:
            length_s = 1.0 + 0.5 * source  # tells the sources apart
            make_video(folder / f"{label}{source}.wav", seconds=length_s, codec=None, audio_codec="pcm_s16le",
                       tone=tone)
            rows.append(f"{label}{source}.wav,{label},{source},played,strong")
    (folder / "labels.csv").write_text("\n".join([*rows, "gone.wav,siren,gone,played,"]) + "\n")
    return folder


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """Whose labels are asked; it has no part in the comparison."""
    return load("starter")


@pytest.fixture(scope="module")
def compared(data: Path, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("compared")
    report, problems = compare(bundle, data, out, Terms(folds=FOLDS, effort=EFFORT))
    assert [problem.path for problem in problems] == ["gone.wav"]
    return report, out


def test_every_method_is_measured_under_every_condition(compared: tuple[dict[str, Any], Path]) -> None:
    report, _ = compared
    points = report["composed_scenes"]["mean_ap"]
    assert set(points) == set(CONDITIONS)
    for by in points.values():
        assert set(by) == set(METHODS)
        for figure in by.values():
            assert figure["low"] <= figure["mean"] <= figure["high"]
            assert len(figure["folds"]) == FOLDS
    assert report["real_clips_with_sound"]["fight"]["n"] == 2  # of source 1
    assert json.loads(msgspec.json.encode(report)) == json.loads(json.dumps(report))


def test_every_source_is_held_out_once_and_never_learnt_from_then(
        compared: tuple[dict[str, Any], Path], data: Path, bundle: Bundle, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    before = Fold.load(next((compared[1] / "work").glob("0-*.npz")))
    parts: list[dict[Part, set[Source]]] = []

    class Watched(Contest):
        def __init__(self, clips: Mapping[Part, Sequence[Features]], *_: object) -> None:
            parts.append({part: {clip.row.source for clip in found} for part, found in clips.items()})

        def run(self, *_: object) -> Fold:
            return before

    monkeypatch.setattr(room, "Contest", Watched)
    compare(bundle, data, tmp_path, Terms(folds=FOLDS, effort=EFFORT))
    held = [part["held_out"] for part in parts]
    assert not held[0] & held[1]
    assert len(held[0] | held[1]) == 2 * SOURCES
    for part in parts:
        assert not part["held_out"] & (part["train"] | part["validation"])


def test_it_is_said_what_is_composed(compared: tuple[dict[str, Any], Path]) -> None:
    from rich.console import Console  # noqa: PLC0415

    report, _ = compared
    console = Console(record=True, width=200)  # wide enough that nothing is wrapped
    for part in comparison(report):
        console.print(part)
    text = console.export_text()
    assert "Composed scenes" in text
    assert "Real clips" in text
    assert all(condition.says in text for condition in CONDITIONS.values())
    assert "they have met none of the data" in text


def test_the_diagrams_are_there(compared: tuple[dict[str, Any], Path]) -> None:
    for file in map(Path, compared[0]["diagrams"]):
        assert file.read_bytes().startswith(b"\x89PNG")
        assert file.stat().st_size > 10_000


def test_a_run_that_was_killed_goes_on_where_it_stood(
        compared: tuple[dict[str, Any], Path], data: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    report, out = compared
    next((out / "work").glob("1-????????????????.npz")).unlink()  # as if it had been killed in the second fold

    def never(*_: object, **__: object) -> None:
        pytest.fail("was done before the kill")

    for name in ("comparison.contest.train_fusion", "features.read_media", "scenes.spoilt.read_media"):
        monkeypatch.setattr(f"pipeline.training.{name}", never)
    again, _ = compare(bundle, data, out, Terms(folds=FOLDS, effort=EFFORT))
    assert {**again, "speed": None} == {**report, "speed": None}


def test_the_command_compares_and_says_what_it_was_asked(
        compared: tuple[dict[str, Any], Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[Terms] = []

    def canned(bundle: Bundle, data: Path, out: Path, terms: Terms) -> tuple[dict[str, Any], list[Problem]]:
        asked.append(terms)
        return compared[0], []

    monkeypatch.setattr(room, "compare", canned)
    arguments = ["lookout", "evaluate", "--data", str(data), "--compare", "--out", str(tmp_path), "--folds", "3"]
    for more in (["--json"], []):
        monkeypatch.setattr("sys.argv", [*arguments, *more])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
    written = capsys.readouterr().out
    assert json.JSONDecoder().raw_decode(written)[0] == json.loads(json.dumps(compared[0]))
    assert "Composed scenes" in written
    assert asked == [Terms(folds=3)] * 2


def test_too_few_sources_are_said(data: Path, bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="too few for 9 folds"):
        compare(bundle, data, tmp_path / "out", Terms(folds=9))
