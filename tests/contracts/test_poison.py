"""One record in ten is poison, on every log: exactly those are dead letters, whatever they do to the process."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, cast

import msgspec
import pytest
import yaml

from operators.records import Embedding, Segment
from pipeline import codec
from pipeline.cluster.dead_letters import replay_all
from pipeline.codec import VERSION_HEADER
from pipeline.settings import LogSettings
from pipeline.topics.base import Log, Message, TopicSettings
from pipeline.topology import EMBEDDINGS, SEGMENTS, topics
from pipeline.workers.in_hand import DEATHS
from tests.contracts.conftest import REPOSITORY
from tests.contracts.logs import everything
from tests.contracts.poison_child import KILLER
from tests.end_to_end.lookout import run
from tests.operators.decode.segments import segments_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
LESS_BYTES = 63 * 2**20  # records of 1 MiB are huge here, so that the broker is not kept busy for long
CAMERAS = ("gate", "yard")
PER_CAMERA = 30
PATIENCE_S = 400.0  # for half a dozen processes, one after the other
DEAD = "dead.perceive"

Stored = tuple[bytes, dict[str, bytes]]


def poisons(good: Segment) -> dict[str, Stored]:
    """What can be wrong with a segment: name -> value and headers."""
    value, headers = codec.encode(good)
    largest = next(topic for topic in small_topics() if topic.name == SEGMENTS).max_record_bytes
    huge = msgspec.structs.replace(good, media=b"\xff" * (largest - 2000))
    return {
        "killing": codec.encode(msgspec.structs.replace(good, session=KILLER)),
        "corrupt": codec.encode(msgspec.structs.replace(good, media=good.media[:100] + b"\0" * 1000)),
        "damaged": (value[:-1] + bytes([value[-1] ^ 1]), headers),
        "empty": (b"", {}),
        "huge": codec.encode(huge),
        "wrong version": (value, headers | {VERSION_HEADER: b"2.0"}),
    }


def small_topics() -> list[TopicSettings]:
    return [replace(topic, max_record_bytes=topic.max_record_bytes - LESS_BYTES)
            for topic in topics(LogSettings(partitions=2))]


class Supervisor:
    """Starts a process, and another one for each that dies."""

    def __init__(self, kind: str, address: str) -> None:
        self._arguments = (kind, address)
        self._process: subprocess.Popen[str] | None = None
        self.deaths: list[int] = []

    def run_until(self, done: Callable[[], bool], mode: str = "kill") -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        self._start(mode)
        while not done():
            assert time.monotonic() < deadline_s, f"never done; deaths: {self.deaths}"
            if self._process and (code := self._process.poll()) is not None:
                self.deaths.append(code)
                self.end()
                self._start(mode)
            time.sleep(0.3)
        self.end()

    def end(self) -> None:
        if self._process:
            cast(IO[str], self._process.stdin).close()
            self._process.wait(60)
            self._process = None

    def _start(self, mode: str) -> None:
        command = [sys.executable, "-m", "tests.contracts.poison_child", *self._arguments, mode]
        self._process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, text=True)


@pytest.fixture
def supervisor(kind: str, address: str) -> Iterator[Supervisor]:
    supervisor = Supervisor(kind, address)
    yield supervisor
    supervisor.end()


def put(log: Log, records: list[tuple[str, Stored]]) -> None:
    for camera, (value, headers) in records:
        with log.transaction("test") as transaction:
            transaction.append(SEGMENTS, camera, value, headers)


def places(messages: list[Message]) -> set[tuple[int, int]]:
    """Where in `segments` these dead letters come from."""
    return {(int(letter.headers["lookout-dead-partition"]), int(letter.headers["lookout-dead-offset"]))
            for letter in messages if letter.headers["lookout-dead-topic"] == SEGMENTS.encode()}


def embeddings(log: Log) -> list[Embedding]:
    found = [codec.decode(message) for message in everything(log, EMBEDDINGS)]
    return [record for record in found if isinstance(record, Embedding)]


def sequences(log: Log) -> dict[str, list[int]]:
    return {camera: [record.sequence for record in embeddings(log) if record.camera == camera] for camera in CAMERAS}


def replayed(log: Log, kind: str, address: str, folder: Path) -> int:
    """Give all dead letters to their stage again, on Kafka as a user does; how many those were."""
    if kind != "kafka":
        return replay_all(log, "perceive")
    server, prefix = address.split("/")
    config = folder / "cluster.yaml"
    config.write_text(yaml.safe_dump({"kafka": {"servers": [server], "prefix": prefix}}))
    listed = run("deadletters", "list", "perceive", "--config", config)
    assert f"{DEATHS} processes in a row died" in listed.stdout, listed.stderr
    again = run("deadletters", "replay", "perceive", "--config", config)
    assert again.returncode == 0, again.stderr
    return int(again.stdout.removeprefix("replayed "))


def test_poison_is_dead_and_all_others_are_processed_in_order(
        open_log: Callable[[], Log], supervisor: Supervisor, kind: str, address: str, media: Callable[..., Path],
        tmp_path: Path) -> None:
    log = open_log()
    log.ensure(small_topics())
    good = segments_of(media("clip.mp4", seconds=PER_CAMERA, fps=5, gop=5))
    assert len(good) == PER_CAMERA
    names = iter(poisons(good[0]))
    kinds: dict[tuple[int, str], str] = {}
    records: list[tuple[str, Stored]] = []
    wanted: dict[str, list[int]] = {camera: [] for camera in CAMERAS}
    for number, segment in enumerate(good):
        for camera in CAMERAS:
            mine = msgspec.structs.replace(segment, camera=camera)
            if number % 10 == 7:
                kinds[number, camera] = name = next(names)
                stored = poisons(mine)[name]
            else:
                stored = codec.encode(mine)
                wanted[camera].append(number)
            records.append((camera, stored))
    put(log, records)
    written = everything(log, SEGMENTS)
    per_camera = {camera: [message for message in written if message.key == camera] for camera in CAMERAS}
    poisoned = {(message.partition, message.offset): name for (number, camera), name in kinds.items()
                for message in [per_camera[camera][number]]}
    assert Counter(kinds.values()) == dict.fromkeys(poisons(good[0]), 1)

    def done() -> bool:
        return len(everything(log, EMBEDDINGS)) + len(everything(log, DEAD)) >= len(records)

    supervisor.run_until(done)
    assert sequences(log) == wanted
    letters = everything(log, DEAD)
    assert places(letters) == poisoned.keys()
    assert len(letters) == len(poisoned)
    reasons = {poisoned[place]: letter.headers["lookout-dead-reason"].decode() for letter in letters
               for place in places([letter])}
    assert reasons["killing"] == f"{DEATHS} processes in a row died with nothing but this record in hand"
    assert "cannot be read" in reasons["corrupt"]
    assert "cannot be read" in reasons["huge"]
    assert "checksum" in reasons["damaged"]
    assert "version is none" in reasons["empty"]
    assert "version is 2.0" in reasons["wrong version"]
    assert set(supervisor.deaths) == {-11}
    assert len(supervisor.deaths) > DEATHS  # at first unexpected, or with other records in hand

    assert replayed(log, kind, address, tmp_path) == len(poisoned)
    supervisor.run_until(lambda: len(everything(log, DEAD)) + len(everything(log, EMBEDDINGS))
                         >= len(records) + len(poisoned), "spare")
    assert len(everything(log, DEAD)) == 2 * len(poisoned) - 1  # the decoder is repaired; one was not to blame
    [spared] = [record for record in embeddings(log) if record.session == KILLER]
    assert spared.camera == "gate"
