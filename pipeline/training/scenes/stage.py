"""From a script to what the fusion is given, under each of the conditions that methods are compared in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.training.augment import telephone
from pipeline.training.dataset import SAMPLING
from pipeline.training.features import Features
from pipeline.training.frozen import Frozen
from pipeline.training.scenes.acoustic_faults import ACOUSTIC_FAULTS, Wave
from pipeline.training.scenes.compose import PictureTrack, Shape, SoundComposer, SoundTrack, own_sound
from pipeline.training.scenes.script import Fault, Played, Script, Shot
from pipeline.training.scenes.source import Heard, Scenes, encode, stacked
from pipeline.training.scenes.spoilt import LOW_RATE, Views
from pipeline.training.scenes.visual_faults import FROZEN

RATE_HZ = SAMPLING.sample_rate_hz


def _late(wave: Wave, late_s: float) -> Wave:
    """The sound comes this much after the picture it belongs to."""
    late = round(late_s * RATE_HZ)
    return np.concatenate([np.zeros(late, np.float32), wave[: len(wave) - late]])


def _telephone(wave: Wave) -> Wave:
    sent: Wave = telephone(torch.from_numpy(wave).unsqueeze(0), RATE_HZ)[0].numpy()
    return sent


@dataclass(frozen=True)
class Condition:
    """Under what the same scenes are looked at and listened to."""

    says: str
    faults: bool = False  # those in the script, of both senses
    view: str | None = None  # every picture is seen like this
    black: bool = False
    deaf: bool = False
    sound: Callable[[Wave], Wave] | None = None  # what happens to the whole scene's sound


CONDITIONS: Mapping[str, Condition] = {  # in the order of the table
    "degraded": Condition("both senses spoilt for random spans", faults=True),
    "clean": Condition("as composed"),
    "no_sound": Condition("sound removed", deaf=True),
    "black": Condition("picture black", black=True),
    "skew_200_ms": Condition("sound 200 ms late", sound=partial(_late, late_s=0.2)),
    "skew_500_ms": Condition("sound 500 ms late", sound=partial(_late, late_s=0.5)),
    "g711": Condition("sound through G.711 at 8 kHz", sound=_telephone),
    LOW_RATE: Condition("5 pictures/s, heavily compressed", view=LOW_RATE),
}


class Stage:
    """Plays scripts. What is asked of them: `shape`; what the trunk makes of spoilt pictures: `spoilt`, by path."""

    def __init__(self, shape: Shape, spoilt: Mapping[str, Views], black: NDArray[np.float16], encoder: Frozen) -> None:
        """`black` (3840,): trunk features of a black picture that stays black."""
        self.shape, self.black, self.encoder = shape, black, encoder
        self._spoilt = spoilt
        self._composer = SoundComposer((), shape, np.random.default_rng(0))

    def scenes(self, scripts: Sequence[Script], conditions: Mapping[str, Condition]) -> dict[str, Scenes]:
        """The scripts under each of the conditions. What sounds the same under several is encoded once."""
        sounds: dict[tuple[bool, Callable[[Wave], Wave] | None], list[Heard]] = {}
        scenes = {}
        for name, condition in conditions.items():
            key = condition.faults, condition.sound
            sounds[key] = sounds.get(key) or [
                self.heard(script.played, script.heard_faults if condition.faults else (), condition.sound)
                for script in scripts]
            seen = [self.seen(script.shots, script.seen_faults if condition.faults else (), condition)
                    for script in scripts]
            heard = [replace(one, valid=one.valid & (not condition.deaf)) for one in sounds[key]]
            scenes[name] = stacked(list(zip(seen, heard, strict=True)))
        return scenes

    def seen(self, shots: Sequence[Shot], faults: Sequence[Fault], condition: Condition) -> PictureTrack:
        """The pictures. A span in which they stand still shows the one that was there when it began."""
        shape, width = self.shape, len(self.black)
        visual, valid = np.zeros((shape.steps, width), np.float16), np.zeros(shape.steps, np.bool_)
        events, fold = np.zeros((shape.steps, len(shape.labels)), np.float32), np.zeros(shape.steps, np.int64)
        for shot in shots:
            place = slice(shot.start, shot.start + shot.steps)
            visual[place], valid[place], fold[place] = self._view(shot, condition.view), True, shot.clip.fold
            if shot.start > 0 and condition.view is None:
                visual[shot.start] = shot.clip.cut[0]
            for label, value in ((shot.clip.row.event, 1.0), (shot.clip.row.absent, 0.0)):
                if label in shape.labels:
                    events[place, shape.labels.index(label)] = value
        for fault in faults:
            visual = self._spoil(visual, shots, fault)
            if fault.kind == FROZEN:
                fold[fault.start : fault.stop] = fold[fault.start]
        if condition.black:
            visual = np.tile(self.black, (shape.steps, 1))
        return PictureTrack(visual, valid, events, fold)

    def heard(self, played: Sequence[Played], faults: Sequence[Fault],
              change: Callable[[Wave], Wave] | None = None) -> Heard:
        """The sound, then `change` of the whole of it, through the encoder."""
        track = self._composer.empty()
        for sound in played:
            track = self._composer.play(track, sound.clip, sound.at, sound.level_dbfs)
        wave, hop = track.samples.copy(), self.shape.hop
        for fault in faults:
            span = slice(fault.start * hop, fault.stop * hop)
            wave[span] = ACOUSTIC_FAULTS[fault.kind](wave[span], RATE_HZ, np.random.default_rng(fault.seed))
        changed = SoundTrack(change(wave) if change else wave, track.events, track.sentiment)
        return encode(changed, self.encoder, hop)

    def real(self, clip: Features) -> tuple[PictureTrack, Heard]:
        """A clip with its own sound, as it was recorded. Beside its label nobody has said what is heard in it."""
        pictures = self.seen((Shot(clip, 0, min(self.shape.steps, clip.visual.shape[1])),), (), CONDITIONS["clean"])
        return pictures, encode(own_sound(clip, self.shape), self.encoder, self.shape.hop)

    def _view(self, shot: Shot, view: str | None) -> NDArray[np.float16]:
        whole = shot.clip.visual[0] if view is None else self._spoilt[shot.clip.row.path][view]  # (S, 3840)
        return whole[: shot.steps]

    def _spoil(self, visual: NDArray[np.float16], shots: Sequence[Shot], fault: Fault) -> NDArray[np.float16]:
        visual = visual.copy()
        if fault.kind == FROZEN:
            kept = len(self.black) // 3  # a step's picture itself; the rest is what moves
            visual[fault.start : fault.stop] = np.concatenate([visual[fault.start, :kept], self.black[kept:]])
            return visual
        for shot in shots:
            start, stop = max(shot.start, fault.start), min(shot.start + shot.steps, fault.stop)
            if start < stop:
                view = self._view(shot, fault.kind)
                visual[start:stop] = view[start - shot.start : stop - shot.start]
        return visual
