"""Making the evidence of one event: each part by itself, so that one that cannot be made takes no other with it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeVar, get_args

import msgspec

from operators.clock import rfc3339
from operators.errors import BackendError, LogUnavailable, LookoutError, MediaError
from operators.evidence.canvas import save_jpeg
from operators.evidence.clip import Clip, remux
from operators.evidence.film import Picture, pictures_at, sound_of
from operators.evidence.store import RECORD, Store
from operators.evidence.why import Curves, Sound, Why, draw, peak_cell, strip_times
from pipeline.evidence.curves import Scorer
from pipeline.evidence.footage import Footage

log = logging.getLogger(__name__)

T = TypeVar("T")

Part = Literal["clip", "snapshot", "why"]
PARTS: tuple[Part, ...] = get_args(Part)
GONE, BLIND, UNEXPECTED = "gone", "no_pictures", "unexpected"
LETHAL, STORAGE, LOG, OVERLOAD = "lethal", "storage", "log", "overload"
KINDS: dict[type[Exception], str] = {MediaError: "unreadable", BackendError: "model"}  # of errors -> reason
REASONS = (*KINDS.values(), GONE, BLIND, UNEXPECTED, LETHAL, STORAGE, LOG, OVERLOAD)


class ClipRecord(msgspec.Struct, frozen=True):
    """What is in the clip."""

    file: str
    container: str
    start: str
    end: str
    video: str | None  # codecs
    audio: str | None


class EvidenceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`evidence.json`: what there is, and why the rest is not."""

    event_id: str
    camera: str
    label: str
    start: str
    end: str | None  # None: it went on
    peak: str
    clip: ClipRecord | None
    snapshot: str | None
    why: str | None
    failed: dict[Part, str]


@dataclass
class Made:
    """What became of the parts."""

    files: dict[Part, Path] = field(default_factory=dict)
    failed: dict[Part, str] = field(default_factory=dict)  # part -> reason


class Maker:
    """Makes and stores. Used by one thread."""

    def __init__(self, store: Store, scorer: Scorer, rate_hz: int) -> None:
        """Hear at the model's `rate_hz`."""
        self._store, self._scorer, self._rate_hz = store, scorer, rate_hz

    def make(self, footage: Footage) -> Made:
        """Make what can be made, and put it where evidence is kept, `evidence.json` last; nothing where nothing could.

        Raises:
            StorageError: it could not be kept; try again.
            LogUnavailable: the log does not answer; try again.
        """
        with TemporaryDirectory(prefix="lookout-evidence-") as name:
            parts = _Parts(Path(name), footage, self._scorer, self._rate_hz)
            made = parts.make()
            if made.files:
                (record := Path(name) / RECORD).write_bytes(msgspec.json.format(msgspec.json.encode(parts.record())))
                for file in (*made.files.values(), record):
                    self._store.put(footage.event.id, file)
            return made


class _Parts:
    """The parts of one event, made in a folder of their own."""

    def __init__(self, folder: Path, footage: Footage, scorer: Scorer, rate_hz: int) -> None:
        self._folder, self._footage, self._scorer, self._rate_hz = folder, footage, scorer, rate_hz
        self._event = footage.event
        self._made = Made()
        self._clip: Clip | None = None
        self._curves: Curves | None = None
        self._start_ns, self._end_ns, self._peak_ns = footage.from_ns, footage.to_ns, self._event.time_ns

    def make(self) -> Made:
        """All that can be made."""
        segments = self._footage.segments()
        if segments:
            self._clip = self._tried("clip", lambda: remux(segments, self._folder))
        if self._clip:
            self._made.files["clip"] = self._clip.path
            self._start_ns, self._end_ns = self._clip.start_ns, self._clip.end_ns
        self._curves = self._tried("why", lambda: self._scorer.curves(
            self._footage.embeddings, self._event.label, self._start_ns))
        if self._curves:
            self._peak_ns = self._curves.peak_ns(self._event, self._event.end_ns or self._end_ns)
        pictures = self._tried("snapshot", self._pictures) or []
        if (self._clip or self._curves) and "why" not in self._made.failed:
            self._tried("why", lambda: self._why(pictures))
        missing = self._made.failed.get("clip", GONE) if self._clip is None else BLIND
        for part in PARTS:
            if part not in self._made.files:
                self._made.failed.setdefault(part, missing)
        return self._made

    def record(self) -> EvidenceRecord:
        """What there is of it."""
        event, clip, files = self._event, self._clip, self._made.files
        return EvidenceRecord(
            event_id=event.id, camera=event.camera, label=event.label, start=rfc3339(event.start_ns),
            end=None if event.end_ns is None else rfc3339(event.end_ns), peak=rfc3339(self._peak_ns),
            clip=None if clip is None else ClipRecord(clip.path.name, clip.container, rfc3339(clip.start_ns),
                                                      rfc3339(clip.end_ns), clip.video, clip.audio),
            snapshot=files["snapshot"].name if "snapshot" in files else None,
            why=files["why"].name if "why" in files else None, failed=self._made.failed)

    def _pictures(self) -> list[Picture]:
        """Those of the strip; the one at the peak is the snapshot."""
        if self._clip is None or self._clip.video is None:
            return []
        span = self._start_ns, self._end_ns, self._peak_ns
        pictures = pictures_at(self._clip, strip_times(*span))
        path = self._folder / "snapshot.jpg"
        save_jpeg(pictures[peak_cell(*span)], path)
        self._made.files["snapshot"] = path
        return pictures

    def _why(self, pictures: Sequence[Picture]) -> None:
        samples = sound_of(self._clip, self._rate_hz) if self._clip else None
        path = self._folder / "why.png"
        draw(Why(self._event, self._start_ns, self._end_ns, self._peak_ns, pictures,
                 None if samples is None else Sound(samples, self._rate_hz), self._curves), path)
        self._made.files["why"] = path

    def _tried(self, part: Part, make: Callable[[], T]) -> T | None:
        try:
            return make()
        except LogUnavailable:
            raise
        except Exception as error:  # counted and logged; the other parts can be made all the same
            self._made.failed[part] = KINDS.get(type(error), UNEXPECTED)
            log.warning("evidence: no %s of event %s: %s", part, self._event.id, error,
                        exc_info=None if isinstance(error, LookoutError) else error)
            return None
