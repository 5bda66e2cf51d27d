"""Truncated and bit-flipped files: whatever is in them, the process lives and the next file is captured.

A crash in FFmpeg's native code would take pytest with it, so damaged files are read in a child process.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Media = Callable[..., Path]

FILES: dict[str, dict[str, Any]] = {
    "a.mp4": {"audio_codec": "aac"},
    "b.ts": {"audio_codec": "aac"},
    "c.mkv": {"codec": "hevc", "audio_codec": "opus", "sample_rate": 48_000},
    "d.avi": {"codec": "mjpeg", "audio_codec": "pcm_s16le"},
    "e.mov": {"audio_codec": "pcm_mulaw"},
    "f.webm": {"codec": "vp9"},
    "g.flv": {"audio_codec": "aac", "sample_rate": 44_100},
}


class Child:
    """Reads the files it is told of, one after the other."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("damaged_reader.py"))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def read(self, path: Path) -> dict[str, Any]:
        """What came of a file: `segments` or `error`, and the camera's status."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{path}\n".encode())
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the reader died with {self._process.wait()}"
        return msgspec.json.decode(answer, type=dict[str, Any])

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait(30) == 0


@contextmanager
def child() -> Iterator[Child]:
    reader = Child()
    yield reader
    reader.close()


def assert_survived(answer: dict[str, Any]) -> None:
    """Either segments that tile, or one named and counted error; nothing else ever."""
    assert answer["whole"]
    assert answer["longest_s"] < 20.0  # whatever the timestamps say
    if answer["error"]:
        assert answer["error"] in {"SourceError", "SourceTimeout", "UnsupportedSource"}
        assert answer["status"]["state"] == "failed"
        assert sum(answer["status"]["errors"].values()) >= 1
        assert "camera damaged" in answer["status"]["last_error"]
    else:
        assert answer["status"]["state"] == "ended"
        assert answer["segments"] >= 1


@pytest.mark.parametrize("name", FILES)
def test_truncated_files(media: Media, tmp_path: Path, name: str) -> None:
    whole = media(name, seconds=3, **FILES[name]).read_bytes()
    with child() as reader:
        segments = []
        for percent in (0, 1, 5, 20, 40, 60, 80, 99):
            path = tmp_path / f"{percent}-{name}"
            path.write_bytes(whole[: len(whole) * percent // 100])
            answer = reader.read(path)
            assert_survived(answer)
            segments.append(answer["segments"])
        if name not in {"a.mp4", "e.mov"}:  # their index is at the end
            assert segments == sorted(segments)
            assert segments[-1] >= 2


@pytest.mark.parametrize("name", FILES)
def test_flipped_bits(media: Media, tmp_path: Path, name: str) -> None:
    whole = media(name, seconds=3, **FILES[name])
    data, path = whole.read_bytes(), tmp_path / name
    places = st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 7)), min_size=1, max_size=40)

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(places)
    def check(flips: list[tuple[int, int]]) -> None:
        damaged = bytearray(data)
        for at, bit in flips:
            damaged[at] ^= 1 << bit
        path.write_bytes(damaged)
        assert_survived(reader.read(path))

    with child() as reader:
        check()
        answer = reader.read(whole)  # the next good one is processed
        assert (answer["error"], answer["segments"]) == (None, 3)


@pytest.mark.parametrize("name", FILES)
def test_a_hole_in_the_middle(media: Media, tmp_path: Path, name: str) -> None:
    data = bytearray(media(name, seconds=3, **FILES[name]).read_bytes())
    third = len(data) // 3
    data[third : 2 * third] = b"\xa5" * third
    path = tmp_path / name
    path.write_bytes(data)
    with child() as reader:
        assert_survived(reader.read(path))
