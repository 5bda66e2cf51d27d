"""From a folder of labelled clips to a bundle: `lookout train`.

What takes long is kept in a folder beside the bundle (`<out>.work`): decoded clips with their trunk
features, how voices sound, the fusions. A run that was killed goes on with what is there, and
nothing there is used once the data, the seed or the epochs have changed.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from operators.errors import SettingsError
from operators.models.bundle import Bundle, Label
from pipeline.training import hearing, licences, seeing
from pipeline.training.aligning import align, pairs_of
from pipeline.training.calibrate import Calibration, calibrate, score_scenes, thresholds
from pipeline.training.dataset import SAMPLING, Problem, Row, read_labels
from pipeline.training.export import Facts, Networks, export, port
from pipeline.training.features import Features, prepare
from pipeline.training.feelings import felt_in, learn_feelings
from pipeline.training.folds import cut, divided
from pipeline.training.foreign import Foreign
from pipeline.training.frozen import Frozen
from pipeline.training.fusing import Head, train_fusion
from pipeline.training.kept import Weights, kept
from pipeline.training.network import (
    ACOUSTIC_FEATURES,
    FEELINGS,
    VISUAL_FEATURES,
    AcousticEncoder,
    AcousticTrunk,
    Fusion,
    Manner,
    ProjectedEncoder,
    Projection,
    ServedFusion,
    VisualTrunk,
    evidence_of,
)
from pipeline.training.scenes.compose import MASKED, Shape
from pipeline.training.scenes.spoilt import Views, prepare_spoilt
from pipeline.training.scenes.stage import Stage
from pipeline.training.scenes.staged import StagedSource
from pipeline.training.sounds import Sound, sounds_of
from pipeline.training.split import Part, Source, split
from pipeline.training.vocabulary import labels_of

log = logging.getLogger(__name__)

WINDOW_STEPS = 16  # 8 s
SCENE_STEPS = 32
SCENES_A_SOUND = 4  # drawn to calibrate on, for each sound track composed for it
PICTURES = (SAMPLING.pictures, SAMPLING.height_px, SAMPLING.width_px, 3)
HOP = SAMPLING.step_ns * SAMPLING.sample_rate_hz // 1_000_000_000
VIDEOS = frozenset({".avi", ".mkv", ".mov", ".mp4", ".ts", ".webm"})

Listener = AcousticTrunk | Foreign


@dataclass(frozen=True)
class Plan:
    """How long to train. The defaults made the starter bundle.

    Everything is learnt several times: in rehearsals, each without some of the sources, on which calibration and
    thresholds are found, and then from all, since few recordings of a sound are all there are.
    """

    seed: int = 0
    version: str = field(default="0.1.0", repr=False)  # of the bundle; its folder names it
    fusion_epochs: int = 12
    fusion_batches: int = 50  # per epoch
    fusions: int = 3  # taught each by itself, and averaged
    scenes: int = 600  # sound tracks to learn from, half of them by the recipe that methods are compared on
    rehearsals: int = 4
    checked_scenes: int = 400  # sound tracks to calibrate on, of all rehearsals together
    false_per_hour: float | None = field(default=None, repr=False)  # wanted of each label's threshold
    # Unlabelled videos with sound: what is seen and heard together is learnt from them beforehand.
    pairs: Path | None = field(default=None, repr=False)
    align_updates: int = field(default=400, repr=False)
    # Somebody else's encoders in place of the trunks.
    visual: Path | None = field(default=None, repr=False)
    acoustic: Path | None = field(default=None, repr=False)


def train(data: Path, out: Path, plan: Plan | None = None, *,
          console: Console | None = None) -> tuple[Bundle, list[Problem]]:
    """Train all parts on `data` and write the bundle `out`; also gives the rows that could not be used.

    Raises:
        SettingsError: there is no usable labels.csv, or nothing to learn in it.
        BundleError: an engine does not compute what torch does; no bundle was written.
    """
    plan = plan or Plan()
    rows, problems = read_labels(data)
    if not rows:
        message = f"{data}: no clip to learn from" + "".join(f"; {problem}" for problem in problems[:1])
        raise SettingsError(message)
    parts = split([(row.source, row.label) for row in rows], plan.seed)
    with Progress(TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                  console=console or Console(stderr=True)) as bars:
        run = _Run(data, out.with_name(out.name + ".work"), plan, bars)
        clips, faults = run.features([row for row in rows if parts[row.source] != "held_out"])
        problems += faults
        run.see_pairs(rows)
        calibration, labels = run.rehearse(clips, labels_of(clips))
        head = run.learn("final", clips, labels)
        facts = _facts(out.name, plan, labels, clips, parts, run.brought)
        bundle = export(run.networks(head, calibration, sounds_of(clips)), facts, out)
    for problem in problems:
        log.warning("%s", problem)
    for label in _of_one_source(rows):
        log.warning("all clips labelled %r are of one source: it is learnt, but nothing can measure it", label)
    return bundle, problems


class _Run:
    """The stages of one training, each taken from the work folder if it is there."""

    def __init__(self, data: Path, work: Path, plan: Plan, bars: Progress) -> None:
        self._data, self._work, self._plan, self._bars = data, work, plan, bars
        self._pairs: list[Features] = []
        work.mkdir(parents=True, exist_ok=True)
        pictures, sound = port("frames", "uint8", *PICTURES), port("samples", "float32", SAMPLING.samples)
        self._trunk = Foreign(plan.visual, pictures, VISUAL_FEATURES) if plan.visual else VisualTrunk().eval()
        self._listener: Listener = (Foreign(plan.acoustic, sound) if plan.acoustic
                                    else AcousticTrunk(SAMPLING.sample_rate_hz).eval())
        self._heard_width = self._listener.width if isinstance(self._listener, Foreign) else ACOUSTIC_FEATURES
        self._see = Frozen(self._trunk, pictures, port("embedding", "float32", VISUAL_FEATURES), work / "trunk.onnx")
        self._hear = Frozen(self._listener, sound, port("embedding", "float32", self._heard_width),
                            work / "acoustic.onnx")
        self._spoilt: dict[str, Views] = {}
        self.brought = {sense: {"file": one.file.name, "sha256": one.sha256} for sense, one in (
            ("visual", self._trunk), ("acoustic", self._listener)) if isinstance(one, Foreign)}
        self._digest = hashlib.sha256(repr(self.brought).encode() if self.brought else b"")
        own = self.brought.get("visual", {"sha256": ""})["sha256"][:16]
        self._clips, self._views = (work / (f"{name}-{own}" if own else name) for name in ("clips", "spoilt"))

    def features(self, rows: Sequence[Row]) -> tuple[list[Features], list[Problem]]:
        """The clips to learn from; the held-out ones are not even opened."""
        bar = self._bars.add_task("decode and see", total=len(rows))
        clips, problems = prepare(rows, self._data, self._clips, self._see,
                                  lambda count: self._bars.advance(bar, count))
        self._digest.update(repr([(clip.row, len(clip.samples)) for clip in clips]).encode())
        if not clips:
            message = f"{self._data}: no clip to learn from" + "".join(f"; {problem}" for problem in problems[:1])
            raise SettingsError(message)
        seen = [clip for clip in clips if clip.seen]
        bar = self._bars.add_task("spoil pictures", total=len(seen))
        self._spoilt = prepare_spoilt(seen, self._data, self._views, self._see, self._plan.seed,
                                      lambda: self._bars.advance(bar))
        return clips, problems

    def see_pairs(self, rows: Sequence[Row]) -> None:
        """The unlabelled videos; what labels.csv lists is left to its part of the data."""
        if not self._plan.pairs:
            return
        folder, listed = self._plan.pairs, {(self._data / row.path).resolve() for row in rows}
        files = sorted(file for file in folder.rglob("*") if file.suffix in VIDEOS and file.resolve() not in listed)
        found = [Row(0, str(file.relative_to(folder)), "", ("pairs", file.stem)) for file in files]
        bar = self._bars.add_task("see pairs", total=len(found))
        self._pairs, faults = prepare(found, folder, self._clips, self._see,
                                      lambda count: self._bars.advance(bar, count))
        for fault in faults:
            log.warning("%s: %s", folder / fault.path, fault.reason)
        self._digest.update(repr([(clip.row.path, len(clip.samples)) for clip in self._pairs]).encode())
        self._digest.update(repr(self._plan.align_updates).encode())

    def learn(self, name: str, clips: Sequence[Features], labels: tuple[Label, ...]) -> Head:
        """Projections and fusion, trained on `clips`."""
        plan, sounds, clips = self._plan, sounds_of(clips), divided(clips, self._plan.seed)
        heads = [self._untrained(labels, sounds, plan.seed + member) for member in range(plan.fusions)]

        def learn() -> dict[str, torch.Tensor]:
            done = self._epochs(f"{name}: fusion", plan.fusions * plan.fusion_epochs)
            scenes = self._scenes(f"{name}: compose", clips, labels, plan.scenes, plan.seed)
            seen = seeing.learn_projections(clips, [label.name for label in labels if label.seen])
            heard = hearing.learn_projections(scenes, labels, self._heard_width)
            for head in heads:
                head.visual, head.acoustic = nn.ModuleList(seen), nn.ModuleList(heard)
            if plan.pairs:
                pairs, updates = pairs_of([*clips, *self._pairs], self._hear, HOP), plan.align_updates
                aligned = self._epochs(f"{name}: align", plan.fusions * updates)
                for member, head in enumerate(heads):
                    align(head, pairs, updates=updates, seed=plan.seed + member,
                          done=_after(member * updates, aligned))
            trained = [train_fusion(head, scenes, steps=WINDOW_STEPS, epochs=plan.fusion_epochs,
                                    batches=plan.fusion_batches, seed=plan.seed + member,
                                    done=_after(member * plan.fusion_epochs, done))
                       for member, head in enumerate(heads)]
            if isinstance(self._listener, Foreign):
                learn_feelings(cast(Manner, trained[0].fusion.feelings.manner),
                               lambda samples: torch.from_numpy(self._hear(samples.numpy()).astype(np.float32)), sounds,
                               samples=SAMPLING.samples, sample_rate_hz=SAMPLING.sample_rate_hz, seed=plan.seed)
                for other in trained[1:]:  # it is linear: taught again it would be the same
                    other.fusion.feelings.manner = trained[0].fusion.feelings.manner
            return Head.of_all(trained).state_dict()

        head = Head.of_all(heads)
        head.load_state_dict(self._kept(f"{name}-fusion", (plan,), learn))
        return head.eval()

    def _untrained(self, labels: Sequence[Label], sounds: Sequence[Sound], seed: int) -> Head:
        torch.manual_seed(seed)  # what was drawn before depends on what was kept from an earlier run
        senses = [label.sense for label in labels]
        evidence, foreign = evidence_of(senses), isinstance(self._listener, Foreign)
        fusion = Fusion(visual=evidence.visual, senses=senses, steps=WINDOW_STEPS,
                        acoustic=evidence.acoustic + (self._heard_width if foreign else FEELINGS),
                        felt=felt_in(sounds) if foreign else None)
        return Head.untaught(fusion, evidence, self._heard_width, foreign=foreign)

    def rehearse(self, clips: Sequence[Features], labels: tuple[Label, ...],
                 ) -> tuple[Calibration, tuple[Label, ...]]:
        """How the scores become probabilities, and the labels with their thresholds, from clips not learnt from."""
        plan = self._plan
        parts = cut([(clip.row.source, clip.row.label) for clip in clips], plan.rehearsals, plan.seed)
        judged = [self._judged(f"rehearsal-{number}", part, clips, labels)
                  for number, part in enumerate(filter(None, parts), start=1)]
        logits, events = (torch.cat(told) for told in zip(*judged, strict=True))  # (B, T, L) each
        calibration = calibrate(logits, events)
        scores = torch.sigmoid(logits * calibration.scale + calibration.bias).double().numpy()
        return calibration, thresholds(labels, scores, events.numpy(), SAMPLING.step_ns / 1e9,
                                       false_per_hour=plan.false_per_hour)

    def _judged(self, name: str, part: frozenset[Source], clips: Sequence[Features], labels: tuple[Label, ...],
                ) -> tuple[torch.Tensor, torch.Tensor]:
        """What a head taught without `part` says of scenes of it, and what is there; (B, T, L) each.

        Of a label that the head has met nothing of, nothing is asked.
        """
        plan = self._plan
        learnt = [clip for clip in clips if clip.row.source not in part] or clips  # or there is one source alone
        others = [clip for clip in clips if clip.row.source in part]
        head = self.learn(name, learnt, labels)
        count = -(-plan.checked_scenes // plan.rehearsals)
        scenes = self._scenes(f"{name}: judge", others, labels, count, plan.seed + 1).draw(
            SCENES_A_SOUND * count, SCENE_STEPS, dropout=False)
        met = {clip.row.event for clip in learnt}
        unmet = torch.tensor([label.name not in met for label in labels])
        return score_scenes(head, scenes, WINDOW_STEPS), scenes.events.masked_fill(unmet, MASKED)

    def networks(self, head: Head, calibration: Calibration, sounds: Sequence[Sound]) -> Networks:
        """What the bundle is made of; how voices sound is learnt last, from voices alone."""
        visual, acoustic = (cast(Projection, several[0]) for several in (head.visual, head.acoustic))
        if isinstance(self._listener, Foreign):
            hears: nn.Module = ProjectedEncoder(self._listener, acoustic.and_as_it_is())
        else:
            hears = encoder = AcousticEncoder(self._listener, acoustic, SAMPLING.sample_rate_hz, felt_in(sounds)).eval()

            def learn() -> dict[str, torch.Tensor]:
                learn_feelings(encoder.how, encoder.statistics, sounds, samples=SAMPLING.samples,
                               sample_rate_hz=SAMPLING.sample_rate_hz, seed=self._plan.seed)
                return encoder.how.state_dict()

            encoder.how.load_state_dict(self._kept("final-how", (self._plan.seed,), learn))
        fusion = ServedFusion(head.fusion, calibration.scale, calibration.bias)
        return Networks(visual=ProjectedEncoder(self._trunk, visual).eval(), acoustic=hears.eval(),
                        fusion=fusion.eval(), visual_width=visual.width,
                        acoustic_width=acoustic.width + (self._heard_width if head.foreign else FEELINGS))

    def _scenes(self, task: str, clips: Sequence[Features], labels: tuple[Label, ...], count: int,
                seed: int) -> StagedSource:
        """Scenes of `clips`: `count` composed sound tracks, and every clip alone."""
        black = self._see(np.zeros((1, *PICTURES), np.uint8))[0]
        shape = Shape(SCENE_STEPS, HOP, tuple(label.name for label in labels))
        made = StagedSource(clips, Stage(shape, self._spoilt, black, self._hear), seed,
                            alertable=frozenset(label.name for label in labels if label.alertable))
        bar = self._bars.add_task(task, total=count)
        for turn in range(count):
            if turn % 2:
                made.compose()
            else:
                made.fill(1, alone=False)
            self._bars.advance(bar)
        made.fill(0, alone=True)
        return made

    def _kept(self, name: str, settings: tuple[object, ...], make: Callable[[], Weights]) -> Weights:
        """What `make` gives, or gave in an earlier run on the same data with the same settings."""
        self._digest.update(repr((name, settings)).encode())
        return kept(self._work / f"{name}-{self._digest.hexdigest()[:16]}.pt", make)

    def _epochs(self, name: str, epochs: int) -> Callable[[int, float], None]:
        bar = self._bars.add_task(name, total=epochs)
        return lambda epoch, loss: self._bars.update(bar, completed=epoch + 1, description=f"{name} {loss:.3f}")


def _after(count: int, done: Callable[[int, float], None]) -> Callable[[int, float], None]:
    """`done`, counted on from `count`."""
    return lambda one, loss: done(count + one, loss)


def _of_one_source(rows: Sequence[Row]) -> list[str]:
    sources: dict[str, set[Source]] = defaultdict(set)
    for row in rows:
        sources[row.label].add(row.source)
    return sorted(label for label, of in sources.items() if len(of) == 1)


def _facts(name: str, plan: Plan, labels: tuple[Label, ...], clips: Sequence[Features], parts: dict[Source, Part],
           brought: dict[str, dict[str, str]]) -> Facts:
    sources: dict[str, list[str]] = defaultdict(list)
    held_out: dict[str, list[str]] = defaultdict(list)
    for (group, source), part in sorted(parts.items()):
        (held_out if part == "held_out" else sources)[group].append(source)
    training: dict[str, Any] = {
        "data": {group: licences.of(group) for group in sorted({group for group, _ in parts})},
        "clips": len(clips),
        "seed": plan.seed,
        "thresholds": "most events found less false ones, the highest as good" if plan.false_per_hour is None
                      else f"at most {plan.false_per_hour:g} false events of a label an hour of composed scenes",
        "epochs": {"fusion": plan.fusion_epochs},
        "weights": "; ".join(weights for sense, weights in licences.TRUNKS.items() if sense not in brought)
                   or "none but those brought",
        **({"brought": brought} if brought else {}),
        "sources": dict(sources),
        "held_out": dict(held_out),
    }
    licence = licences.limit(sorted({group for group, _ in parts}))
    if brought:
        licence += ". The licence of the encoders brought along was not stated"
    return Facts(name=name, version=plan.version, labels=labels, window_steps=WINDOW_STEPS, licence=licence,
                 training=training)
