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
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from typing_extensions import override

from operators.base import Operator, Rejected
from operators.clock import SystemClock
from operators.decode.decoder import Decoder, DecodeSettings
from operators.records import Clip, Embedding, Segment
from pipeline.topology import STAGES
from pipeline.watcher import Watcher
from pipeline.workers.perceive import Perceive
from pipeline.workers.worker import Worker
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


class Fragile(Decoder):
    """The real decoder, that dies of some segments."""

    @override
    def process(self, batch: Sequence[Segment]) -> Iterator[Clip | Rejected[Segment]]:
        for segment in batch:
            died_of([segment])
            yield from super().process([segment])

    @override
    def replay(self, batch: Sequence[Segment]) -> None:
        died_of(batch)
        super().replay(batch)


class Telling(Operator[Clip, Embedding]):
    """Of every clip an embedding that says only which it is."""

    @override
    def process(self, batch: Sequence[Clip]) -> Iterator[Embedding]:
        for clip in batch:
            steps = len(clip.step_ns)
            nothing = np.zeros(steps, np.bool_).tobytes()
            yield Embedding(camera=clip.camera, session=clip.session, sequence=clip.sequence, start_ns=clip.start_ns,
                            duration_ns=clip.duration_ns, steps=steps, step_ns_raw=clip.step_ns.astype("<i8").tobytes(),
                            visual_raw=b"", visual_valid_raw=nothing, acoustic_raw=b"", acoustic_valid_raw=nothing,
                            health=clip.health)


def main(kind: str, address: str, mode: str) -> None:
    logging.basicConfig(level=logging.INFO)  # shown where the test fails
    log = LOGS[kind].open(address, SESSION_TIMEOUT_S)
    stop = threading.Event()
    decoder = (Fragile if mode == "kill" else Decoder)(DecodeSettings(), SAMPLING, SystemClock())
    worker = Worker(LANE, Perceive(decoder, Telling()), log, SystemClock(), Watcher())
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    sys.stdin.read()
    stop.set()
    thread.join()
    log.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
