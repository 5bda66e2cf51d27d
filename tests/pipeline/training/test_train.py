from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

pytest.importorskip("torch", reason="the train extra is not installed")

from operators.errors import SettingsError
from operators.models.bundle import Bundle, load
from pipeline.training.dataset import Problem
from pipeline.training.evaluate import evaluate
from pipeline.training.train import Plan, train
from tests.drawn import chirp, flicker, still
from tests.media import make_video

pytestmark = pytest.mark.slow
PLAN = Plan(fusion_epochs=1, fusion_batches=3, fusions=2, scenes=4, rehearsals=2, checked_scenes=4)
SECONDS = 2.0


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn fights, synthesised sirens, noise and voices, two clips a source; and four rows that are wrong."""
    folder = tmp_path_factory.mktemp("data")
    rows = ["path,label,source,set"]
    drawn: list[tuple[str, dict[str, Any]]] = [("fight", {"draw": flicker}), ("no_fight", {"draw": still})]
    for label, arguments in drawn:
        for source in range(3):
            make_video(folder / f"{label}{source}.mp4", seconds=SECONDS, **arguments)
            rows.append(f"{label}{source}.mp4,{label},{label}{source},drawn")
    tones: list[tuple[str, float | Callable[..., Any]]] = [("siren", chirp), ("angry", 220.0), ("calm", 330.0)]
    for label, tone in tones:
        for source in range(3):
            make_video(folder / f"{label}{source}.wav", seconds=SECONDS, codec=None, audio_codec="pcm_s16le", tone=tone)
            rows.append(f"{label}{source}.wav,{label},{label}{source},played")
    (folder / "broken.wav").write_bytes(b"this is no sound")
    make_video(folder / "mute.wav", seconds=SECONDS, codec=None, audio_codec="pcm_s16le", tone=np.zeros_like)
    rows += ["gone.wav,siren,siren0,played", "broken.wav,siren,siren0,played", "siren0.wav,,siren0,played",
             "mute.wav,angry,angry0,played"]
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    (folder / "streams").mkdir()
    make_video(folder / "streams" / "hall.mp4", seconds=4, audio_codec="aac", tone=chirp)
    (folder / "streams" / "hall.csv").write_text("start_s,end_s,label\n0.0,4.0,siren\n")
    return folder


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, list[Problem]]:
    return train(data, tmp_path_factory.mktemp("out") / "bundle", PLAN)


def test_a_folder_of_clips_becomes_a_bundle(trained: tuple[Bundle, list[Problem]]) -> None:
    manifest = load(trained[0].path).manifest
    assert [(label.name, label.alertable) for label in manifest.labels] == [("fight", True), ("siren", True)]
    assert all(0.3 <= label.open <= 0.9 and label.close < label.open for label in manifest.labels)
    assert manifest.training["seed"] == 0
    assert "not stated" in manifest.licence


def test_wrong_rows_are_reported_and_training_goes_on(trained: tuple[Bundle, list[Problem]]) -> None:
    reasons = {problem.path: problem.reason for problem in trained[1]}
    assert reasons["gone.wav"] == "no such file"
    assert "broken.wav" in reasons
    assert "no sound in it" in reasons["mute.wav"]
    assert len(trained[1]) == 4


def test_no_source_is_both_learnt_and_held_out(trained: tuple[Bundle, list[Problem]]) -> None:
    training = trained[0].manifest.training
    for group, names in training["held_out"].items():
        assert names
        assert not set(names) & set(training["sources"][group])


def test_only_what_was_held_out_is_measured(trained: tuple[Bundle, list[Problem]], data: Path) -> None:
    bundle = trained[0]
    report, problems = evaluate(bundle, data)
    held_out = sum(len(names) for names in bundle.manifest.training["held_out"].values())
    clips = report["clips"]
    assert clips["fight"]["n"] + clips["sound"]["n"] + clips["sentiment"]["n"] == held_out
    assert set(clips["fight"]) >= {"accuracy", "ap", "n"}
    assert set(clips["sentiment"]) >= {"uar", "accuracy", "n"}
    assert set(report["streams"]["hall"]) >= {"precision", "recall", "f1", "false_per_hour", "events"}
    assert report["speed"]["media_s"] >= 4
    assert json.loads(json.dumps(report)) == report
    assert {problem.path for problem in problems} >= {"gone.wav"}


@pytest.mark.long
def test_a_killed_run_goes_on_where_it_stopped_and_ends_with_the_same_bundle(
        trained: tuple[Bundle, list[Problem]], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "again"
    shutil.copytree(trained[0].path.with_name("bundle.work"), tmp_path / "again.work")
    for kept in (tmp_path / "again.work").glob("*-fusion-*"):  # as if it had been killed before the fusion was trained
        kept.unlink()

    def never(*_: object, **__: object) -> None:
        pytest.fail("was done before the kill")

    for done in ("train.learn_feelings", "features.read_media", "scenes.spoilt.read_media"):
        monkeypatch.setattr(f"pipeline.training.{done}", never)
    bundle, _ = train(data, out, replace(PLAN, version="2"))
    same = msgspec.structs.replace(trained[0].manifest, name="again", version="2")
    assert bundle.manifest == same  # its sha256 of every graph too


@pytest.mark.parametrize("other", ["one", "two"])
def test_labels_of_one_source_are_learnt_and_keep_the_threshold_that_nothing_speaks_against(
        tmp_path: Path, other: str) -> None:
    make_video(tmp_path / "fight.mp4", seconds=SECONDS, draw=flicker)
    make_video(tmp_path / "siren.wav", seconds=SECONDS, codec=None, audio_codec="pcm_s16le", tone=chirp)
    (tmp_path / "labels.csv").write_text(
        f"path,label,source,set\nfight.mp4,fight,one,made\nsiren.wav,siren,{other},made\n")
    bundle, problems = train(tmp_path, tmp_path / "bundle", PLAN)
    assert not problems
    assert bundle.label_names == ("fight", "siren")
    if other == "two":  # neither was judged by what had learnt it
        assert [label.open for label in bundle.manifest.labels] == [0.5, 0.5]


def test_nothing_to_learn_from_is_said(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label,source\ngone.wav,siren,one\n")
    with pytest.raises(SettingsError, match="no clip to learn from; labels.csv line 2: gone.wav: no such file"):
        train(tmp_path, tmp_path / "out", PLAN)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_unlabelled_videos_teach_beforehand_and_a_broken_one_is_reported(
        data: Path, trained: tuple[Bundle, list[Problem]], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("one.mp4", "other.mp4"):
        make_video(videos / name, seconds=SECONDS, audio_codec="aac", tone=chirp)
    (videos / "broken.mp4").write_bytes(b"no video")
    bundle, _ = train(data, tmp_path / "bundle", replace(PLAN, pairs=videos, align_updates=20))
    assert bundle.manifest.fusion.sha256 != trained[0].manifest.fusion.sha256
    assert bundle.manifest.visual.sha256 == trained[0].manifest.visual.sha256
    assert "broken.mp4" in caplog.text
