"""A record that a stage could not take, and the letter that it becomes in the stage's dead-letter topic."""

from __future__ import annotations

import traceback
from dataclasses import dataclass

from operators.errors import LookoutError
from operators.records import Alert, Embedding, Segment
from pipeline import codec
from pipeline.topics.base import Message
from pipeline.watcher import TravellingRecord

HEADERS = "lookout-dead-"  # begins the name of each header that a letter has beside those of its record
LETTER_BYTES = 64 * 2**10  # a letter is larger than its record by no more than this

_MAX_REASON_BYTES = 4 * 2**10
_MAX_TRACEBACK_BYTES = 32 * 2**10


@dataclass(frozen=True)
class Refused:
    """A record for the dead-letter topic; `message` is None for one that was taken in earlier and given up now."""

    error: BaseException
    message: Message | None = None
    record: TravellingRecord | None = None

    @property
    def offset(self) -> int:
        """Where the record lies; 0 for one that does not lie in the log as it is."""
        return self.message.offset if self.message else 0

    @property
    def about(self) -> dict[str, str]:
        """What a log line says of it."""
        camera = self.message.key if self.message else camera_of(self.record) if self.record else ""
        if isinstance(self.record, Segment | Embedding):
            return {"camera": camera, "segment": f"{self.record.session}/{self.record.sequence}"}
        return {"camera": camera}

    def stored(self) -> tuple[str, bytes, dict[str, bytes]]:
        """Key, value and headers: those of the record, and why it is here."""
        told = "".join(traceback.format_exception(self.error)).encode(errors="replace")
        headers = {HEADERS + "reason": reason(self.error).encode(errors="replace")[:_MAX_REASON_BYTES],
                   HEADERS + "traceback": told[-_MAX_TRACEBACK_BYTES:]}
        if self.message:
            headers |= {HEADERS + "topic": self.message.topic.encode(),
                        HEADERS + "partition": str(self.message.partition).encode(),
                        HEADERS + "offset": str(self.message.offset).encode()}
            return self.message.key, self.message.value, {**self.message.headers, **headers}
        if self.record is None:
            raise ValueError
        value, own = codec.encode(self.record)
        return camera_of(self.record), value, {**own, **headers}

    def __str__(self) -> str:
        if self.message:
            where = f"record at {self.message.topic}[{self.message.partition}] offset {self.message.offset}"
            return f"{where} of camera {self.message.key}: {reason(self.error)}"
        return f"record of camera {camera_of(self.record) if self.record else ''}: {reason(self.error)}"


def camera_of(record: TravellingRecord) -> str:
    """Whose record it is: its key in every topic."""
    return record.event.camera if isinstance(record, Alert) else record.camera


def reason(error: BaseException) -> str:
    """What went wrong, for people."""
    return str(error) if isinstance(error, LookoutError) else f"{type(error).__name__}: {error}"
