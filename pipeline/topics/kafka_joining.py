"""A correction of kafka-python 3.0: how a member learns that it has joined its group.

Joining goes on in the client's own thread, while `poll` waits for it. When `poll` is left before that
has ended, and it ends before the next `poll`, the client forgets the result: it joins anew, or, where it
was new metadata that made it join, waits for ever. So here joining ends only while `poll` is waiting.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kafka import KafkaConsumer

LOOK_S = 0.005  # how often the end of joining looks whether somebody waits for it


class Joining:
    """Watches over one client; `waiting` must surround each of its polls."""

    def __init__(self, client: KafkaConsumer) -> None:
        self._waiting = False
        coordinator = client._coordinator  # noqa: SLF001
        join = coordinator._do_join_and_sync_async  # noqa: SLF001

        async def join_while_somebody_waits() -> bytes:
            coordinator.request_rejoin()  # until the result is taken over, whatever made the client join
            assignment: bytes = await join()
            while not self._waiting:
                await coordinator._net.sleep(LOOK_S)  # noqa: SLF001
            return assignment

        coordinator._do_join_and_sync_async = join_while_somebody_waits  # noqa: SLF001

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While the client's `poll` runs."""
        self._waiting = True
        try:
            yield
        finally:
            self._waiting = False
