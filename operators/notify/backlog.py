"""The alerts that receivers do not have yet: in order per camera and receiver, and part of the stage's state."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice

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


class _Queue:
    """What waits of one camera for one sink, oldest first; never empty."""

    def __init__(self) -> None:
        self.waiting: deque[Pending] = deque()
        self.saved = 0  # so many of the oldest are in a snapshot


class Backlog:
    """Queues of `Pending`, one for every camera and sink; remembers which cameras changed."""

    def __init__(self) -> None:
        self._queues: dict[str, dict[str, _Queue]] = {}  # camera -> sink
        self._count = 0
        self.changed: set[str] = set()  # cameras, since the last `mark_saved`

    def __len__(self) -> int:
        """Alerts in all queues; any thread may ask."""
        return self._count

    def add(self, pending: Pending) -> bool:
        """Queue it last; False where the same alert waits already."""
        queue = self._queues.setdefault(pending.camera, {}).setdefault(pending.sink, _Queue())
        if any(other.alert.id == pending.alert.id for other in queue.waiting):
            return False
        queue.waiting.append(pending)
        self._count += 1
        self.changed.add(pending.camera)
        return True

    def full(self, camera: str, sink: str) -> bool:
        """Whether the queue takes no more."""
        queue = self._queues.get(camera, {}).get(sink)
        return queue is not None and len(queue.waiting) >= MAX_PENDING

    def first(self, camera: str, sink: str) -> Pending | None:
        """The next to be delivered; whoever alters it adds its camera to `changed`."""
        queue = self._queues.get(camera, {}).get(sink)
        return queue.waiting[0] if queue else None

    def firsts(self, sink: str) -> Iterator[Pending]:
        """The next of every camera that a snapshot holds."""
        return (queues[sink].waiting[0] for queues in self._queues.values() if sink in queues and queues[sink].saved)

    def saved(self, camera: str, sink: str, most: int) -> tuple[Alert, ...]:
        """The next few, as far as a snapshot holds them."""
        queue = self._queues[camera][sink]
        return tuple(pending.alert for pending in islice(queue.waiting, min(most, queue.saved)))

    def drop_first(self, camera: str, sink: str) -> Pending:
        """Remove the next to be delivered."""
        queues = self._queues[camera]
        queue = queues[sink]
        dropped = queue.waiting.popleft()
        queue.saved = max(0, queue.saved - 1)
        self._count -= 1
        if not queue.waiting:
            del queues[sink]
        if not queues:
            del self._queues[camera]
        self.changed.add(camera)
        return dropped

    def drop(self, fine: Collection[str], unwanted: Callable[[Pending], bool]) -> list[Pending]:
        """Remove every one that is `unwanted`, of the sinks that are not `fine`."""
        dropped = []
        for camera, sink in [(camera, sink) for camera, queues in self._queues.items() for sink in queues]:
            if sink in fine:
                continue
            waiting = list(self._queues[camera][sink].waiting)
            lost = [pending for pending in waiting if unwanted(pending)]
            if not lost:
                continue
            while self.first(camera, sink) is not None:
                self.drop_first(camera, sink)
            for pending in waiting:
                if not unwanted(pending):
                    self.add(pending)
            dropped += lost
        return dropped

    def waiting(self, camera: str) -> Sequence[Pending]:
        """All of the camera, in the order of each queue."""
        return [pending for queue in self._queues.get(camera, {}).values() for pending in queue.waiting]

    def mark_saved(self) -> None:
        """A snapshot has been made of every changed camera."""
        for camera in self.changed:
            for queue in self._queues.get(camera, {}).values():
                queue.saved = len(queue.waiting)
        self.changed.clear()

    def restore(self, kept: Iterable[Pending]) -> None:
        """Hold these, and nothing else."""
        self._queues.clear()
        self._count = 0
        for pending in kept:
            self.add(pending)
        self.changed = set(self._queues)
        self.mark_saved()
