"""Fixtures that several rooms use: small media files, a real RTSP server and a real Kafka broker."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kafka.broker import VARIABLE, Broker, missing
from tests.media import make_video
from tests.rtsp import RtspServer


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`media("clip.mp4", seconds=3, ...)`: a file as `tests.media.make_video` makes it, made once a session.

    Do not change the file: copy it first.
    """
    made: dict[tuple[str, ...], Path] = {}

    def make(name: str, **arguments: Any) -> Path:
        key = (name, repr(sorted(arguments.items())))
        if key not in made:
            made[key] = make_video(tmp_path_factory.mktemp("media") / name, **arguments)
        return made[key]

    return make


@pytest.fixture
def rtsp_server(tmp_path: Path) -> Iterator[RtspServer]:
    """A running RTSP server over an empty folder: put files (mp4, mkv, wav) into its `folder`."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = RtspServer(folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The tests' own broker, one for the whole session: leave it running and use names nobody else does."""
    if reason := missing():
        pytest.skip(reason)
    broker = Broker(tmp_path_factory.mktemp("kafka"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> str:
    """HOST:PORT of a Kafka broker: the one that the environment names, or the tests' own."""
    if address := os.environ.get(VARIABLE):
        return address
    broker: Broker = request.getfixturevalue("kafka_broker")
    return broker.address
