"""Every clip decoded once, its pictures through the frozen trunk, kept in a folder so that a kill loses little."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from operators.errors import LookoutError
from pipeline.training.dataset import NOBODY, Media, Problem, Row, read_media
from pipeline.training.frozen import Frozen
from pipeline.training.network import VISUAL_FEATURES
from pipeline.training.views import VIEWS, views

FORMAT = 5  # raised when what is cached changes
CHUNK = 100  # clips per cache file
DECODERS = 2  # threads
AUDIBLE = 1e-4  # -80 dB; a sound track that never exceeds it is as good as none


Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Features:
    """What is known of one clip."""

    row: Row
    samples: NDArray[np.float16]  # (n,) 16 kHz; empty: no sound track
    visual: NDArray[np.float16]  # (V, S, 3840) trunk features, as it is and in other `views`; S = 0: no picture
    cut: NDArray[np.float16]  # (2, 3840) the step in which a stream changes from another clip to this one
    fold: int = 0  # of the sources learnt from, 1 and up; 0: it is not learnt from

    @property
    def heard(self) -> bool:
        """Whether there is any sound in it."""
        return bool((np.abs(self.samples) > AUDIBLE).any())

    @property
    def seen(self) -> bool:
        """Whether there is a picture in it."""
        return len(self.visual[0]) > 0

    @property
    def lacks(self) -> str | None:
        """What is missing in it for its label to be learnt from it."""
        if self.row.sentiment > NOBODY and not self.heard:
            return f"no sound in it, which {self.row.label!r} needs"
        if self.row.event and not (self.heard or self.seen):
            return f"neither picture nor sound in it, and {self.row.label!r} needs one"
        return None


def prepare(rows: Sequence[Row], data: Path, work: Path, trunk: Frozen,
            done: Callable[[int], None] = lambda count: None) -> tuple[list[Features], list[Problem]]:
    """Decode and see all clips, or take from `work` what an earlier run has left; `done(n)` after each n more."""
    work.mkdir(parents=True, exist_ok=True)
    features: list[Features] = []
    problems: list[Problem] = []
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        file = work / f"{_digest(chunk, data)}.npz"
        if not file.exists():
            _write(file, _see(_decoded(chunk, data), trunk, np.random.default_rng(start), done))
        else:
            done(len(chunk))
        for row, found in zip(chunk, _read(file, chunk), strict=True):
            if isinstance(found, str):
                problems.append(Problem(row.number, row.path, found))
            elif found.lacks:
                problems.append(Problem(row.number, row.path, found.lacks))
            else:
                features.append(found)
    return features, problems


def _digest(rows: Sequence[Row], data: Path) -> str:
    """Changes with the clips and with what is made of them."""
    digest = hashlib.sha256(str(FORMAT).encode())
    for row in rows:
        stat = (data / row.path).stat()
        digest.update(f"\x1e{row.path}\x1f{stat.st_size}\x1f{stat.st_mtime_ns}".encode())
    return digest.hexdigest()[:24]


def _decoded(rows: Sequence[Row], data: Path) -> Iterator[Media | str]:
    """The clips in order, or the reason why there is none."""
    def read(row: Row) -> Media | str:
        try:
            return read_media(data / row.path)
        except LookoutError as error:
            return str(error)

    with ThreadPoolExecutor(DECODERS) as pool:
        for start in range(0, len(rows), 2 * DECODERS):  # few at a time: pictures are large
            yield from pool.map(read, rows[start : start + 2 * DECODERS])


def _see(clips: Iterable[Media | str], trunk: Frozen, random: np.random.Generator,
         done: Callable[[int], None]) -> Arrays:
    """The arrays of one cache file, by number of the clip and name."""
    arrays: Arrays = {}
    before: NDArray[np.uint8] | None = None
    for i, clip in enumerate(clips):
        done(1)
        if isinstance(clip, str):
            arrays[f"{i}.problem"] = np.array(clip)
            continue
        arrays[f"{i}.samples"] = clip.samples.astype(np.float16)
        frames = clip.frames[clip.frames_valid]  # (S, F, H, W, 3)
        if not len(frames):
            continue
        arrays[f"{i}.visual"] = np.stack([trunk(view) for view in views(frames, random)])  # (V, S, 3840)
        other = frames[0, 0] if before is None else before
        early, late = [other, *frames[0, 1:]], [*[other] * (frames.shape[1] - 1), frames[0, -1]]
        cuts = np.stack([np.stack(early), np.stack(late)])  # (2, F, H, W, 3)
        arrays[f"{i}.cut"] = trunk(cuts)
        before = frames[-1, -1]
    return arrays


def _write(file: Path, arrays: Arrays) -> None:
    partial = file.with_suffix(".partial.npz")
    np.savez(partial, **arrays)  # type: ignore[arg-type]
    partial.replace(file)


def _read(file: Path, rows: Sequence[Row]) -> Iterator[Features | str]:
    with np.load(file) as arrays:
        for i, row in enumerate(rows):
            if f"{i}.problem" in arrays:
                yield str(arrays[f"{i}.problem"])
            else:
                nothing = {"visual": (VIEWS, 0, VISUAL_FEATURES), "cut": (2, VISUAL_FEATURES)}
                visual, cut = (arrays[f"{i}.{name}"] if f"{i}.{name}" in arrays else np.zeros(shape, np.float16)
                               for name, shape in nothing.items())
                yield Features(row, arrays[f"{i}.samples"], visual, cut)
