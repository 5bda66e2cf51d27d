"""`lookout train --init`: a folder to start one's own data from, small enough to be trained on at once."""

from __future__ import annotations

import csv
import wave
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from operators.errors import SettingsError

RATE_HZ, LENGTH_S, SOURCES, CLIPS = 16_000, 3.0, 5, 2

README = """\
Clips for `lookout train --data .`, listed in labels.csv:

    path,label,source,set
    siren/siren0-0.wav,siren,siren0,example

path    relative to this folder; any file that FFmpeg reads, with pictures, sound or both, a few seconds long
label   one word for what happens in it. Every label is an event that the model learns to detect, but for
        no_X             looks or sounds like X and is not (`no_fight`): what X is told apart from
        noise, silence   sounds in which nothing happens
        negative, sad, angry, fearful, disgust / neutral, calm / positive, happy, surprised
                         somebody speaks: these teach the sentiment
source  the recording, film or person a clip was cut from. Clips of one source resemble each other, so a source
        is either learnt from or measured on, never both: give each at least its own name, and have at least
        five sources for every label
set     the collection it is from (may be empty)

A column `intensity` may say which voices are `strong`. streams/NAME.mp4 with streams/NAME.csv (start_s,end_s,label)
are longer recordings on which `lookout evaluate` counts found and false events.

The sounds here are synthesised; replace them by your own.
"""


def write_example(folder: Path) -> int:
    """Write README.md, labels.csv and the clips it lists into `folder`; how many clips.

    Raises:
        SettingsError: there is something in `folder` already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        message = f"{folder}: not empty: the example wants a folder of its own"
        raise SettingsError(message)
    rows = []
    for label, sound in SOUNDS.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        for source in range(SOURCES):
            random = np.random.default_rng([source, *label.encode()])
            for clip in range(CLIPS):
                path = Path(label) / f"{label}{source}-{clip}.wav"
                _write(folder / path, sound(random))
                rows.append((path.as_posix(), label, f"{label}{source}", "example"))
    (folder / "README.md").write_text(README, encoding="utf-8")
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label", "source", "set"), *rows])
    return len(rows)


def _siren(random: np.random.Generator) -> NDArray[np.float64]:
    time_s = np.arange(int(RATE_HZ * LENGTH_S)) / RATE_HZ
    low_hz, high_hz, turns_hz = random.uniform(400, 700), random.uniform(900, 1600), random.uniform(0.3, 3.0)
    pitch_hz = low_hz + (high_hz - low_hz) * (0.5 + 0.5 * np.sin(2 * np.pi * turns_hz * time_s))
    return np.asarray(0.3 * np.sin(2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ)) + 0.02 * _noise(random)


def _knocking(random: np.random.Generator) -> NDArray[np.float64]:
    time_s = np.arange(int(RATE_HZ * LENGTH_S)) / RATE_HZ
    since_knock_s = time_s % (1 / random.uniform(2, 6))
    return np.asarray(0.5 * _noise(random) * np.exp(-since_knock_s * random.uniform(30, 90))) + 0.02 * _noise(random)


def _noise(random: np.random.Generator) -> NDArray[np.float64]:
    return random.normal(0, 0.3, int(RATE_HZ * LENGTH_S))


SOUNDS: Mapping[str, Callable[[np.random.Generator], NDArray[np.float64]]] = {
    "siren": _siren, "knocking": _knocking, "noise": lambda random: random.uniform(0.05, 0.5) * _noise(random),
}


def _write(path: Path, sound: NDArray[np.float64]) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())
