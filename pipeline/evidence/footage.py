"""What the log still holds of an event: its end, what the encoders made of its media, and the media itself."""

from __future__ import annotations

from collections.abc import Iterator

from operators.clock import NS_PER_S, seconds_to_ns
from operators.errors import CodecError
from operators.evidence.settings import EvidenceSettings
from operators.records import Embedding, Event, Segment
from pipeline import codec
from pipeline.topics.base import Log, Message, partition_of
from pipeline.topology import EMBEDDINGS, EVENTS, SEGMENTS

MARGIN_NS = 5 * NS_PER_S  # records may be older in the log than they say, as clocks differ
BACK_RECORDS, BACK_TIMES = 256, 16  # how far to look for the media before the event, where the wall clock misleads
GAP_RECORDS = 16  # offsets without a record, looked over at once
MAX_CLIP_BYTES = 512 * 2**20  # of media in memory; what comes after it is left out


class Footage:
    """Follows one event through the log until there is nothing more to wait for."""

    def __init__(self, log: Log, event: Event, settings: EvidenceSettings, window_ns: int) -> None:
        """Read nothing yet.

        Args:
            log: of all topics.
            event: as it was when it was told.
            settings: how much around it is wanted.
            window_ns: the length of the model's memory, which is wanted before the clip.
        """
        self._log, self._settings = log, settings
        self.event = event  # the newest record of it
        self.embeddings: list[Embedding] = []  # of its session, from the model's memory before the clip on
        self.from_ns = event.start_ns - seconds_to_ns(settings.before_s)  # where the clip should begin
        self._wanted_from_ns = self.from_ns - window_ns
        self._over = False  # nothing more comes of the session
        self._news_ns = 0  # wall clock
        self._next: dict[str, int] = {}  # topic -> offset

    def look(self, now_ns: int) -> bool:
        """Read what is new; whether all is there that will be, or has been waited for long enough.

        Raises:
            LogUnavailable: the log does not answer; call again.
        """
        if not self._next:
            self._find_beginning()
            self._news_ns = max(self.event.received_ns, now_ns if self.embeddings else 0)
        before = len(self.embeddings)
        for message in self._new(EVENTS):
            self._note_event(self._decoded(message))
        for message in self._new(EMBEDDINGS):
            self._note_embedding(self._decoded(message))
        if len(self.embeddings) > before:
            self._news_ns = now_ns
        reached_ns = self.embeddings[-1].end_ns if self.embeddings else 0
        return (self._over or reached_ns >= self.to_ns
                or now_ns - self._news_ns > seconds_to_ns(self._settings.patience_s))

    @property
    def to_ns(self) -> int:
        """Where the clip ends, as far as is known."""
        latest_ns = self.event.start_ns + seconds_to_ns(self._settings.longest_s)
        if self.event.end_ns is None:
            return latest_ns
        return min(self.event.end_ns + seconds_to_ns(self._settings.after_s), latest_ns)

    def segments(self) -> list[Segment]:
        """The media of the clip, from a keyframe on; empty: it is gone."""
        wanted = [one for one in self.embeddings if one.start_ns < self.to_ns]
        if not wanted:
            return []
        partition = partition_of(self.event.camera, self._log.partitions(SEGMENTS))
        start = offset_at(self._log, SEGMENTS, partition, wanted[0].received_ns - MARGIN_NS)
        found: list[Segment] = []
        size_bytes = 0
        for message in self._log.read(SEGMENTS, partition, start, self._log.ends(SEGMENTS)[partition][1]):
            segment = self._decoded(message)
            if isinstance(segment, Segment) and segment.session == self.event.session:
                if wanted[0].sequence <= segment.sequence <= wanted[-1].sequence and segment.media:
                    found.append(segment)
                    size_bytes += len(segment.media)
                if segment.sequence >= wanted[-1].sequence or size_bytes > MAX_CLIP_BYTES:
                    break
        begins = [i for i, segment in enumerate(found) if not segment.continues and segment.start_ns <= self.from_ns]
        return found[begins[-1] if begins else 0:]

    def _find_beginning(self) -> None:
        """Read the embeddings from before the clip on; where the media came at another pace, look further back."""
        event, self.embeddings = self.event, []
        partition = partition_of(event.camera, self._log.partitions(EMBEDDINGS))
        first, end = self._log.ends(EMBEDDINGS)[partition]
        start = offset_at(self._log, EMBEDDINGS, partition,
                          event.received_ns - (event.time_ns - self._wanted_from_ns) - MARGIN_NS)
        self._read_embeddings(partition, start, end)
        for _ in range(BACK_TIMES):
            if start <= first or (self.embeddings and (self.embeddings[0].sequence == 0
                                                       or self.embeddings[0].start_ns <= self._wanted_from_ns)):
                break
            later, self.embeddings = self.embeddings, []
            stop, start = start, max(first, start - BACK_RECORDS)
            self._read_embeddings(partition, start, stop)
            self.embeddings += later
        partition = partition_of(event.camera, self._log.partitions(EVENTS))
        self._next = {EMBEDDINGS: end, EVENTS: offset_at(self._log, EVENTS, partition, event.received_ns - MARGIN_NS)}

    def _read_embeddings(self, partition: int, start: int, stop: int) -> None:
        for message in self._log.read(EMBEDDINGS, partition, start, stop):
            self._note_embedding(self._decoded(message))

    def _note_embedding(self, record: object) -> None:
        if not isinstance(record, Embedding):
            return
        if record.session == self.event.session:
            self._over = self._over or record.final
            known = self.embeddings[-1].sequence if self.embeddings else -1
            if known < record.sequence and self._wanted_from_ns < record.end_ns and record.start_ns < self.to_ns:
                self.embeddings.append(record)
        elif self.embeddings:
            self._over = True  # the camera was connected anew

    def _note_event(self, record: object) -> None:
        if isinstance(record, Event) and record.id == self.event.id:
            self.event = record

    def _new(self, topic: str) -> Iterator[Message]:
        """What came into the camera's partition since the last look."""
        partition = partition_of(self.event.camera, self._log.partitions(topic))
        end = self._log.ends(topic)[partition][1]
        yield from self._log.read(topic, partition, self._next[topic], end)
        self._next[topic] = end

    def _decoded(self, message: Message) -> object:
        """The record, if it is the camera's and readable."""
        if message.key != self.event.camera:
            return None
        try:
            return codec.decode(message)
        except CodecError:
            return None  # a dead letter of the stage that reads it


def offset_at(log: Log, topic: str, partition: int, time_ns: int) -> int:
    """The offset of the first record that came into the log at `time_ns` or later, found by halving."""
    low, high = log.ends(topic)[partition]
    while low < high:
        middle = (low + high) // 2
        message = _first(log, topic, partition, middle, high)
        if message is None or message.timestamp_ns >= time_ns:
            high = middle
        else:
            low = message.offset + 1
    return low


def _first(log: Log, topic: str, partition: int, start: int, stop: int) -> Message | None:
    """The first record from `start` on: some offsets have none."""
    for begin, end in ((start, min(start + GAP_RECORDS, stop)), (start + GAP_RECORDS, stop)):
        for message in log.read(topic, partition, begin, end):
            return message
    return None
