"""The alerts that receivers do not have yet: in order per camera and receiver, and part of the stage's state."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping

import msgspec

from operators.records import Alert

MAX_PENDING = 500  # alerts of one camera waiting for one receiver


class Pending(msgspec.Struct):
    """One alert that one receiver does not have yet."""

    sink: str
    alert: Alert
    due_ns: int  # wall clock of the next try
    failures: int = 0

    @property
    def camera(self) -> str:
        """Whose alert it is."""
        return self.alert.event.camera


class Backlog:
    """Queues of `Pending`, one for every camera and sink; remembers which cameras changed."""

    def __init__(self) -> None:
        self._queues: dict[str, dict[str, deque[Pending]]] = {}  # camera -> sink -> oldest first, never empty
        self._changed: set[str] = set()
        self._count = 0

    def __len__(self) -> int:
        """Alerts in all queues; any thread may ask."""
        return self._count

    def add(self, pending: Pending) -> bool:
        """Queue it last; False where the same alert waits already."""
        queue = self._queues.setdefault(pending.camera, {}).setdefault(pending.sink, deque())
        if any(other.alert.id == pending.alert.id for other in queue):
            return False
        queue.append(pending)
        self._count += 1
        self._changed.add(pending.camera)
        return True

    def full(self, camera: str, sink: str) -> bool:
        """Whether the queue takes no more."""
        return len(self._queues.get(camera, {}).get(sink, ())) >= MAX_PENDING

    def first(self, camera: str, sink: str) -> Pending | None:
        """The next to be delivered; whoever alters it calls `touch`."""
        queue = self._queues.get(camera, {}).get(sink)
        return queue[0] if queue else None

    def firsts(self, sink: str) -> Iterator[Pending]:
        """The next of every camera."""
        return (queues[sink][0] for queues in self._queues.values() if sink in queues)

    def drop_first(self, camera: str, sink: str) -> Pending:
        """Remove the next to be delivered."""
        queues = self._queues[camera]
        dropped = queues[sink].popleft()
        self._count -= 1
        if not queues[sink]:
            del queues[sink]
        if not queues:
            del self._queues[camera]
        self._changed.add(camera)
        return dropped

    def drop_strangers(self, sinks: Collection[str]) -> Iterator[Pending]:
        """Remove what waits for any sink but `sinks`."""
        strangers = [(camera, sink) for camera, queues in self._queues.items() for sink in queues if sink not in sinks]
        for camera, sink in strangers:
            while self.first(camera, sink) is not None:
                yield self.drop_first(camera, sink)

    def saved(self, camera: str) -> bool:
        """Whether the newest snapshot holds the camera's alerts as they are now."""
        return camera not in self._changed

    def touch(self, camera: str) -> None:
        """One of the camera's alerts was altered."""
        self._changed.add(camera)

    def snapshot(self) -> dict[str, bytes]:
        """The cameras changed since the last call; an empty value where nothing waits any more."""
        changed = {camera: self._encoded(camera) for camera in self._changed}
        self._changed.clear()
        return changed

    def restore(self, state: Mapping[str, bytes]) -> None:
        """Hold what the newest snapshots hold, and nothing else."""
        self._queues.clear()
        self._count = 0
        for encoded in state.values():
            for pending in msgspec.msgpack.decode(encoded, type=list[Pending]):
                self.add(pending)
        self._changed.clear()

    def _encoded(self, camera: str) -> bytes:
        waiting = [pending for queue in self._queues.get(camera, {}).values() for pending in queue]
        return msgspec.msgpack.encode(waiting) if waiting else b""
