from __future__ import annotations

from pathlib import Path

import pytest

from operators.errors import SettingsError
from pipeline.training.dataset import read_labels, read_media
from pipeline.training.example import write_example
from pipeline.training.split import split
from tests.end_to_end.lookout import run


def test_the_example_is_data_that_training_takes(tmp_path: Path) -> None:
    count = write_example(tmp_path / "clips")
    rows, problems = read_labels(tmp_path / "clips")
    assert not problems
    assert len(rows) == count
    assert {row.event for row in rows} == {"siren", "knocking", None}
    assert set(split([(row.source, row.label) for row in rows], 0).values()) == {"train", "validation", "held_out"}
    assert len(read_media(tmp_path / "clips" / rows[0].path).samples) == pytest.approx(48_000, abs=8000)


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("mine")
    with pytest.raises(SettingsError, match="not empty"):
        write_example(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["labels.csv"]


def test_the_same_example_every_time(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_example(tmp_path / name)
    one, other = ({path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
                  for name in ("one", "other"))
    assert one == other


def test_the_command_writes_it_and_says_what_it_needs_otherwise(tmp_path: Path) -> None:
    assert run("train", "--init", tmp_path / "clips").returncode == 0
    assert (tmp_path / "clips" / "labels.csv").exists()
    refused = run("train", "--data", tmp_path / "clips")
    assert refused.returncode == 2
    assert refused.stderr == "lookout: train needs --data and --out, or --init\n"
