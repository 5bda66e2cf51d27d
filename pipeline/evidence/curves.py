"""The scores behind an event, by running the fusion again over what the fuse stage read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from operators.backends.base import Backend
from operators.evidence.why import Curves
from operators.fuse.fuser import Fuser
from operators.models.bundle import Bundle
from operators.records import Embedding


class Scorer:
    """Scores a label over time: as the model fused it, and as each sense alone would have. Used by one thread."""

    def __init__(self, bundle: Bundle, engine: Callable[[], Backend]) -> None:
        """Load nothing yet: `engine` gives the fusion graph of `bundle` when it is needed."""
        self._bundle, self._engine = bundle, engine
        self._fusion: Backend | None = None

    def curves(self, embeddings: Sequence[Embedding], label: str, start_ns: int) -> Curves | None:
        """The scores from `start_ns` on; None where the model has no such label, or there are no embeddings.

        What comes before `start_ns` only fills the model's memory.

        Raises:
            BackendError: the engine failed.
        """
        if label not in self._bundle.label_names or not embeddings:
            return None
        index = self._bundle.label_names.index(label)
        kept = self._bundle.manifest.labels[index]
        step_ns = np.concatenate([one.step_ns for one in embeddings])
        shown = step_ns >= start_ns

        def score(batch: Sequence[Embedding]) -> NDArray[np.float64]:
            self._fusion = self._fusion or self._engine()
            scores = Fuser(self._bundle, self._fusion).score(batch)
            return np.concatenate([one.events[:, index] for one in scores])[shown]

        def alone(hidden: str, valid: str) -> NDArray[np.float64] | None:
            if not any(np.frombuffer(getattr(one, valid), np.bool_).any() for one in embeddings):
                return None
            return score([msgspec.structs.replace(one, **{hidden: bytes(one.steps)}) for one in embeddings])

        return Curves(step_ns[shown], score(embeddings), seen=alone("acoustic_valid_raw", "visual_valid_raw"),
                      heard=alone("visual_valid_raw", "acoustic_valid_raw"), open=kept.open, close=kept.close)
