"""`kill -9` at random instants, restarts over one folder: the same events as an undisturbed run."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.lookout import ROUND_S, command, make_scene, run
from tests.tiny_bundle import make_bundle

KILLS = 20
SEED = 20261122


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_lose_nothing_and_double_nothing(media: Callable[..., Path], tmp_path: Path) -> None:
    scene, bundle = make_scene(media, seconds=12 * ROUND_S), make_bundle(tmp_path / "bundle")

    def arguments(data: str) -> tuple[object, ...]:
        return ("watch", f"a={scene}", f"b={scene}", "--model", bundle, "--data", tmp_path / data,
                "--events", tmp_path / f"{data}.jsonl")

    def seconds(data: str) -> float:
        started_s = time.monotonic()
        assert run(*arguments(data)).returncode == 0
        return time.monotonic() - started_s

    whole_s, start_s = seconds("whole"), seconds("whole")  # the second has nothing left to do but start and end
    work_s = max(whole_s - start_s, 1.0)
    instants = random.Random(SEED)  # noqa: S311 - reproducible, not secret
    killed = 0
    for _ in range(KILLS):
        process = subprocess.Popen(command(*arguments("killed")), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=instants.uniform(0.5 * start_s, start_s + work_s / KILLS))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed >= KILLS // 2  # where the machine sped up, everything was done earlier
    last = run(*arguments("killed"))
    assert last.returncode == 0, last.stderr
    whole, survived = ((tmp_path / f"{name}.jsonl").read_text().splitlines() for name in ("whole", "killed"))
    assert sorted(survived) == sorted(whole)
    for camera in "ab":
        assert [line for line in survived if f"/cameras/{camera}" in line] == [
            line for line in whole if f"/cameras/{camera}" in line]
    assert len(whole) >= 12 * 2 * 2 * 2 * 2  # rounds, cameras, labels, times, open and close
