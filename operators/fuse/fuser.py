"""Embeddings in, events out: both senses fused over the last seconds of every camera."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from typing_extensions import override

from operators.backends.base import Backend
from operators.backends.load import BackendName
from operators.base import Operator, Settings
from operators.clock import seconds_to_ns
from operators.fuse.camera_state import CameraState
from operators.fuse.hysteresis import Kind, Step, Tracker, follow
from operators.fuse.window import WindowShape
from operators.models.bundle import SENTIMENTS, Bundle
from operators.records import Embedding, Event, Senses, Sentiment, event_id


class FuseSettings(Settings, frozen=True, kw_only=True):
    """How the fusion runs and when a silent camera's events end."""

    backend: Annotated[BackendName, Meta(description="inference engine; auto takes the fastest one there")] = "auto"
    batch: Annotated[int, Meta(ge=1, le=256, description="windows per inference")] = 4
    threads: Annotated[int, Meta(ge=0, le=256, description="CPU threads per inference; 0: all that there are")] = 0
    silent_after_s: Annotated[float, Meta(ge=1, le=3600, description=(
        "open events of a live camera end when nothing came from it for this long"))] = 15.0


@dataclass(frozen=True)
class Scores:
    """What the fusion says about each of S steps."""

    step_ns: NDArray[np.int64]  # (S,)
    events: NDArray[np.float64]  # (S, L) probability of each label
    sentiment: NDArray[np.float64]  # (S, 4) probabilities: nobody heard, negative, neutral, positive
    visual_share: NDArray[np.float64]  # (S, L) part of each label's score that the pictures gave, 0..1


class Fuser(Operator[Embedding, Event]):
    """Slides a window over each camera's steps and follows every label's score through it."""

    def __init__(self, bundle: Bundle, fusion: Backend, settings: FuseSettings | None = None) -> None:
        """Serve the fusion graph of `bundle` with its labels and thresholds."""
        manifest = bundle.manifest
        self._labels, self._backend = manifest.labels, fusion
        self._silent_ns = seconds_to_ns((settings or FuseSettings()).silent_after_s)
        self._shape = WindowShape(
            steps=manifest.window_steps, step_ns=seconds_to_ns(manifest.step_s),
            visual=manifest.fusion.port("visual").width, acoustic=manifest.fusion.port("acoustic").width)
        self._cameras: dict[str, CameraState] = {}
        self._changed: set[str] = set()

    @override
    def process(self, batch: Sequence[Embedding]) -> Iterator[Event]:
        """Give the events that open, go on or close with these embeddings.

        Raises:
            BackendError: the engine failed.
        """
        states = [self._state(embedding) for embedding in batch]
        for embedding, state, scores in zip(batch, states, self._score(batch, states), strict=True):
            if state.replaces:
                yield from self._close_all(embedding.camera, state.replaces)
                state.replaces = None
            state.end_ns, state.received_ns = embedding.end_ns, embedding.received_ns
            for i in range(len(scores.step_ns)):
                yield from self._follow(embedding.camera, state, scores, i)
            if embedding.final:
                yield from self._close_all(embedding.camera, state)

    def score(self, batch: Sequence[Embedding]) -> list[Scores]:
        """Move the windows on and score every step, without making events of the scores.

        Raises:
            BackendError: the engine failed.
        """
        return self._score(batch, [self._state(embedding) for embedding in batch])

    @override
    def advance(self, now_ns: int) -> Iterator[Event]:
        """Close the events of live cameras that have gone silent.

        Silence counts from when nothing came any more, not from when the last media arrived: a stage that
        is behind hears late from cameras that are not silent at all.
        """
        for camera, state in self._cameras.items():
            state.quiet_since_ns = state.quiet_since_ns or now_ns
            if state.live and now_ns - state.quiet_since_ns > self._silent_ns:
                closed = list(self._close_all(camera, state))
                if closed:
                    self._changed.add(camera)
                yield from closed

    @override
    def snapshot(self) -> Mapping[str, bytes]:
        changed = {camera: self._cameras[camera].to_bytes() for camera in self._changed}
        self._changed.clear()
        return changed

    @override
    def restore(self, state: Mapping[str, bytes]) -> None:
        self._changed.clear()
        self._cameras = {camera: CameraState.from_bytes(value, self._shape, len(self._labels))
                         for camera, value in state.items()}

    def _state(self, embedding: Embedding) -> CameraState:
        state = self._cameras.get(embedding.camera)
        if state is None or state.session != embedding.session:
            before, state = state, CameraState.begin(embedding, self._shape, len(self._labels))
            state.replaces = before
            self._cameras[embedding.camera] = state
        state.quiet_since_ns = None
        self._changed.add(embedding.camera)
        return state

    def _score(self, batch: Sequence[Embedding], states: Sequence[CameraState]) -> list[Scores]:
        rows: list[Mapping[str, NDArray[Any]]] = []
        for embedding, state in zip(batch, states, strict=True):
            visual, acoustic = embedding.visual, embedding.acoustic
            for i, step_ns in enumerate(embedding.step_ns):
                state.window.push(int(step_ns), visual[i] if embedding.visual_valid[i] else None,
                                  acoustic[i] if embedding.acoustic_valid[i] else None)
                rows.append(state.window.ports())
        if not rows:
            nothing = np.zeros((0, len(self._labels)))
            return [Scores(embedding.step_ns, nothing, np.zeros((0, 1 + len(SENTIMENTS))), nothing)
                    for embedding in batch]
        result = self._backend.run({name: np.stack([row[name] for row in rows]) for name in rows[0]})
        newest = {name: array[:, -1].astype(np.float64) for name, array in result.items()}
        events, sentiment = _sigmoid(newest["events"]), _softmax(newest["sentiment"])
        visual_share = np.clip(newest["contribution"][..., 0], 0.0, 1.0)
        ends = np.cumsum([embedding.steps for embedding in batch])
        parts = [slice(end - embedding.steps, end) for embedding, end in zip(batch, ends, strict=True)]
        return [Scores(embedding.step_ns, events[part], sentiment[part], visual_share[part])
                for embedding, part in zip(batch, parts, strict=True)]

    def _follow(self, camera: str, state: CameraState, scores: Scores, i: int) -> Iterator[Event]:
        end_ns = min(int(scores.step_ns[i]), state.end_ns)  # a file's last step reaches beyond its end
        start_ns = max(end_ns - self._shape.step_ns, state.start_ns)
        sentiment = scores.sentiment[i].tolist()
        for index, label in enumerate(self._labels):
            step = Step(start_ns, end_ns, float(scores.events[i, index]), float(scores.visual_share[i, index]),
                        sentiment)
            if kind := follow(state.trackers[index], label, step):
                yield self._event(camera, state, index, kind, end_ns)

    def _close_all(self, camera: str, state: CameraState) -> Iterator[Event]:
        for index, tracker in enumerate(state.trackers):
            if tracker.opened:
                yield self._event(camera, state, index, "close", state.end_ns)
            tracker.reset()

    def _event(self, camera: str, state: CameraState, index: int, kind: Kind, time_ns: int) -> Event:
        tracker, label = state.trackers[index], self._labels[index].name
        start_ns, end_ns = tracker.start_ns or 0, tracker.lasted_ns if kind == "close" else None
        visual = min(1.0, max(0.0, tracker.visual / max(1, tracker.steps)))
        event = Event(
            id=event_id(camera, state.session, label, start_ns), kind=kind, camera=camera, session=state.session,
            label=label, score=tracker.score, peak_score=tracker.peak, time_ns=time_ns, start_ns=start_ns,
            end_ns=end_ns, media_start_ns=state.media_ns(start_ns),
            media_end_ns=state.media_ns(end_ns), sentiment=_sentiment(tracker),
            senses=Senses(visual=visual, acoustic=1.0 - visual), received_ns=state.received_ns)
        if kind == "close":
            tracker.reset()
        return event


def _sentiment(tracker: Tracker) -> Sentiment | None:
    """The mean over the event's steps; None where most of them heard nobody."""
    nobody, *sums = tracker.sentiment
    if not tracker.steps or nobody / tracker.steps >= 0.5 or sum(sums) <= 0:  # noqa: PLR2004
        return None
    negative, neutral, positive = (min(1.0, value / sum(sums)) for value in sums)
    label = SENTIMENTS[max(range(len(sums)), key=sums.__getitem__)]
    return Sentiment(label=label, negative=negative, neutral=neutral, positive=positive)


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-np.clip(logits, -60.0, 60.0)))


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers: NDArray[np.float64] = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
