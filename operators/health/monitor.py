"""Embeddings in, events about the cameras themselves out: what is wrong with each, from when to when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from typing_extensions import override

from operators.base import Operator
from operators.clock import NS_PER_S, ns_to_seconds, seconds_to_ns
from operators.health.baseline import View
from operators.health.camera_state import CameraState
from operators.health.conditions import (
    CLEAR,
    DARK_LUMA,
    TIMINGS,
    UNSEEN_NS,
    WORST,
    Measures,
    of_look,
    of_record,
    seen_until_ns,
)
from operators.health.settings import CameraHealthSettings, HealthSettings
from operators.health.tracker import Kind, Tracker, score
from operators.records import HEALTH_LABELS, Condition, Embedding, Event, Look, Senses, event_id

FORGET_NS = 24 * 3600 * NS_PER_S  # a live camera of which nothing was heard for so long is no more


class HealthMonitor(Operator[Embedding, Event]):
    """Follows every condition of every camera through what decoding measured.

    Time is the cameras' own, so the same embeddings give the same events, at any speed and after any restart;
    but for a live camera that gives nothing at all, which the wall clock tells.
    """

    def __init__(self, settings: HealthSettings | None = None) -> None:
        self._settings = settings or HealthSettings()
        self._silent_ns = seconds_to_ns(self._settings.silent_after_s)
        self._all_silent_ns = max(self._silent_ns, seconds_to_ns(self._settings.all_silent_after_s))
        self._of: dict[str, CameraHealthSettings] = {}
        self._cameras: dict[str, CameraState] = {}
        self._quiet_since_ns: dict[str, int] = {}  # wall clock; without: something has just come, or may be waiting
        self._came_ns: int | None = None  # when something last came from any live camera; None: not yet
        self._came = False  # since the last look at the time
        self._changed: set[str] = set()

    @override
    def process(self, batch: Sequence[Embedding]) -> Iterator[Event]:
        for record in batch:
            state = self._cameras.get(record.camera)
            if state is not None and state.session != record.session and not (state.live and record.live):
                yield from self._close_all(record.camera, state)  # a file that was broken off, or another file
                state = None
            state = self._cameras[record.camera] = state or CameraState.begin(record)
            self._changed.add(record.camera)
            self._quiet_since_ns.pop(record.camera, None)
            self._came |= record.live
            state.session, state.end_ns, state.received_ns = record.session, record.end_ns, record.received_ns
            yield from self._take(record, state)

    @override
    def advance(self, now_ns: int) -> Iterator[Event]:
        """Tell of live cameras that have gone silent, by how long nothing has come from them to this stage.

        Where nothing comes from any of several the stages before may be at fault, which begin again sooner or
        later: more patience then.
        """
        if self._came:
            self._came_ns, self._came = now_ns, False
        for camera, state in tuple(self._cameras.items()):
            since_ns = self._quiet_since_ns.setdefault(camera, now_ns)
            if now_ns - since_ns >= FORGET_NS:
                yield from self._close_all(camera, state)
                del self._cameras[camera]
                self._changed.add(camera)
            elif state.live and state.watched and now_ns - since_ns >= self._patience_ns(since_ns):
                yield from self._miss(camera, state, now_ns)

    @override
    def snapshot(self) -> Mapping[str, bytes]:
        changed = {camera: msgspec.msgpack.encode(state) if (state := self._cameras.get(camera)) else b""
                   for camera in self._changed}
        self._changed.clear()
        return changed

    @override
    def restore(self, state: Mapping[str, bytes]) -> None:
        self._cameras = {camera: msgspec.msgpack.decode(value, type=CameraState) for camera, value in state.items()}
        self._quiet_since_ns.clear()
        self._changed.clear()
        self._came_ns, self._came = None, False

    def _patience_ns(self, since_ns: int) -> int:
        """How long a camera may give nothing that was quiet `since_ns`."""
        alone = sum(state.live and state.watched for state in self._cameras.values()) == 1
        others_go_on = self._came_ns is not None and (alone or self._came_ns - since_ns >= self._silent_ns // 2)
        return self._silent_ns if others_go_on else self._all_silent_ns

    def _miss(self, camera: str, state: CameraState, now_ns: int) -> Iterator[Event]:
        """Nothing comes from the camera: neither picture nor sound, but that is one condition and not two."""
        name: Condition = "no_video" if state.seen_ns is not None or not state.sound.listened_s else "no_audio"
        if name in self._of_camera(camera).ignore:
            return
        tracker = state.trackers.setdefault(name, Tracker(start_ns=state.end_ns))
        time_ns = max(now_ns, state.end_ns + seconds_to_ns(TIMINGS[name].onset_s))  # by a clock that is ahead of ours
        if kind := tracker.follow(WORST, time_ns, TIMINGS[name]):
            yield self._event(camera, state, name, tracker, kind, time_ns)
            self._changed.add(camera)

    def _take(self, record: Embedding, state: CameraState) -> Iterator[Event]:
        camera, health = record.camera, record.health
        settings = self._of_camera(camera)
        state.watched = not health.stopped
        for look in health.looks:
            measures = of_look(look, state.view)
            yield from self._follow(camera, state, measures, look.time_ns)
            self._learn(state, look, measures)
        yield from self._watch_pictures(record, state)
        measures = of_record(record, state.sound, sound_wanted=settings.sound == "always")
        yield from self._follow(camera, state, measures, record.end_ns)
        if not health.skipped and settings.sound != "never":
            state.sound.learn(ns_to_seconds(record.duration_ns), heard=health.heard)
        if record.final and not (record.live and state.watched):
            yield from self._close_all(camera, state)
            if not record.live:
                del self._cameras[camera]

    def _watch_pictures(self, record: Embedding, state: CameraState) -> Iterator[Event]:
        """Whether pictures still come. A segment may be long, so its time without any counts from the last one on."""
        seen_ns = seen_until_ns(record)
        if seen_ns is not None:
            yield from self._follow(record.camera, state, {"no_video": 0.0}, seen_ns)
            state.seen_ns = seen_ns
        if state.seen_ns is not None and record.end_ns - state.seen_ns >= UNSEEN_NS:
            for time_ns in (state.seen_ns, record.end_ns):
                yield from self._follow(record.camera, state, {"no_video": WORST}, time_ns)

    def _learn(self, state: CameraState, look: Look, measures: Measures) -> None:
        """Take the look into how the camera usually looks, or into how it looks now instead.

        That becomes the usual once its condition has lasted long enough: someone has turned the camera, and it stays.
        """
        strange = [name for name in ("covered", "defocused", "moved") if (measures[name] or 0.0) >= CLEAR]
        if strange:
            state.other.learn(look)
        elif look.luma >= DARK_LUMA and (measures["frozen"] or 0.0) < CLEAR:
            state.view.learn(look)
            state.other.looks = 0
        for name in ("defocused", "moved"):
            accept_s, tracker = TIMINGS[name].accept_s, state.trackers.get(name)
            if (accept_s and tracker and tracker.opened and tracker.end_ns is None and state.other.ready
                    and look.time_ns - (tracker.start_ns or 0) >= seconds_to_ns(accept_s)):
                state.view, state.other = state.other, View()

    def _follow(self, camera: str, state: CameraState, measures: Measures, time_ns: int) -> Iterator[Event]:
        settings = self._of_camera(camera)
        for name, bad in measures.items():
            if name in settings.ignore or (name == "no_audio" and settings.sound == "never"):
                continue
            tracker = state.trackers.get(name) or Tracker()
            if kind := tracker.follow(bad, time_ns, TIMINGS[name]):
                yield self._event(camera, state, name, tracker, kind, time_ns)
            if tracker.idle or kind == "close":
                state.trackers.pop(name, None)
            else:
                state.trackers[name] = tracker

    def _close_all(self, camera: str, state: CameraState) -> Iterator[Event]:
        for name, tracker in state.trackers.items():
            if tracker.opened:
                tracker.end_ns = tracker.end_ns or max(state.end_ns, tracker.start_ns or 0)
                yield self._event(camera, state, name, tracker, "close", tracker.end_ns)
        state.trackers.clear()

    def _of_camera(self, camera: str) -> CameraHealthSettings:
        if camera not in self._of:
            self._of[camera] = self._settings.of(camera)
        return self._of[camera]

    def _event(self, camera: str, state: CameraState, name: Condition, tracker: Tracker, kind: Kind,
               time_ns: int) -> Event:
        tracker.session = tracker.session or state.session
        label, start_ns, visual = HEALTH_LABELS[name], tracker.start_ns or 0, TIMINGS[name].visual
        end_ns = tracker.end_ns if kind == "close" else None
        return Event(
            id=event_id(camera, tracker.session, label, start_ns), kind=kind, camera=camera, session=tracker.session,
            label=label, score=score(tracker.bad), peak_score=score(tracker.worst), time_ns=time_ns,
            start_ns=start_ns, end_ns=end_ns, media_start_ns=state.media_ns(start_ns),
            media_end_ns=state.media_ns(end_ns), sentiment=None,
            senses=Senses(visual=visual, acoustic=1.0 - visual), received_ns=state.received_ns)
