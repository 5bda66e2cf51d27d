"""Consumer groups of the embedded log: who is a member, who owns which partition, how far the group is.

Every function works inside the caller's write transaction, so the group is never seen half changed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from operators.errors import Fenced


@dataclass(frozen=True)
class Claim:
    """A group's place in one partition, as it is in the log at this moment."""

    partition: int
    partition_id: int
    committed: int
    owner: str | None
    generation: int  # another number after every change of owner
    first_offset: int
    next_offset: int


@dataclass(frozen=True)
class Group:
    """A consumer group's name and the one topic it reads."""

    name: str
    topic: str

    def create(self, db: sqlite3.Connection) -> None:
        """Claim the topic's partitions from their first kept records, where not yet done."""
        db.execute("""INSERT OR IGNORE INTO claims ("group", partition_id, committed)
                      SELECT ?, id, first_offset FROM partitions WHERE topic = ?""", (self.name, self.topic))

    def claims(self, db: sqlite3.Connection) -> list[Claim]:
        """The group's place in every partition, in partition order."""
        return [Claim(*row) for row in db.execute(
            """SELECT partition, id, max(committed, first_offset), owner, generation, first_offset, next_offset
               FROM partitions JOIN claims ON partition_id = id
               WHERE topic = ? AND "group" = ? ORDER BY partition""", (self.topic, self.name))]

    def beat(self, db: sqlite3.Connection, member: str, presence: str, now_ns: int) -> None:
        """Say that `member` is alive, joining the group if it is not in it (any more)."""
        db.execute("""INSERT INTO members (id, "group", topic, presence, polled_ns) VALUES (?, ?, ?, ?, ?)
                      ON CONFLICT (id) DO UPDATE SET polled_ns = excluded.polled_ns""",
                   (member, self.name, self.topic, presence, now_ns))

    def leave(self, db: sqlite3.Connection, member: str) -> None:
        """Remove `member`; `share_out` then gives its partitions to the others."""
        db.execute("DELETE FROM members WHERE id = ?", (member,))

    def expire(self, db: sqlite3.Connection, is_present: Callable[[str], bool], polled_after_ns: int) -> None:
        """Remove the members whose process is gone or that have not polled since `polled_after_ns`."""
        for member, presence, polled_ns in self._members(db):
            if polled_ns <= polled_after_ns or not is_present(presence):
                self.leave(db, member)

    def share_out(self, db: sqlite3.Connection) -> None:
        """Give every partition an owner among the members, moving as few as possible."""
        claims = self.claims(db)
        owners = assign({claim.partition: claim.owner for claim in claims}, [row[0] for row in self._members(db)])
        db.executemany(
            """UPDATE claims SET owner = ?, generation = generation + 1 WHERE "group" = ? AND partition_id = ?""",
            [(owners[claim.partition], self.name, claim.partition_id)
             for claim in claims if owners[claim.partition] != claim.owner])

    def commit(self, db: sqlite3.Connection, member: str, owned: Mapping[int, Claim],
               offsets: Mapping[int, int]) -> None:
        """Set the next offset of each partition.

        Raises:
            Fenced: a partition has changed its owner since `member` learnt that it owns it.
        """
        for partition, offset in offsets.items():
            claim = owned[partition]
            changed = db.execute(
                """UPDATE claims SET committed = ?
                   WHERE "group" = ? AND partition_id = ? AND owner = ? AND generation = ?""",
                (offset, self.name, claim.partition_id, member, claim.generation)).rowcount
            if changed == 0:
                raise self.fenced(partition)

    def fenced(self, partition: int) -> Fenced:
        """The error for a member that does not own `partition`."""
        return Fenced(f"group {self.name}: partition {partition} of {self.topic} was given to another member")

    def _members(self, db: sqlite3.Connection) -> list[tuple[str, str, int]]:
        return db.execute("""SELECT id, presence, polled_ns FROM members
                             WHERE "group" = ? AND topic = ? ORDER BY id""", (self.name, self.topic)).fetchall()


def assign(owners: Mapping[int, str | None], members: Sequence[str]) -> dict[int, str | None]:
    """An owner for every partition: shares differ by one at most, and few partitions move.

    `owners` says who owns each partition now; without members nobody owns anything.
    """
    if not members:
        return dict.fromkeys(owners)
    held: dict[str, list[int]] = {member: [] for member in members}
    for partition, owner in owners.items():
        if owner in held:
            held[owner].append(partition)
    share, larger = divmod(len(owners), len(members))
    # The members that hold the most keep the larger shares, so that fewer partitions move.
    quotas = {member: share + (rank < larger)
              for rank, member in enumerate(sorted(members, key=lambda member: -len(held[member])))}
    assigned: dict[int, str | None] = {}
    for member, partitions in held.items():
        assigned |= dict.fromkeys(partitions[:quotas[member]], member)
    free = [partition for partition in owners if partition not in assigned]
    for member, quota in quotas.items():
        for _ in range(quota - len(held[member])):
            assigned[free.pop(0)] = member
    return assigned
