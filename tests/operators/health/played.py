"""Footage through the real capture and decoder, and what the monitor says of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count

import msgspec

from operators.base import Rejected
from operators.decode.decoder import Decoder
from operators.health.monitor import HealthMonitor
from operators.records import Clip, Embedding, Event, Segment
from tests.operators.decode.segments import a_decoder


def embedding_of(clip: Clip) -> Embedding:
    """What is left of a clip for whoever asks nothing of the model."""
    return Embedding(
        camera=clip.camera, session=clip.session, sequence=clip.sequence, start_ns=clip.start_ns,
        duration_ns=clip.duration_ns, media_start_ns=clip.media_start_ns, received_ns=clip.received_ns,
        final=clip.final, steps=0, step_ns_raw=b"", visual_raw=b"", visual_valid_raw=b"", acoustic_raw=b"",
        acoustic_valid_raw=b"", health=clip.health)


def embeddings_of(segments: Iterable[Segment], decoder: Decoder | None = None) -> Iterator[Embedding]:
    """Decode them, one at a time."""
    decoder = decoder or a_decoder()
    for segment in segments:
        for clip in decoder.process([segment]):
            assert not isinstance(clip, Rejected), clip.error
            yield embedding_of(clip)


def joined(*parts: Sequence[Segment], times: int = 1) -> Iterator[Segment]:
    """The parts one after the other, `times` over, as one session of one camera."""
    first, numbers, start_ns = parts[0][0], count(), parts[0][0].start_ns
    whole = [segment for _ in range(times) for part in parts for segment in part]
    for segment, number in zip(whole, numbers, strict=False):
        yield msgspec.structs.replace(
            segment, camera=first.camera, session=first.session, sequence=number, start_ns=start_ns,
            media_start_ns=start_ns - first.start_ns, continued=False, final=number == len(whole) - 1)
        start_ns += segment.duration_ns


def told(embeddings: Iterable[Embedding], monitor: HealthMonitor | None = None) -> list[Event]:
    """Every event of them."""
    monitor = monitor or HealthMonitor()
    return [event for embedding in embeddings for event in monitor.process([embedding])
            if isinstance(event, Event)]
