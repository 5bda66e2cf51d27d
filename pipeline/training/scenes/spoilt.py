"""Every clip's pictures once more through the trunk, spoilt in each way; kept in a folder as `features` are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.training.dataset import SAMPLING, read_media
from pipeline.training.features import Features
from pipeline.training.frozen import Frozen
from pipeline.training.scenes.visual_faults import VISUAL_FAULTS, Pictures, compressed

FORMAT = 2  # raised when what is cached changes
LOW_RATE = "low_rate"  # few pictures a second, heavily compressed
PICTURES_PER_S = 5
_FINE_NS = 25_000_000  # both a step's spacing and the time between few pictures are multiples of it
_PERIOD_NS = 1_000_000_000 // PICTURES_PER_S

Views = Mapping[str, NDArray[np.float16]]  # fault -> (S, 3840) trunk features


def prepare_spoilt(clips: Sequence[Features], data: Path, work: Path, trunk: Frozen, seed: int,
                   done: Callable[[], None] = lambda: None) -> dict[str, Views]:
    """The spoilt views of clips that are seen, by path; taken from `work` where an earlier run has left them.

    Raises:
        LookoutError: a clip that could be decoded before cannot be any more.
    """
    work.mkdir(parents=True, exist_ok=True)
    views: dict[str, Views] = {}
    for clip in clips:
        stat = (data / clip.row.path).stat()
        facts = (FORMAT, seed, SAMPLING, clip.row.path, stat.st_size, stat.st_mtime_ns)
        digest = hashlib.sha256(repr(facts).encode()).digest()
        file = work / f"{digest.hex()[:24]}.npz"
        if not file.exists():
            made = _spoil(data / clip.row.path, trunk, np.random.default_rng(list(digest)))
            partial = file.with_suffix(".partial.npz")
            np.savez(partial, **made)  # type: ignore[arg-type]
            partial.replace(file)
        with np.load(file) as arrays:
            views[clip.row.path] = dict(arrays)
        done()
    return views


def _spoil(file: Path, trunk: Frozen, random: np.random.Generator) -> dict[str, NDArray[np.float16]]:
    """Decoded once, with pictures close enough together to leave some of them out."""
    ratio = SAMPLING.spacing_ns // _FINE_NS
    fine = msgspec.structs.replace(SAMPLING, spacing_ns=_FINE_NS,
                                   pictures=(SAMPLING.pictures - 1) * ratio + 1 + _PERIOD_NS // _FINE_NS)
    media = read_media(file, fine)
    frames = media.frames[media.frames_valid]  # (S, P, H, W, 3)
    steps = np.flatnonzero(media.frames_valid)
    usual = frames[:, _PERIOD_NS // _FINE_NS :: ratio]  # (S, F, H, W, 3)
    views = {name: trunk(spoil(usual, random)) for name, spoil in VISUAL_FAULTS.items()}
    views[LOW_RATE] = trunk(compressed(_few(frames, steps), random))
    return views


def _few(frames: Pictures, steps: NDArray[np.int64]) -> Pictures:
    """(S, P, H, W, 3) at fine spacing -> (S, F, H, W, 3), each the newest of a few pictures a second."""
    back_ns = np.arange(SAMPLING.pictures - 1, -1, -1) * SAMPLING.spacing_ns  # (F,) oldest first
    now_ns = (steps[:, None] + 1) * SAMPLING.step_ns  # (S, 1)
    age_ns = back_ns + (now_ns - back_ns) % _PERIOD_NS  # (S, F) before the step
    index = frames.shape[1] - 1 - age_ns // _FINE_NS  # (S, F)
    return np.asarray(frames[np.arange(len(frames))[:, None], index])
