"""`kill -9` at random instants, restarts over one folder: the same events as an undisturbed run."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.lookout import command, make_scene, run
from tests.tiny_bundle import make_bundle

KILLS = 20
SEED = 20261122


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twenty_kills_lose_nothing_and_double_nothing(media: Callable[..., Path], tmp_path: Path) -> None:
    scene, bundle = make_scene(media, seconds=20.0), make_bundle(tmp_path / "bundle")

    def arguments(data: str) -> tuple[object, ...]:
        return ("watch", f"a={scene}", f"b={scene}", "--model", bundle, "--data", tmp_path / data,
                "--events", tmp_path / f"{data}.jsonl")

    started_s = time.monotonic()
    assert run(*arguments("whole")).returncode == 0
    wall_s = time.monotonic() - started_s

    instants = random.Random(SEED)  # noqa: S311 - reproducible, not secret
    killed = 0
    for _ in range(KILLS):
        process = subprocess.Popen(command(*arguments("killed")), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=instants.uniform(0.3 * wall_s, 1.1 * wall_s))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
    last = run(*arguments("killed"))
    assert last.returncode == 0, last.stderr
    assert killed >= 3  # once everything is done a run ends by itself
    whole, survived = ((tmp_path / f"{name}.jsonl").read_text().splitlines() for name in ("whole", "killed"))
    assert sorted(survived) == sorted(whole)
    for camera in "ab":
        assert [line for line in survived if f"/cameras/{camera}" in line] == [
            line for line in whole if f"/cameras/{camera}" in line]
