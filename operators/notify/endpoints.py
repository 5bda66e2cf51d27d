"""What receivers have asked for: to be left alone for a while, or for good.

It is kept with the camera whose alert was answered so, and holds for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec


class Wish(msgspec.Struct, omit_defaults=True):
    """What a receiver answered to an alert of one camera."""

    until_ns: int = 0  # wall clock until when it wants nothing
    gone: str = ""  # why nothing is sent to it any more


class Endpoints:
    """The wishes of all receivers, and which cameras' state has changed by them."""

    def __init__(self) -> None:
        self._wishes: dict[str, dict[str, Wish]] = {}  # camera -> sink
        self.changed: set[str] = set()

    def held(self, sink: str, now_ns: int) -> bool:
        """Whether the receiver is to be left alone now."""
        return any(wishes[sink].until_ns > now_ns for wishes in self._wishes.values() if sink in wishes)

    def gone(self) -> Mapping[str, str]:
        """Receivers that are disabled, and why."""
        return {sink: wish.gone for wishes in self._wishes.values() for sink, wish in wishes.items() if wish.gone}

    def hold(self, camera: str, sink: str, until_ns: int) -> None:
        """The receiver asked for that."""
        self._wish(camera, sink).until_ns = until_ns

    def disable(self, camera: str, sink: str, reason: str) -> None:
        """The receiver wants no more."""
        self._wish(camera, sink).gone = reason

    def enable(self, sink: str) -> None:
        """The receiver takes alerts again."""
        for camera, wishes in self._wishes.items():
            if sink in wishes and wishes[sink].gone:
                wishes[sink].gone = ""
                self.changed.add(camera)

    def expire(self, now_ns: int, sinks: Iterable[str]) -> None:
        """Forget what is over, and what other receivers than `sinks` have asked for."""
        known = set(sinks)
        for camera in list(self._wishes):
            kept = {sink: wish for sink, wish in self._wishes[camera].items()
                    if sink in known and (wish.gone or wish.until_ns > now_ns)}
            if len(kept) < len(self._wishes[camera]):
                self.changed.add(camera)
                self._wishes[camera] = kept
            if not kept:
                del self._wishes[camera]

    def wishes(self, camera: str) -> Mapping[str, Wish]:
        """What is to be kept with the camera."""
        return self._wishes.get(camera, {})

    def restore(self, wishes: Mapping[str, Mapping[str, Wish]]) -> None:
        """Hold these of each camera, and nothing else."""
        self._wishes = {camera: dict(of_camera) for camera, of_camera in wishes.items() if of_camera}
        self.changed.clear()

    def _wish(self, camera: str, sink: str) -> Wish:
        self.changed.add(camera)
        return self._wishes.setdefault(camera, {}).setdefault(sink, Wish())
