"""Decode and encode in one worker, so that pictures never cross a topic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from typing_extensions import override

from operators.base import Operator, Rejected
from operators.records import Clip, Embedding, Segment

CLIPS_PER_ENCODE = 4  # decoded pictures held at a time: about 1 MB a clip


class Perceive(Operator[Segment, Embedding]):
    """Decodes the next segments while the encoders work on the ones before."""

    def __init__(self, decoder: Operator[Segment, Clip], encoder: Operator[Clip, Embedding]) -> None:
        """Chain the two; only `decoder` may keep state."""
        self._decoder, self._encoder = decoder, encoder
        self._encoding = ThreadPoolExecutor(1, thread_name_prefix="encode")

    @override
    def process(self, batch: Sequence[Segment]) -> Iterator[Embedding | Rejected[Segment]]:
        running: Future[list[Embedding]] | None = None
        decoded = self._decoder.process(batch)
        items = iter(decoded)
        while group := list(islice(items, CLIPS_PER_ENCODE)):
            yield from (item for item in group if isinstance(item, Rejected))
            clips = [item for item in group if isinstance(item, Clip)]
            following = self._encoding.submit(self._encode, clips)
            if running:
                yield from running.result()
            running = following
        if running:
            yield from running.result()

    @override
    def snapshot(self) -> Mapping[str, bytes]:
        return self._decoder.snapshot()

    @override
    def restore(self, state: Mapping[str, bytes]) -> None:
        self._decoder.restore(state)

    @override
    def recall(self, camera: str) -> int:
        return self._decoder.recall(camera)

    @override
    def replay(self, batch: Sequence[Segment]) -> None:
        self._decoder.replay(batch)

    @override
    def close(self) -> None:
        self._encoding.shutdown()
        self._decoder.close()
        self._encoder.close()

    def _encode(self, clips: Sequence[Clip]) -> list[Embedding]:
        return [item for item in self._encoder.process(clips) if isinstance(item, Embedding)]
