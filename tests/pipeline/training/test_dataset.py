from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from operators.errors import SettingsError
from pipeline.training.dataset import NOBODY, SAMPLING, UNKNOWN, Row, read_labels, read_media
from tests.media import make_video


def write(folder: Path, *rows: str, header: str = "path,label,source,set") -> None:
    (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n")


def test_bad_rows_are_reported_with_their_line_and_the_others_are_used(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    write(tmp_path, "a.wav,siren,one,s", "gone.wav,siren,two,s", "a.wav,,three,s", "a.wav,siren,,s",
          "a.wav,ufo,four,s", "a.wav,no_ufo,four,s", "a.wav,angry,actor,s")
    rows, problems = read_labels(tmp_path, ["siren"])
    assert [(row.number, row.label) for row in rows] == [(2, "siren"), (8, "angry")]
    assert [(problem.number, problem.reason) for problem in problems] == [
        (3, "no such file"), (4, "path, label and source must not be empty"),
        (5, "path, label and source must not be empty"), (6, "unknown label 'ufo'"), (7, "unknown label 'no_ufo'")]
    assert str(problems[0]) == "labels.csv line 3: gone.wav: no such file"


def test_without_a_table_or_a_column_it_says_which(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"labels\.csv: cannot be read"):
        read_labels(tmp_path)
    write(tmp_path, header="path,label")
    with pytest.raises(SettingsError, match="no column source"):
        read_labels(tmp_path)


@pytest.mark.parametrize(("label", "event", "absent", "sentiment"), [
    ("fight", "fight", None, NOBODY), ("no_fight", None, "fight", UNKNOWN), ("noise", None, None, NOBODY),
    ("angry", None, None, 1), ("calm", None, None, 2), ("surprised", None, None, 3),
    ("crying_baby", "crying_baby", None, UNKNOWN), ("street_music", "street_music", None, NOBODY),
])
def test_what_a_label_means(label: str, event: str | None, absent: str | None, sentiment: int) -> None:
    row = Row(2, "a.wav", label, ("s", "one"))
    assert (row.event, row.absent, row.sentiment) == (event, absent, sentiment)


def test_a_file_is_decoded_whole_with_its_sound_in_one_piece(tmp_path: Path) -> None:
    file = make_video(tmp_path / "tone.mp4", seconds=3, audio_codec="aac")
    media = read_media(file)
    assert media.frames.shape[1:] == (SAMPLING.pictures, SAMPLING.height_px, SAMPLING.width_px, 3)
    assert media.frames_valid.all()
    assert abs(len(media.samples) - 3 * SAMPLING.sample_rate_hz) < 0.2 * SAMPLING.sample_rate_hz
    middle = media.samples[8000:40000]
    step = np.abs(np.diff(middle)).max()
    assert step < 0.5 * np.ptp(middle)  # a tone without a jump where windows meet
