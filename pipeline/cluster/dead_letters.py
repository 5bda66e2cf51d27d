"""The records that a stage could not take: looked at, and given to it once more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from operators.clock import rfc3339
from operators.errors import SettingsError
from pipeline.topics.base import Log, Message
from pipeline.topology import OPTIONAL, STAGES, Lane, dead_letter_topic
from pipeline.workers.refused import HEADERS

_POLL_RECORDS, _POLL_S = 64, 1.0


@dataclass(frozen=True)
class DeadLetter:
    """One record that a stage could not take."""

    stage: str
    message: Message

    @property
    def place(self) -> str:
        """What names it on the command line: PARTITION:OFFSET."""
        return f"{self.message.partition}:{self.message.offset}"

    @property
    def reason(self) -> str:
        """Why the stage could not take it."""
        return self._header("reason") or "unknown"

    def line(self) -> str:
        """The letter in one line."""
        came_from = ""
        if topic := self._header("topic"):
            came_from = f" from {topic}[{self._header('partition')}] offset {self._header('offset')}"
        return (f"{self.stage} {self.place} {rfc3339(self.message.timestamp_ns)} camera {self.message.key}{came_from}, "
                f"{len(self.message.value)} bytes: {' '.join(self.reason.split())}")

    def text(self) -> str:
        """Everything that is known of it but the record itself."""
        return f"{self.line()}\n{self._header('traceback')}".rstrip()

    def _header(self, name: str) -> str:
        return self.message.headers.get(HEADERS + name, b"").decode(errors="replace")


def dead_letters(log: Log, stage: str) -> Iterator[DeadLetter]:
    """All that are kept of a stage, oldest first in every partition."""
    topic = dead_letter_topic(_lane(stage).stage)
    for partition, (first, end) in log.ends(topic).items():
        for message in log.read(topic, partition, first, end):
            yield DeadLetter(stage, message)


def dead_letter(log: Log, stage: str, place: str) -> DeadLetter:
    """The one at PARTITION:OFFSET.

    Raises:
        SettingsError: there is none.
    """
    topic = dead_letter_topic(_lane(stage).stage)
    partition, _, offset = place.partition(":")
    if partition.isdigit() and offset.isdigit() and int(partition) < log.partitions(topic):
        for message in log.read(topic, int(partition), int(offset), int(offset) + 1):
            return DeadLetter(stage, message)
    text = f"{topic} has no record at {place!r}; `lookout deadletters list` shows those it has, as PARTITION:OFFSET"
    raise SettingsError(text)


def replay(log: Log, letter: DeadLetter) -> None:
    """Give the record to its stage once more; its dead letter stays."""
    with log.transaction(f"replay-{letter.stage}") as transaction:
        transaction.append(_lane(letter.stage).consumes, letter.message.key, letter.message.value, _original(letter))


def replay_all(log: Log, stage: str) -> int:
    """Give every record that was not replayed by this yet to the stage once more, and say how many those were."""
    lane, count = _lane(stage), 0
    consumer = log.consumer(f"replay-{stage}", dead_letter_topic(stage))
    try:
        while (messages := consumer.poll(_POLL_RECORDS, _POLL_S)) or not consumer.assignment:
            with log.transaction(f"replay-{stage}") as transaction:
                for message in messages:
                    transaction.append(lane.consumes, message.key, message.value, _original(DeadLetter(stage, message)))
                transaction.commit(consumer, {message.partition: message.offset + 1 for message in messages})
            count += len(messages)
    finally:
        consumer.close()
    return count


def _lane(stage: str) -> Lane:
    rows = (*STAGES, *OPTIONAL)
    for row in rows:
        if row.lane.stage == stage:
            return row.lane
    message = f"there is no stage {stage!r} with dead letters: there are {', '.join(row.lane.stage for row in rows)}"
    raise SettingsError(message)


def _original(letter: DeadLetter) -> dict[str, bytes]:
    return {name: value for name, value in letter.message.headers.items() if not name.startswith(HEADERS)}
