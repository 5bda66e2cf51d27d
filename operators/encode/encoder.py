"""Clips in, embeddings out: both senses of all cameras, in full batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta
from typing_extensions import override

from operators.backends.base import Backend
from operators.backends.load import BackendName
from operators.base import Operator, Settings
from operators.encode.sense import SenseEncoder
from operators.records import Clip, Embedding


class EncodeSettings(Settings, frozen=True, kw_only=True):
    """How the encoders run."""

    backend: Annotated[BackendName, Meta(description="inference engine; auto takes the fastest one there")] = "auto"
    visual_batch: Annotated[int, Meta(ge=1, le=256, description="steps seen per inference")] = 4
    acoustic_batch: Annotated[int, Meta(ge=1, le=256, description="steps heard per inference")] = 4
    threads: Annotated[int, Meta(ge=0, le=256, description="CPU threads per inference; 0: all that there are")] = 0


class Encoder(Operator[Clip, Embedding]):
    """Embeds every step of every clip. Keeps no state: a clip's result depends on nothing else."""

    def __init__(self, visual: Backend, acoustic: Backend) -> None:
        """Serve the two encoder graphs of a bundle."""
        self._visual, self._acoustic = SenseEncoder(visual), SenseEncoder(acoustic)

    @override
    def process(self, batch: Sequence[Clip]) -> Iterator[Embedding]:
        """Embed the steps of all clips together; one embedding record per clip, in the clips' order.

        Raises:
            BackendError: an engine failed; nothing was given out.
        """
        if not batch:
            return
        visual = self._visual.encode(np.concatenate([clip.frames for clip in batch]),
                                     np.concatenate([clip.frames_valid for clip in batch]))
        acoustic = self._acoustic.encode(np.concatenate([clip.samples for clip in batch]),
                                         np.concatenate([clip.samples_valid for clip in batch]))
        start = 0
        for clip in batch:
            stop = start + len(clip.step_ns)
            yield Embedding(
                camera=clip.camera, session=clip.session, sequence=clip.sequence, start_ns=clip.start_ns,
                duration_ns=clip.duration_ns, media_start_ns=clip.media_start_ns, received_ns=clip.received_ns,
                final=clip.final, steps=stop - start, step_ns_raw=clip.step_ns.astype("<i8").tobytes(),
                visual_raw=visual[start:stop].astype("<f2").tobytes(),
                visual_valid_raw=clip.frames_valid.tobytes(),
                acoustic_raw=acoustic[start:stop].astype("<f2").tobytes(),
                acoustic_valid_raw=clip.samples_valid.tobytes(), health=clip.health)
            start = stop
