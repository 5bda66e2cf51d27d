"""Scenes made of single clips: what comes and goes before a camera, with labels for every step.

Sounds are laid over one another as waveforms and encoded once (`SoundTrack`); pictures are put
together from cached trunk features when a scene is drawn (`PictureTrack`). A scene takes one of
each at random, so neither sense learns to expect the other's company.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.training.dataset import NOBODY, UNKNOWN
from pipeline.training.features import Features
from pipeline.training.sounds import mix

SILENT = 0.02  # of a clip's loudest half second: nobody speaks there
MASKED = -1.0  # a step's label that is not known


@dataclass(frozen=True)
class Shape:
    """Of every scene."""

    steps: int
    hop: int  # samples per step
    labels: tuple[str, ...]

    @property
    def samples(self) -> int:
        """Length of the scene's sound."""
        return self.steps * self.hop


@dataclass(frozen=True)
class SoundTrack:
    """The sound of a scene and what is heard in it at each step."""

    samples: NDArray[np.float32]  # (T * hop,)
    events: NDArray[np.float32]  # (T, L) 0, 1 or MASKED
    sentiment: NDArray[np.int64]  # (T,) 0..3 or UNKNOWN


@dataclass(frozen=True)
class PictureTrack:
    """The pictures of a scene and what is seen in them at each step."""

    visual: NDArray[np.float16]  # (T, 3840)
    valid: NDArray[np.bool_]  # (T,)
    events: NDArray[np.float32]  # (T, L) 0, 1 or MASKED
    fold: NDArray[np.int64]  # (T,) of the sources learnt from, to which what is seen belongs; 0: to none


def own_sound(clip: Features, shape: Shape) -> SoundTrack:
    """A clip's own sound from its beginning. Beside its label nobody has said what is heard in it."""
    samples = np.zeros(shape.samples, np.float32)
    count = min(len(clip.samples), shape.samples)
    samples[:count] = clip.samples[:count]
    known = np.array([label in (clip.row.event, clip.row.absent) for label in shape.labels])
    events = np.where(known, 0.0, MASKED).astype(np.float32)  # (L,) what it shows, the pictures tell
    return SoundTrack(samples, np.tile(events, (shape.steps, 1)), np.full(shape.steps, UNKNOWN))


class SoundComposer:
    """Draws sound tracks from clips of one part of the data."""

    def __init__(self, clips: Sequence[Features], shape: Shape, random: np.random.Generator) -> None:
        self._shape, self._random = shape, random
        self._by_meaning: dict[str, list[Features]] = {}  # emotions of one sentiment are one
        self._behind: list[Features] = []
        for clip in clips:
            if not clip.heard or clip.seen:
                continue
            self._by_meaning.setdefault(clip.row.event or str(clip.row.sentiment), []).append(clip)
            if clip.row.event is None and clip.row.sentiment == NOBODY:
                self._behind.append(clip)
        self._meanings = sorted(self._by_meaning)

    def alone(self, clip: Features) -> SoundTrack:
        """One clip from the beginning of a session and nothing after it: what a file of its own sounds like."""
        track = self.empty()
        return self._put(track, clip, 0, None)

    def draw(self) -> SoundTrack:
        """Up to four sounds over a background, or over nothing."""
        track = self.empty()
        behind = self._background()
        track = SoundTrack(track.samples + behind, track.events, track.sentiment)
        at = int(self._random.integers(0, self._shape.samples // 2))
        for _ in range(int(self._random.integers(0, 5))):
            clip = self._any()
            snr_db = self._random.uniform(0.0, 25.0) if behind.any() else None
            track = self._put(track, clip, at, snr_db)
            at += int(self._random.uniform(0.3, 2.5) * len(clip.samples))
            if at >= self._shape.samples:
                break
        return track

    def empty(self) -> SoundTrack:
        """Silence, and nothing in it."""
        steps = self._shape.steps
        events = np.zeros((steps, len(self._shape.labels)), np.float32)
        return SoundTrack(np.zeros(self._shape.samples, np.float32), events, np.zeros(steps, np.int64))

    def _any(self) -> Features:
        clips = self._by_meaning[self._meanings[int(self._random.integers(len(self._meanings)))]]
        return clips[int(self._random.integers(len(clips)))]

    def _background(self) -> NDArray[np.float32]:
        """A quiet microphone, a clip in which nothing happens over and over, or nothing at all."""
        choice = self._random.random()
        if choice < 0.2 or not self._behind:  # noqa: PLR2004
            return np.zeros(self._shape.samples, np.float32)
        level = 10 ** self._random.uniform(-4.0, -1.8)
        if choice < 0.5:  # noqa: PLR2004
            return self._random.standard_normal(self._shape.samples).astype(np.float32) * np.float32(level)
        clip = self._behind[int(self._random.integers(len(self._behind)))]
        wave = np.resize(clip.samples.astype(np.float32), self._shape.samples)
        return wave * np.float32(level / max(float(np.sqrt(np.mean(wave**2))), 1e-5))

    def play(self, track: SoundTrack, clip: Features, at: int, level_dbfs: float) -> SoundTrack:
        """`clip` from sample `at` on over what is there, its loudest half second at `level_dbfs`."""
        wave = clip.samples.astype(np.float32)
        hops = np.pad(wave, (0, -len(wave) % self._shape.hop)).reshape(-1, self._shape.hop)
        loudest = max(float(np.sqrt((hops**2).mean(axis=1).max(initial=0.0))), 1e-4)
        samples = track.samples.copy()
        samples[at : at + len(wave)] += wave[: len(samples) - at] * np.float32(10 ** (level_dbfs / 20) / loudest)
        return self._told(track, samples, clip, at)

    def _put(self, track: SoundTrack, clip: Features, at: int, snr_db: float | None) -> SoundTrack:
        """`clip` from sample `at` on, `snr_db` above what is there; None leaves its own level."""
        wave = clip.samples[: self._shape.samples - at].astype(np.float32)
        place = slice(at, at + len(wave))
        samples = track.samples.copy()
        if snr_db is None:
            samples[place] += wave * np.float32(10 ** self._random.uniform(-0.6, 0.2))
        else:
            samples[place] = mix(samples[place], wave, -snr_db)
        return self._told(track, samples, clip, at)

    def _told(self, track: SoundTrack, samples: NDArray[np.float32], clip: Features, at: int) -> SoundTrack:
        """`samples`, in which `clip` begins at sample `at`, with what it adds to the track's labels."""
        hop, labels = self._shape.hop, self._shape.labels
        wave = clip.samples[: self._shape.samples - at].astype(np.float32)
        events, sentiment = track.events.copy(), track.sentiment.copy()
        peak = float(np.abs(samples).max())
        for step in range(at // hop, min(self._shape.steps, -(-(at + len(wave)) // hop))):
            begin, end = max(step * hop, at) - at, min((step + 1) * hop, at + len(wave)) - at
            covered = (end - begin) / hop
            if clip.row.event in labels:
                index = labels.index(clip.row.event)
                if events[step, index] != 1.0:
                    events[step, index] = 1.0 if covered >= 0.5 else MASKED  # noqa: PLR2004
            if clip.row.sentiment != NOBODY:
                sentiment[step] = self._felt(int(sentiment[step]), clip.row.sentiment, wave, begin, end)
        return SoundTrack(samples / max(1.0, peak), events, sentiment)

    @staticmethod
    def _felt(before: int, now: int, wave: NDArray[np.float32], begin: int, end: int) -> int:
        """Who speaks at a step gives its sentiment; two at once, or a breath between words, is unknown."""
        power = float(np.mean(wave[begin:end] ** 2)) if end > begin else 0.0
        loudest = float(np.mean(wave**2)) + 1e-9
        if power < SILENT * loudest:
            return before if before != NOBODY or power < SILENT * loudest / 20 else UNKNOWN
        return now if before in (NOBODY, now) else UNKNOWN


class PictureComposer:
    """Draws picture tracks from clips of one part of the data."""

    def __init__(self, clips: Sequence[Features], shape: Shape, black: NDArray[np.float16],
                 random: np.random.Generator) -> None:
        """`black` (3840,): trunk features of a black picture that stays black."""
        self._shape, self._black, self._random = shape, black, random
        self._labels = sorted({clip.row.label for clip in clips if clip.seen})
        self._by_label = {label: [clip for clip in clips if clip.seen and clip.row.label == label]
                          for label in self._labels}
        self._width = len(black) // 3

    def nothing(self) -> PictureTrack:
        """A microphone without a camera."""
        shape = self._shape
        return PictureTrack(np.zeros((shape.steps, len(self._black)), np.float16), np.zeros(shape.steps, np.bool_),
                            np.zeros((shape.steps, len(shape.labels)), np.float32), np.zeros(shape.steps, np.int64))

    def alone(self, clip: Features) -> PictureTrack:
        """One clip from the beginning, and no picture after it: what a file of its own looks like."""
        return self._put(self.nothing(), clip, 0, cut=False)

    def draw(self) -> PictureTrack:
        """Clips one after the other, some of them frozen, with black or no picture between some."""
        track = self.nothing()
        if not self._labels or self._random.random() < 0.2:  # noqa: PLR2004
            return self._blacken(track) if self._random.random() < 0.3 else track  # noqa: PLR2004
        at = 0
        while at < self._shape.steps:
            if self._random.random() < 0.1:  # noqa: PLR2004
                length = int(self._random.integers(1, 8))
                track = self._hold(track, at, length)
            else:
                clips = self._by_label[self._labels[int(self._random.integers(len(self._labels)))]]
                clip = clips[int(self._random.integers(len(clips)))]
                track = self._put(track, clip, at, cut=at > 0)
                length = clip.visual.shape[1]
                if self._random.random() < 0.5 and clip.row.absent:  # noqa: PLR2004
                    track = self._put(track, clip, at + length, cut=True)  # the quiet scene goes on
                    length *= 2
            at += length
        return track

    def _put(self, track: PictureTrack, clip: Features, at: int, *, cut: bool) -> PictureTrack:
        visual, valid = track.visual.copy(), track.valid.copy()
        events, fold = track.events.copy(), track.fold.copy()
        shown = clip.visual[int(self._random.integers(len(clip.visual)))][: max(0, self._shape.steps - at)]
        place = slice(at, at + len(shown))
        visual[place], valid[place], fold[place] = shown, True, clip.fold
        if cut and len(shown):
            visual[at] = clip.cut[int(self._random.integers(2))]
        for label, value in ((clip.row.event, 1.0), (clip.row.absent, 0.0)):
            if label in self._shape.labels:
                events[place, self._shape.labels.index(label)] = value
        return PictureTrack(visual, valid, events, fold)

    def _hold(self, track: PictureTrack, at: int, length: int) -> PictureTrack:
        """The last picture stands still, or the camera shows black, or nothing."""
        visual, valid, fold = track.visual.copy(), track.valid.copy(), track.fold.copy()
        place = slice(at, at + length)
        choice = self._random.random()
        if choice < 0.4 and at > 0:  # noqa: PLR2004
            visual[place] = np.concatenate([visual[at - 1, : self._width], self._black[self._width :]])
            fold[place] = fold[at - 1]
        else:
            visual[place] = self._black
        valid[place] = choice < 0.7  # noqa: PLR2004
        return replace(track, visual=visual, valid=valid, fold=fold)

    def _blacken(self, track: PictureTrack) -> PictureTrack:
        return replace(track, visual=np.tile(self._black, (self._shape.steps, 1)), valid=np.ones_like(track.valid))
