"""Another process on the log under test: `python -m tests.contracts.log_child KIND ADDRESS ACTION …`.

It says a line when it has got somewhere, and goes on until its standard input ends, or it is killed.
"""

from __future__ import annotations

import os
import select
import sys

from operators.errors import Fenced
from pipeline.topics.base import Log
from tests.contracts.logs import LOGS, commit_all


def inside(log: Log, writer: str, key: str) -> None:
    """Be in the middle of a transaction."""
    consumer = log.consumer("group", "in")
    messages = consumer.poll(10, 10.0)
    with log.transaction(writer) as tx:
        tx.append("out", key, b"never")
        tx.put_state("stage", 0, key, b"never")
        tx.commit(consumer, {message.partition: message.offset + 1 for message in messages})
        say("inside")
        sys.stdin.read()


def after(log: Log, writer: str, key: str) -> None:
    """Have left a transaction, and closed nothing."""
    with log.transaction(writer) as tx:
        tx.append("out", key, b"kept")
        tx.put_state("stage", 0, key, b"kept")
    os.write(1, b"after\n")  # nothing is between the commit and this
    sys.stdin.read()


def member(log: Log, group: str) -> None:
    """Be a member that owns partitions and has uncommitted records; commit them when told to go on."""
    consumer = log.consumer(group, "in")
    while not (messages := consumer.poll(100, 1.0)):
        pass
    say(" ".join(str(partition) for partition in sorted(consumer.assignment)))
    sys.stdin.readline()
    try:
        commit_all(log, consumer, messages, f"member-{os.getpid()}")
        say("committed")
    except Fenced:
        say("fenced")


def produce(log: Log, writer: str, count: str) -> None:
    """Append `count` records to each of three keys of its own, in small transactions."""
    for number in range(int(count)):
        with log.transaction(writer) as tx:
            for camera in range(3):
                tx.append("in", f"{writer}-{camera}", b"%d" % number, {"by": writer.encode()})
    say("produced")


def relay(log: Log, group: str) -> None:
    """Copy what the group is given from `in` to `out`, counting in the state, until told to stop."""
    consumer = log.consumer(group, "in")
    writer = f"relay-{os.getpid()}"
    say("ready")
    while not select.select([sys.stdin], [], [], 0)[0]:
        messages = consumer.poll(7, 0.05)
        if not messages:
            continue
        try:
            with log.transaction(writer) as tx:
                counts = {partition: int(log.state(group, partition).get("count", b"0"))
                          for partition in consumer.assignment}
                for message in messages:
                    tx.append("out", message.key, message.value, message.headers)
                    counts[message.partition] += 1
                    tx.put_state(group, message.partition, "count", b"%d" % counts[message.partition])
                tx.commit(consumer, {message.partition: message.offset + 1 for message in messages})
        except Fenced:
            consumer.seek_to_committed()
    consumer.close()


def say(line: str) -> None:
    print(line, flush=True)


ACTIONS = {action.__name__: action for action in (inside, after, member, produce, relay)}

if __name__ == "__main__":
    under_test = LOGS[sys.argv[1]]
    opened = under_test.open(sys.argv[2], under_test.session_timeout_s)
    ACTIONS[sys.argv[3]](opened, *sys.argv[4:])
    opened.close()
