"""Which records a stage has in hand, noted in the log, so that one that kills its process is found out.

No exception tells of a decoder that crashes natively. So a worker notes in the log where it begins before it
processes its first records of a partition, and one that finds another's note there, still at the offset that
the group has committed, knows that nobody came back from these records. It takes them one at a time, each
noted before. A record that DEATHS workers in a row did not come back from, though they had nothing else in
hand, is a dead letter, and is not given to the operator to see again either.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from operators.errors import LethalRecord
from pipeline.topics.base import Consumer, Log, Message, Transaction

DEATHS = 3  # an unlucky record may meet a kill from outside, hardly so many in a row
MAX_LETHAL = 1024  # offsets remembered per partition; operators see nothing again that is so long ago

_NOTE, _LETHAL = "note", "lethal"  # keys of the state


class _Note(msgspec.Struct, frozen=True):
    """What a worker has in hand of one partition."""

    worker: str
    committed: int  # the group's offset when it was written: as long as that is so, nobody has come back
    first: int  # offset of the first record in hand
    until: int  # the offset up to which records are taken one at a time, should nobody come back
    alone: bool  # nothing but the first record is in hand, in any partition
    deaths: int = 0  # of workers before that had it alone in hand


_NOTES = msgspec.msgpack.Decoder(_Note)  # made by one thread, as those of records are


class InHand:
    """The notes of one worker. Where it may lose its place, it says so by the transaction's Fenced."""

    def __init__(self, log_: Log, stage: str) -> None:
        """Nothing is read before `begin`."""
        self._log, self._store, self._worker = log_, f"{stage}.in-hand", secrets.token_hex(8)
        self._found: dict[int, _Note] = {}  # left by workers that did not come back
        self._noted: set[int] = set()
        self._lethal: defaultdict[int, list[int]] = defaultdict(list)

    def begin(self, consumer: Consumer) -> None:
        """Read what was noted of the partitions that are `consumer`'s now."""
        before, self._found = self._found, {}
        self._noted.clear()
        self._lethal.clear()
        for partition in consumer.assignment:
            kept = self._log.state(self._store, partition)
            if _LETHAL in kept:
                self._lethal[partition] = msgspec.msgpack.decode(kept[_LETHAL], type=list[int])
            if _NOTE in kept:
                note, committed = _NOTES.decode(kept[_NOTE]), consumer.committed(partition)
                if note.worker != self._worker and note.committed == committed:
                    self._found[partition] = note
                elif note.worker == self._worker and partition in before and committed < before[partition].until:
                    self._found[partition] = before[partition]  # we have not died, and know no better than before

    def batches(self, messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
        """What is to be processed and committed together; one at a time while something is suspicious."""
        if not messages:
            yield messages
        rest = messages
        while rest:
            size = 1 if self._found else len(rest)
            yield rest[:size]
            rest = rest[size:]

    def note(self, writer: str, consumer: Consumer, messages: Sequence[Message]) -> None:
        """Keep in the log that `messages` are about to be processed, where that is not known already.

        Raises:
            Fenced: one of their partitions belongs to another member now.
        """
        parts = _by_partition(messages)
        unknown = parts if self._found else {partition: part for partition, part in parts.items()
                                             if partition not in self._noted}
        if not unknown:
            return
        with self._log.transaction(writer) as transaction:
            for partition, part in unknown.items():
                note = self._note(consumer.committed(partition), part, alone=len(messages) == 1)
                transaction.put_state(self._store, partition, _NOTE, msgspec.msgpack.encode(note))
            transaction.commit(consumer, {partition: consumer.committed(partition) for partition in unknown})
        self._noted |= unknown.keys()

    def check(self, message: Message) -> None:
        """Refuse what too many died of.

        Raises:
            LethalRecord: so did they of this one.
        """
        if (deaths := self._deaths(message)) >= DEATHS:
            text = f"{deaths} processes in a row died with nothing but this record in hand"
            raise LethalRecord(text)

    def keep(self, transaction: Transaction, refused: Iterable[Message]) -> None:
        """Remember, as part of the batch's transaction, which of the records that it refuses are lethal."""
        for message in refused:
            if self._deaths(message) >= DEATHS:
                offsets = self._lethal[message.partition] = [*self._lethal[message.partition],
                                                             message.offset][-MAX_LETHAL:]
                transaction.put_state(self._store, message.partition, _LETHAL, msgspec.msgpack.encode(offsets))

    def is_lethal(self, message: Message) -> bool:
        """Whether a worker before has refused this record as lethal."""
        return message.offset in self._lethal[message.partition]

    def came_back(self, offsets: Mapping[int, int]) -> None:
        """A transaction with these offsets is kept."""
        for partition, offset in offsets.items():
            if (note := self._found.get(partition)) and offset >= note.until:
                del self._found[partition]

    def withdraw(self, writer: str) -> None:
        """The worker ends, and not because of what it has in hand."""
        with self._log.transaction(writer) as transaction:
            for partition in self._noted:
                transaction.put_state(self._store, partition, _NOTE, None)

    def _note(self, committed: int, part: Sequence[Message], *, alone: bool) -> _Note:
        until = part[-1].offset + 1
        if found := self._found.get(part[0].partition):
            until = max(until, found.until)
        return _Note(self._worker, committed, part[0].offset, until, alone, self._deaths(part[0]))

    def _deaths(self, message: Message) -> int:
        """How many workers in a row did not come back from this record alone."""
        note = self._found.get(message.partition)
        return note.deaths + 1 if note and note.alone and note.first == message.offset else 0


def _by_partition(messages: Iterable[Message]) -> dict[int, list[Message]]:
    parts: dict[int, list[Message]] = {}
    for message in messages:
        parts.setdefault(message.partition, []).append(message)
    return parts
