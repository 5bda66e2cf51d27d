"""What a member of a group has fetched ahead, bounded and given out in turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from pipeline.topics.base import Message
from pipeline.topics.fair_shares import fair_shares

BUFFER_BYTES = 32 * 2**20  # over a member's partitions; one that has its share is not to be fetched from


class Buffers:
    """By partition, the messages that were fetched and not given out yet, and how far it was given out."""

    def __init__(self) -> None:
        self._waiting: dict[int, deque[Message]] = {}
        self._given: dict[int, int] = {}  # the offset behind the last message given out
        self._turn = 0

    @property
    def size_bytes(self) -> int:
        """Over all partitions."""
        return sum(map(self._size_bytes, self._waiting))

    def add(self, partition: int, messages: Iterable[Message]) -> None:
        """Take over what follows what is there already."""
        self._waiting.setdefault(partition, deque()).extend(messages)

    def forget(self, partitions: Iterable[int]) -> None:
        """These are read elsewhere, or again."""
        for partition in partitions:
            self._waiting.pop(partition, None)
            self._given.pop(partition, None)

    def clear(self) -> None:
        """All of it is read again."""
        self._waiting.clear()
        self._given.clear()

    def count(self, partitions: Iterable[int]) -> int:
        """How many messages wait in these."""
        return sum(len(self._waiting.get(partition, ())) for partition in partitions)

    def full(self, partitions: frozenset[int]) -> set[int]:
        """Those of `partitions`, among which the buffer is shared out, that have their share."""
        share_bytes = BUFFER_BYTES // max(1, len(partitions))
        return {partition for partition in partitions if self._size_bytes(partition) >= share_bytes}

    def take(self, partitions: Iterable[int], max_records: int, max_bytes: int) -> list[Message]:
        """Each partition's share of a batch, one after the other; the first one differs each time."""
        self._turn += 1
        waiting = {partition: count for partition in partitions if (count := self.count([partition]))}
        messages: list[Message] = []
        for partition, share in fair_shares(waiting, max_records, self._turn).items():
            for _ in range(share):
                messages.append(message := self._waiting[partition].popleft())
                self._given[partition] = message.offset + 1
                max_bytes -= len(message.value)
                if max_bytes <= 0:
                    return messages
        return messages

    def is_drained(self, partition: int, offset: int) -> bool:
        """Whether everything before `offset` was given out and nothing behind it is there yet."""
        return self._given.get(partition) == offset and not self._waiting.get(partition)

    def _size_bytes(self, partition: int) -> int:
        return sum(len(message.value) for message in self._waiting.get(partition, ()))
