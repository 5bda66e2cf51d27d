"""What an operator must remember: kept in the log with every batch, and given back to it after a restart or a move.

State that is small enough lies in the log as it is; the rest is rebuilt by seeing the newest records again.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from operators.base import Operator
from operators.errors import CodecError
from pipeline import codec
from pipeline.topics.base import Consumer, Log, Message, Transaction, partition_of
from pipeline.topology import Lane
from pipeline.workers.in_hand import InHand
from pipeline.workers.refused import reason

log = logging.getLogger(__name__)

RECALLED = 64  # offsets remembered per camera; operators recall no more records than that


class Kept(msgspec.Struct, frozen=True):
    """A camera's state as it lies in the log."""

    state: bytes
    recall_from: int | None  # offset of the first record to be seen again; None: none


_KEPT = msgspec.msgpack.Decoder(Kept)  # made by one thread, as those of records are


class OperatorState:
    """The memory of one worker's operator."""

    def __init__(self, lane: Lane, operator: Operator[Any, Any], log_: Log, in_hand: InHand) -> None:
        """What is lethal according to `in_hand` is not seen again."""
        self._lane, self._operator, self._log, self._in_hand = lane, operator, log_, in_hand
        self._partitions = log_.partitions(lane.consumes)
        self._offsets: dict[str, deque[int]] = {}

    def processed(self, messages: Sequence[Message]) -> None:
        """The operator had these."""
        for message in messages:
            self._offsets.setdefault(message.key, deque(maxlen=RECALLED)).append(message.offset)

    def write(self, transaction: Transaction, state: Mapping[str, bytes]) -> None:
        """Keep the newest state of cameras, as part of the batch's transaction."""
        for camera, value in state.items():
            recalled, offsets = self._operator.recall(camera), self._offsets.get(camera, deque())
            first = offsets[-min(recalled, len(offsets))] if recalled and offsets else None
            kept = msgspec.msgpack.encode(Kept(value, first)) if value else None
            transaction.put_state(self._lane.stage, partition_of(camera, self._partitions), camera, kept)

    def rebuild(self, consumer: Consumer) -> None:
        """Put the operator where the last transaction of the assigned partitions left it."""
        kept: dict[str, Kept] = {}
        recalled: list[Any] = []
        self._offsets.clear()
        for partition in sorted(consumer.assignment):
            states = {camera: _KEPT.decode(value)
                      for camera, value in self._log.state(self._lane.stage, partition).items()}
            kept |= states
            recalled += self._recall(partition, consumer.committed(partition), states)
        state = {camera: item.state for camera, item in kept.items()}
        self._operator.restore(state)
        try:
            self._operator.replay(recalled)
        except Exception as error:  # one of them broke the operator before too, and is a dead letter
            log.warning("%s: %s while seeing records again; leaving out those that fail", self._lane.stage,
                        reason(error))
            self._operator.restore(state)
            self._replay_one_by_one(recalled)

    def _replay_one_by_one(self, records: Sequence[Any]) -> None:
        for record in records:
            try:
                self._operator.replay([record])
            except Exception as error:
                log.warning("%s: not seen again: %s", self._lane.stage, reason(error))

    def _recall(self, partition: int, committed: int, states: Mapping[str, Kept]) -> list[Any]:
        """The committed records of one partition that its cameras' states leave out."""
        firsts = {camera: item.recall_from for camera, item in states.items() if item.recall_from is not None}
        if not firsts:
            return []
        records: list[Any] = []
        for message in self._log.read(self._lane.consumes, partition, min(firsts.values()), committed):
            if message.offset < firsts.get(message.key, committed) or self._in_hand.is_lethal(message):
                continue
            try:
                records.append(codec.decode(message))
            except CodecError:  # a dead letter already
                continue
            self.processed([message])
        return records
