"""How a batch is shared among partitions that have records waiting."""

from __future__ import annotations

from collections.abc import Mapping


def fair_shares(waiting: Mapping[int, int], places: int, turn: int) -> dict[int, int]:
    """How many of the `waiting` records of each partition get one of the `places`.

    The partitions' shares are as equal as can be and no place stays empty while a record waits; where
    there are fewer places than partitions, `turn` says who is first.
    """
    order = sorted(waiting)
    first = turn % max(1, len(order))
    shares = dict.fromkeys(order[first:] + order[:first], 0)
    hungry = list(shares)
    while hungry and places > 0:
        even = max(1, places // len(hungry))
        for partition in hungry[:places]:
            given = min(even, waiting[partition] - shares[partition])
            shares[partition] += given
            places -= given
        hungry = [partition for partition in hungry if shares[partition] < waiting[partition]]
    return {partition: share for partition, share in shares.items() if share}
