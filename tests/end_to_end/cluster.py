"""Stages as processes on a Kafka broker, under names of their own; killed and replaced as told."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import msgspec
import yaml

from operators.records import Event
from pipeline import codec
from pipeline.settings import LookoutSettings
from pipeline.topics.kafka_log import KafkaLog
from pipeline.topology import EVENTS
from tests.contracts.logs import everything
from tests.end_to_end.lookout import command, run
from tests.waiting import until

PATIENCE_S = 300.0


class Cluster:
    """A broker with topics of our own, and the processes that work on them."""

    def __init__(self, address: str, folder: Path, **tree: object) -> None:
        """Write the configuration; `tree` is what it says besides. Nothing runs before `start`."""
        self.prefix = f"e2e-{uuid4().hex}."
        self.address, self.config = address, folder / "cluster.yaml"
        whole = {"log": {"partitions": 2}, "kafka": {
            "servers": [address], "prefix": self.prefix, "session_timeout_s": 6, "transaction_timeout_s": 4}, **tree}
        self.config.write_text(yaml.safe_dump(whole))
        settings = msgspec.convert(whole, LookoutSettings)
        assert settings.kafka
        self.log = KafkaLog(settings.kafka)
        self._folder = folder
        self.processes: list[tuple[tuple[str, ...], subprocess.Popen[bytes]]] = []

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return run(*arguments, "--config", self.config)

    def start(self, stages: tuple[str, ...]) -> None:
        with (self._folder / "processes.log").open("ab") as output:
            process = subprocess.Popen(command("run", *stages, "--config", self.config, "--data", self._folder),
                                       stdout=output, stderr=subprocess.STDOUT)
        self.processes.append((stages, process))

    def kill_one(self, which: int) -> None:
        """kill -9, and a successor at once."""
        stages, process = self.processes.pop(which)
        assert process.poll() is None, self.said()
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.start(stages)

    def stop(self) -> None:
        for _, process in self.processes:
            process.send_signal(signal.SIGTERM)
        for _, process in self.processes:
            assert process.wait(60) == 0, self.said()
        self.processes.clear()

    def close(self) -> None:
        """Leave nothing running, whatever has happened."""
        for _, process in self.processes:
            process.kill()
            process.wait()
        self.log.close()

    def said(self) -> str:
        """The end of what the processes logged."""
        return (self._folder / "processes.log").read_text()[-5000:]

    def events(self) -> list[Event]:
        found = [codec.decode(message) for message in everything(self.log, EVENTS)]
        return [event for event in found if isinstance(event, Event)]

    def wait_for(self, done: Callable[[], bool]) -> None:
        until(done, PATIENCE_S, self.said)
