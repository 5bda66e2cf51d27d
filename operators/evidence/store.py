"""Where evidence lies: a folder or any URL of fsspec, a subfolder for every event, kept by age and size.

    <url>/<event id>/clip.mp4 or clip.mkv, snapshot.jpg, why.png, evidence.json

`evidence.json` comes last: where it lies, all that could be made is there. Each file has its name only once it is
whole. Nothing but such files is ever touched, whatever else lies at the URL.
"""

from __future__ import annotations

import re
from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import fsspec

from operators.clock import NS_PER_S, seconds_to_ns
from operators.errors import SettingsError, StorageError
from operators.evidence.settings import DAY_S, EvidenceSettings

TYPES = {"clip.mp4": "video/mp4", "clip.mkv": "video/x-matroska", "snapshot.jpg": "image/jpeg",
         "why.png": "image/png", "evidence.json": "application/json"}
RECORD = "evidence.json"  # the one that comes last
EVENT_ID = re.compile(r"[0-9a-f]{32}")
PARTIAL = ".part"  # ends the name of a file that is being written


class Store:
    """The evidence of all events. Any thread may call any method; several processes may share the place."""

    def __init__(self, settings: EvidenceSettings) -> None:
        """Nothing is connected or made before it is needed.

        Raises:
            SettingsError: fsspec knows no such URL, or needs a package for it that is not installed.
        """
        self._settings = settings
        try:
            self._files, self._root = fsspec.url_to_fs(settings.url)
        except (ValueError, ImportError) as error:
            message = f"evidence.url: {type(error).__name__}: {error}"
            raise SettingsError(message) from error
        self.kept_bytes = 0  # by the last `sweep`, and what was put since

    @property
    def full(self) -> bool:
        """Whether more is kept than may be."""
        return self.kept_bytes > self._settings.keep_bytes

    def has(self, event_id: str) -> bool:
        """Whether all that could be made of the event is there.

        Raises:
            StorageError: it cannot be told.
        """
        return bool(self._do("exists", self._path(event_id, RECORD)))

    def put(self, event_id: str, file: Path) -> None:
        """Keep a file under its own name, which is one of `TYPES`.

        Raises:
            StorageError: it could not be kept.
        """
        path = self._path(event_id, file.name)
        self._do("makedirs", self._path(event_id), exist_ok=True)
        self._do("put_file", str(file), path + PARTIAL)
        self._do("mv", path + PARTIAL, path)
        self.kept_bytes += file.stat().st_size

    def find(self, event_id: str, part: str) -> tuple[str, int] | None:
        """Name and size of what is kept as `part` (clip, snapshot, why); None: nothing.

        Raises:
            StorageError: it cannot be told.
        """
        for name in TYPES:
            if name.partition(".")[0] == part:
                with suppress(FileNotFoundError):
                    return name, int(self._do("info", self._path(event_id, name))["size"])
        return None

    def open(self, event_id: str, name: str) -> IO[bytes]:
        """A file that can be read from any place.

        Raises:
            StorageError: it cannot be read.
            FileNotFoundError: it is not there (any more).
        """
        opened: IO[bytes] = self._do("open", self._path(event_id, name), "rb")
        return opened

    def sweep(self, now_ns: int) -> int:
        """Let go what is too old, then the oldest beyond the size that may be kept; says how many events that were.

        Raises:
            StorageError: the place cannot be read or written.
        """
        events = self._listed()
        oldest_first = sorted((self._age_key(files), event_id) for event_id, files in events.items())
        sizes = {event_id: sum(int(info["size"] or 0) for info in files.values()) for event_id, files in events.items()}
        kept, gone = sum(sizes.values()), 0
        for modified_ns, event_id in oldest_first:
            too_old = modified_ns < now_ns - seconds_to_ns(self._settings.keep_days * DAY_S)
            if not too_old and kept <= self._settings.keep_bytes:
                break
            self._remove(event_id, list(events[event_id]))
            kept, gone = kept - sizes[event_id], gone + 1
        self.kept_bytes = kept
        return gone

    def _listed(self) -> dict[str, dict[str, Any]]:
        """Event -> path -> what is known of the file; only of names that are made here."""
        events: dict[str, dict[str, Any]] = defaultdict(dict)
        with suppress(FileNotFoundError):
            self._files.invalidate_cache()
            for path, info in self._do("find", self._root, detail=True).items():
                event_id, name = ("", "", *str(path).split("/"))[-2:]
                if EVENT_ID.fullmatch(event_id) and name.removesuffix(PARTIAL) in TYPES:
                    events[event_id][path] = info
        return events

    def _age_key(self, files: dict[str, Any]) -> int:
        times = []
        for path in files:
            with suppress(FileNotFoundError):
                modified: datetime = self._do("modified", path)
                times.append(modified if modified.tzinfo else modified.replace(tzinfo=UTC))
        return round(max(times).timestamp() * NS_PER_S) if times else 0

    def _remove(self, event_id: str, paths: list[str]) -> None:
        record_first = sorted(paths, key=lambda path: not path.endswith(RECORD))
        for path in record_first:
            with suppress(FileNotFoundError):
                self._do("rm_file", path)
        with suppress(FileNotFoundError, StorageError):  # something else lies there, or there are no folders
            self._do("rmdir", self._path(event_id))

    def _path(self, event_id: str, name: str = "") -> str:
        if not EVENT_ID.fullmatch(event_id) or name not in {"", *TYPES}:
            message = f"{event_id!r}, {name!r}: no evidence has such a name"
            raise ValueError(message)
        return "/".join([self._root.rstrip("/"), event_id, *([name] if name else [])])

    def _do(self, what: str, *arguments: Any, **options: Any) -> Any:
        """Call the file system; its errors become one kind, that does not tell the place: it may hold a password."""
        try:
            return getattr(self._files, what)(*arguments, **options)
        except FileNotFoundError:
            raise
        except Exception as error:  # each kind of storage has its own
            message = f"evidence.url: {what}: {type(error).__name__}"
            raise StorageError(message) from error
