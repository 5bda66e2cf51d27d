"""Labelled clips: `labels.csv` and the media files it lists, decoded the way serving decodes them.

    path,label,source,set
    fights/fi001.mp4,fight,7q6KJoSgxmY,surveillance-camera-fight

`path` is relative to the folder, `source` the recording the clip was cut from (clips of one source
never end up on both sides of a split), `set` the data set (may be empty). A column `intensity` says
which voices are `strong`; others are ignored.
Labels need no declaration: MEANINGS lists those that are no event, every other label is one.
"""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from operators.base import Rejected
from operators.capture.camera import Camera, CameraSettings
from operators.clock import SystemClock
from operators.decode.decoder import Decoder, DecodeSettings
from operators.errors import LookoutError, MediaError, SettingsError
from operators.models.bundle import SENTIMENTS, Sampling
from operators.records import Clip
from pipeline.training.split import Source

NOBODY, UNKNOWN = 0, -1  # sentiments beside 1 negative, 2 neutral, 3 positive
SAMPLING = Sampling(step_ns=500_000_000, pictures=3, spacing_ns=125_000_000, height_px=224, width_px=224,
                    sample_rate_hz=16_000, samples=32_000)
COLUMNS = ("path", "label", "source")

_FEELINGS = {"negative": ("negative", "sad", "angry", "fearful", "disgust"), "neutral": ("neutral", "calm"),
             "positive": ("positive", "happy", "surprised")}
SENTIMENT_OF: Mapping[str, int] = {
    word: index for index, sentiment in enumerate(SENTIMENTS, start=1) for word in _FEELINGS[sentiment]
}
BACKGROUND = frozenset({"noise", "silence"})  # sounds in which nothing happens
VOICES = frozenset({"crying_baby", "baby_laugh"})  # somebody is heard, but no sentiment was labelled
ABSENT = "no_"  # `no_fight`: looks like it, but is not


@dataclass(frozen=True)
class Row:
    """One line of labels.csv."""

    number: int  # its line in the file
    path: str
    label: str
    source: Source
    intensity: str = field(default="", repr=False)  # of a voice: normal or strong; "" where nobody has said

    @property
    def event(self) -> str | None:
        """The event that is there; None where the label names none."""
        return None if self.label in SENTIMENT_OF or self.label in BACKGROUND or self.absent else self.label

    @property
    def absent(self) -> str | None:
        """The event that is said not to be there."""
        return self.label.removeprefix(ABSENT) if self.label.startswith(ABSENT) else None

    @property
    def sentiment(self) -> int:
        """0 nobody heard, 1 to 3 as in SENTIMENTS, or UNKNOWN."""
        return UNKNOWN if self.label in VOICES or self.absent else SENTIMENT_OF.get(self.label, NOBODY)


@dataclass(frozen=True)
class Problem:
    """A row that cannot be used, and why; the others are used without it."""

    number: int
    path: str
    reason: str

    def __str__(self) -> str:
        return f"labels.csv line {self.number}: {self.path}: {self.reason}"


def read_labels(data: Path, known: Sequence[str] | None = None) -> tuple[list[Row], list[Problem]]:
    """The usable rows of `data/labels.csv`, and the others.

    Args:
        data: the folder.
        known: the events a model knows; a row with another one is a problem. None: every label is taken.

    Raises:
        SettingsError: there is no such file, or it lacks a column.
    """
    file = data / "labels.csv"
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{file}: cannot be read: {error}"
        raise SettingsError(message) from None
    reader = csv.DictReader(text.splitlines())
    if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
        message = f"{file}: no column {', '.join(missing)}"
        raise SettingsError(message)
    rows, problems = [], []
    for values in reader:
        path, label, source, group = ((values.get(name) or "").strip() for name in (*COLUMNS, "set"))
        row = Row(reader.line_num, path, label, (group, source), (values.get("intensity") or "").strip())
        if reason := _fault(row, data, known):
            problems.append(Problem(row.number, path, reason))
        else:
            rows.append(row)
    return rows, problems


def _fault(row: Row, data: Path, known: Sequence[str] | None) -> str | None:
    if not row.path or not row.label or not row.source[1]:
        return "path, label and source must not be empty"
    if not (data / row.path).is_file():
        return "no such file"
    event = row.event or row.absent
    if event and known is not None and event not in known:
        return f"unknown label {row.label!r}"
    return None


def decode(file: Path, sampling: Sampling = SAMPLING) -> Iterator[Clip]:
    """A file through capture and decode, as `lookout watch` takes it.

    Raises:
        LookoutError: it cannot be opened, or a part of it cannot be decoded.
    """
    clock = SystemClock()
    camera = Camera(CameraSettings(source=f"clip={file}"), clock=clock, stop=threading.Event())
    decoder = Decoder(DecodeSettings(), sampling, clock)
    for segment in camera.segments():
        for clip in decoder.process([segment]):
            if isinstance(clip, Rejected):
                raise clip.error
            yield clip


@dataclass(frozen=True)
class Media:
    """A whole file, decoded: S steps."""

    frames: NDArray[np.uint8]  # (S, F, H, W, 3)
    frames_valid: NDArray[np.bool_]  # (S,)
    samples: NDArray[np.float32]  # (n,) the sound from the first step's beginning; empty without sound


def read_media(file: Path, sampling: Sampling = SAMPLING) -> Media:
    """Decode a file whole; for clips, not for hours.

    Raises:
        LookoutError: it cannot be opened or decoded, or holds nothing.
    """
    clips = list(decode(file, sampling))
    if not sum(len(clip.step_ns) for clip in clips):
        message = f"{file.name}: nothing in it"
        raise MediaError(message)
    hop = sampling.step_ns * sampling.sample_rate_hz // 1_000_000_000
    sound = np.concatenate([clip.samples[:, -hop:] for clip in clips])  # (S, hop): steps follow without a gap
    heard = np.concatenate([clip.samples_valid for clip in clips])
    length_s = sum(clip.duration_ns for clip in clips) / 1e9
    samples = sound.reshape(-1)[: round(length_s * sampling.sample_rate_hz)] if heard.any() else np.zeros(0, np.float32)
    return Media(frames=np.concatenate([clip.frames for clip in clips]),
                 frames_valid=np.concatenate([clip.frames_valid for clip in clips]), samples=samples)


__all__ = ["LookoutError", "Media", "Problem", "Row", "decode", "read_labels", "read_media"]
