"""What happens in a composed scene: which pictures, which sounds over them and how loud, what goes wrong when.

Real pictures, with sounds of other recordings over them. Frightened and angry voices are heard over most
of what is seen to happen, and over some quiet pictures (a television); calm speech and the street
elsewhere; what is only heard (a siren, a shot) comes at any time, whatever is seen. Then either sense
is spoilt for spans of time. The same seed and clips give the same scenes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.training.dataset import BACKGROUND
from pipeline.training.features import Features
from pipeline.training.scenes.acoustic_faults import ACOUSTIC_FAULTS
from pipeline.training.scenes.visual_faults import FROZEN, VISUAL_FAULTS

SHOUTS = frozenset({"angry", "fearful"})  # of strong intensity, where the data says so
SPEECH = frozenset({"calm", "neutral"})
UNHEARD = frozenset({"silence"})
HAPPENS = 0.5  # share of scenes in which something is seen to happen
SHOUTED_OVER, TELEVISION = 0.85, 0.2  # share of them with shouting, and of the quiet ones
SPOKEN_OVER = 0.4  # share of the others with calm speech
IN_THE_STREET = 0.7
CALLS = (0.35, 0.45, 0.2)  # share of scenes with none, one and two sounds that somebody should be told of
FAULTS = (0.25, 0.45, 0.3)  # share of scenes with none, one and two faults of a sense

Role = Literal["shout", "television", "speech", "street", "call"]
LEVELS_DBFS: dict[Role, tuple[float, float]] = {  # of a sound's loudest half second
    "shout": (-24.0, -12.0), "television": (-32.0, -18.0), "speech": (-32.0, -20.0), "street": (-45.0, -28.0),
    "call": (-30.0, -14.0),
}
PAUSE_S = (0.0, 0.4)  # between two sentences
EARLY_S, LATE_S = 0.5, 1.0  # shouting begins up to this long before or after what is seen


@dataclass(frozen=True)
class Outline:
    """What is seen, and when: from step `start` up to `stop`; the pictures before and after are quiet."""

    event: str | None
    start: int = 0
    stop: int = 0


@dataclass(frozen=True)
class Shot:
    """A clip's first pictures, from step `start` of the scene."""

    clip: Features
    start: int
    steps: int


@dataclass(frozen=True)
class Played:
    """A clip's sound from sample `at` of the scene."""

    clip: Features
    at: int
    level_dbfs: float
    role: Role


@dataclass(frozen=True)
class Fault:
    """One sense spoilt from step `start` up to `stop`."""

    kind: str
    start: int
    stop: int
    seed: int  # of what is random about it


@dataclass(frozen=True)
class Script:
    """One scene."""

    outline: Outline
    shots: tuple[Shot, ...]
    played: tuple[Played, ...]
    seen_faults: tuple[Fault, ...]
    heard_faults: tuple[Fault, ...]


class Recipe:
    """Writes scripts with the clips of one part of the data."""

    def __init__(self, clips: Sequence[Features], alertable: Collection[str], *, steps: int, hop: int,
                 sample_rate_hz: int, random: np.random.Generator) -> None:
        """`alertable`: labels that somebody should be told of; `hop`: samples per step."""
        self._steps, self._hop, self._rate_hz, self._random = steps, hop, sample_rate_hz, random
        seen = [clip for clip in clips if clip.seen]
        heard = [clip for clip in clips if clip.heard and not clip.seen and clip.row.label not in UNHEARD]
        self._shown = _by_label(clip for clip in seen if clip.row.event)
        self._quiet = _by_label(clip for clip in seen if not clip.row.event)
        self._calls = _by_label(clip for clip in heard if clip.row.event in alertable)
        self._street = _by_label(clip for clip in heard if clip.row.label in BACKGROUND
                                 or (clip.row.event and clip.row.event not in alertable))
        self._shouts = _by_label(clip for clip in heard if clip.row.label in SHOUTS
                                 and clip.row.intensity in ("", "strong"))
        self._speech = _by_label(clip for clip in heard if clip.row.label in SPEECH)

    def script(self) -> Script:
        """The next scene."""
        outline = self.outline()
        return Script(outline, self.shots(outline), self.played(outline),
                      self.faults((*VISUAL_FAULTS, FROZEN)), self.faults(tuple(ACOUSTIC_FAULTS)))

    def outline(self) -> Outline:
        """What is to be seen; every label that is seen equally often."""
        if not self._shown or self._random.random() >= HAPPENS:
            return Outline(None)
        event = sorted(self._shown)[int(self._random.integers(len(self._shown)))]
        start = int(self._random.integers(0, self._steps // 2))
        length = int(self._random.integers(self._steps // 3, self._steps))
        return Outline(event, start, min(self._steps, start + length))

    def shots(self, outline: Outline) -> tuple[Shot, ...]:
        """Clips one after the other that show what the outline asks for."""
        if outline.event is None:
            return self._fill(self._quiet, 0, self._steps)
        return (*self._fill(self._quiet, 0, outline.start),
                *self._fill({outline.event: self._shown[outline.event]}, outline.start, outline.stop),
                *self._fill(self._quiet, outline.stop, self._steps))

    def played(self, outline: Outline) -> tuple[Played, ...]:
        """The sounds over these pictures."""
        played: list[Played] = []
        whole, happening = (0, self._steps * self._hop), outline.event is not None
        if self._random.random() < IN_THE_STREET:
            played += self._over("street", self._street, *whole, same=True)
        if self._random.random() < (SHOUTED_OVER if happening else TELEVISION):
            late = int(self._random.uniform(-EARLY_S, LATE_S) * self._rate_hz)
            span = (outline.start * self._hop + late, outline.stop * self._hop) if happening else self._some_time()
            played += self._over("shout" if happening else "television", self._shouts, *span)
        elif self._random.random() < SPOKEN_OVER:
            played += self._over("speech", self._speech, *self._some_time())
        for _ in range(int(self._random.choice(len(CALLS), p=CALLS))):
            at = int(self._random.integers(0, max(1, whole[1] - 2 * self._rate_hz)))
            played += self._over("call", self._calls, at, at + 1)
        return tuple(played)

    def faults(self, kinds: Sequence[str]) -> tuple[Fault, ...]:
        """What goes wrong with one sense."""
        found = []
        for _ in range(int(self._random.choice(len(FAULTS), p=FAULTS))):
            start = int(self._random.integers(0, self._steps * 3 // 4))
            length = int(self._random.integers(self._steps // 4, self._steps + 1))
            found.append(Fault(kinds[int(self._random.integers(len(kinds)))], start,
                               min(self._steps, start + length), int(self._random.integers(2**31))))
        return tuple(found)

    def _fill(self, clips: dict[str, list[Features]], start: int, stop: int) -> tuple[Shot, ...]:
        shots: list[Shot] = []
        at = start
        while clips and at < stop:
            clip = self._any(clips)
            shots.append(Shot(clip, at, min(clip.visual.shape[1], stop - at)))
            at += shots[-1].steps
        return tuple(shots)

    def _over(self, role: Role, clips: dict[str, list[Features]], start: int, stop: int, *,
              same: bool = False) -> list[Played]:
        """Sounds of one role one after the other, until `stop`; with `same` one clip again and again."""
        played: list[Played] = []
        at, level_dbfs = max(0, start), float(self._random.uniform(*LEVELS_DBFS[role]))
        while clips and at < stop:
            clip = played[-1].clip if same and played else self._any(clips)
            played.append(Played(clip, at, level_dbfs, role))
            pause_s = 0.0 if same else self._random.uniform(*PAUSE_S)
            at += len(clip.samples) + int(pause_s * self._rate_hz)
        return played

    def _some_time(self) -> tuple[int, int]:
        start, stop = sorted(self._random.integers(0, self._steps * self._hop, 2).tolist())
        return start, stop

    def _any(self, clips: dict[str, list[Features]]) -> Features:
        chosen = clips[sorted(clips)[int(self._random.integers(len(clips)))]]
        return chosen[int(self._random.integers(len(chosen)))]


def _by_label(clips: Iterable[Features]) -> dict[str, list[Features]]:
    found: dict[str, list[Features]] = {}
    for clip in clips:
        found.setdefault(clip.row.label, []).append(clip)
    return found
