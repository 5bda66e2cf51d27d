"""Corrections of kafka-python 3.0: how a member joins its group again and again, what it holds, and from where on.

Joining goes on in the client's own thread, while `poll` waits for it. As kafka-python has it, when `poll`
is left before that has ended, and it ends before the next `poll`, the client forgets the result: it joins
anew, or, where it was new metadata that made it join, waits for ever. And until every other member has
joined too, `poll` gives nothing, although nobody else can have this member's partitions before that.

So here a result is kept until it is taken over, and `poll` reads on while the group waits for others.

And where nobody waits any more for an answer that says how far the group is, the client keeps it for whoever
asks for the same partitions next, however late: what has been committed since would be read again. So here
it is forgotten.
"""

from __future__ import annotations

from kafka import KafkaConsumer
from kafka.structs import ConsumerGroupMetadata

JOIN_POLL_S = 0.05  # waited for the end of joining, each time somebody looks


class Joining:
    """Watches over one client that has not joined yet."""

    def __init__(self, client: KafkaConsumer) -> None:
        self._coordinator = client._coordinator  # noqa: SLF001
        self._poll, self._join, self._complete = (
            self._coordinator.poll, self._coordinator._do_join_and_sync_async,  # noqa: SLF001
            self._coordinator._on_join_complete_async)  # noqa: SLF001
        self._coordinator.poll = self._poll_and_read_on
        self._coordinator._do_join_and_sync_async = self._join_or_know  # noqa: SLF001
        self._coordinator._on_join_complete_async = self._complete_and_note  # noqa: SLF001
        self._result: tuple[tuple[str, int], bytes] | None = None  # of a join that nobody has taken over yet
        self._joined: tuple[str, int] | None = None  # member and generation of the last one that was
        self._broke = False

    @property
    def membership(self) -> ConsumerGroupMetadata | None:
        """As whom the partitions are held that the last join gave; None: others may have them by now.

        It stays while the group waits for its members to join again; from then on the cluster refuses it.
        """
        told = self._coordinator.group_metadata()
        return told if self._joined == (told.member_id, told.generation_id) else None

    def broke(self) -> bool:
        """Whether the group has been without this member for a while since this was asked last."""
        broke, self._broke = self._broke, False
        return broke

    def forget_offsets(self) -> None:
        """How far the group is in its partitions is asked for anew, whatever was asked before."""
        self._coordinator._offset_fetch_futures.clear()  # noqa: SLF001

    def _poll_and_read_on(self, timeout_ms: float) -> bool:
        patience_s = JOIN_POLL_S if self.membership else max(timeout_ms / 1000, JOIN_POLL_S)
        ready: bool = self._poll(timeout_ms=patience_s * 1000)
        return ready or self.membership is not None

    async def _join_or_know(self) -> bytes:
        self._coordinator.request_rejoin()  # until the result is taken over, whatever made the client join
        if self._result is None or self._result[0] != self._now():
            assignment: bytes = await self._join()
            self._result = self._now(), assignment
        return self._result[1]

    async def _complete_and_note(self, generation: int, member: str, protocol: str, assignment: bytes) -> None:
        self._result = None
        self.forget_offsets()  # others may have moved on
        await self._complete(generation, member, protocol, assignment)
        if self._joined:
            # Nobody else had in between what somebody holds in one generation and still in the next.
            self._broke |= self._joined not in ((member, generation), (member, generation - 1))
        self._joined = member, generation

    def _now(self) -> tuple[str, int]:
        told = self._coordinator.group_metadata()
        return told.member_id, told.generation_id
