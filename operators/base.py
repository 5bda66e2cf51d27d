"""The one interface every stage implements, and how a stage says that it cannot take a record."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from operators.errors import LookoutError

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True)
class Rejected(Generic[In]):
    """One input that could not be processed; the worker sends it to the stage's dead-letter topic.

    Yielded, not raised: the other records of the batch are processed as if it had not been there.
    """

    record: In
    error: LookoutError


class Operator(ABC, Generic[In, Out]):
    """What happens to the data in one stage. It knows no log, no metrics and no command line.

    One thread calls it, one call at a time: `restore`, then `replay`, once for every set of cameras
    it is given; after that `process` and `advance` in any order. After each of these the worker
    writes the outputs, `snapshot` and the consumed offsets in one transaction, so an operator never
    needs to ask whether its outputs have been kept. A call may block for as long as its work takes.
    """

    @abstractmethod
    def process(self, batch: Sequence[In]) -> Iterable[Out | Rejected[In]]:
        """Turn records into results, in order per camera; inputs it cannot take come as `Rejected`."""

    def advance(self, now_ns: int) -> Iterable[Out | Rejected[In]]:
        """Time passed (`now_ns`: wall clock) and nothing may have come; give what is due or given up by itself.

        An input of an earlier batch that turns out to be impossible comes as `Rejected`.
        """
        return ()

    def snapshot(self) -> Mapping[str, bytes]:
        """Small state per camera as it is now, for every camera that has changed since the last call.

        An empty value says that the camera's state may be forgotten.
        """
        return {}

    def restore(self, state: Mapping[str, bytes]) -> None:
        """Continue from the newest snapshot of each camera, forgetting every other state held."""

    def recall(self, camera: str) -> int:
        """How many of the camera's newest processed records must be seen again after a restart.

        For state too large to snapshot, such as a video decoder's: the worker reads these records
        from the log again and gives them to `replay` before the first `process`.
        """
        return 0

    def replay(self, batch: Sequence[In]) -> None:
        """See again records whose results are already committed, to rebuild what `snapshot` leaves out."""

    def close(self) -> None:
        """Free what is held. Called once, after the last call of any other kind."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every operator's settings: frozen, bounded and described by `Annotated[..., Meta(...)]`."""
