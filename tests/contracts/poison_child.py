"""A perceive process that really dies: `python -m tests.contracts.poison_child KIND ADDRESS kill|spare`.

It decodes with the real decoder; where a segment is of a certain session, it crashes as a native library does.
It works until its standard input ends.
"""

from __future__ import annotations

import ctypes
import logging
import resource
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from typing_extensions import override

from operators.base import Operator, Rejected
from operators.clock import SystemClock
from operators.decode.decoder import Decoder, DecodeSettings
from operators.records import Clip, Embedding, Segment
from pipeline.topology import STAGES
from pipeline.watcher import Watcher
from pipeline.worker import Worker
from tests.contracts.logs import LOGS
from tests.operators.decode.segments import SAMPLING

KILLER = "killer"  # the session of segments that the decoder dies of
SESSION_TIMEOUT_S = 2.0
LANE = next(stage.lane for stage in STAGES if stage.lane.stage == "perceive")


def died_of(batch: Iterable[Segment]) -> None:
    """A crash in native code: no exception, nothing is closed."""
    if any(segment.session == KILLER for segment in batch):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        ctypes.string_at(0)


class Fragile(Operator[Segment, Embedding]):
    """The real decoder, and of every clip an embedding that says only which it is."""

    def __init__(self, *, kills: bool) -> None:
        self._decoder = Decoder(DecodeSettings(), SAMPLING, SystemClock())
        self._kills = kills

    @override
    def process(self, batch: Sequence[Segment]) -> Iterable[Embedding | Rejected[Segment]]:
        for segment in batch:
            if self._kills:
                died_of([segment])
            for item in self._decoder.process([segment]):
                yield embedding_of(item) if isinstance(item, Clip) else item

    @override
    def replay(self, batch: Sequence[Segment]) -> None:
        if self._kills:
            died_of(batch)
        self._decoder.replay(batch)

    @override
    def snapshot(self) -> Mapping[str, bytes]:
        return self._decoder.snapshot()

    @override
    def restore(self, state: Mapping[str, bytes]) -> None:
        self._decoder.restore(state)

    @override
    def recall(self, camera: str) -> int:
        return self._decoder.recall(camera)


def embedding_of(clip: Clip) -> Embedding:
    steps = len(clip.step_ns)
    nothing = np.zeros(steps, np.bool_).tobytes()
    return Embedding(camera=clip.camera, session=clip.session, sequence=clip.sequence, start_ns=clip.start_ns,
                     duration_ns=clip.duration_ns, steps=steps, step_ns_raw=clip.step_ns.astype("<i8").tobytes(),
                     visual_raw=b"", visual_valid_raw=nothing, acoustic_raw=b"", acoustic_valid_raw=nothing,
                     health=clip.health)


def main(kind: str, address: str, mode: str) -> None:
    logging.basicConfig(level=logging.INFO)  # shown where the test fails
    log = LOGS[kind].open(address, SESSION_TIMEOUT_S)
    stop = threading.Event()
    worker = Worker(LANE, Fragile(kills=mode == "kill"), log, SystemClock(), Watcher())
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    sys.stdin.read()
    stop.set()
    thread.join()
    log.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
