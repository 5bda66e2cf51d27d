"""Fixtures that several rooms use: small media files and a real RTSP server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

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
