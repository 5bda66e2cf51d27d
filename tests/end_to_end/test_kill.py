"""`kill -9` at random instants, restarts over one folder: the same events as an undisturbed run."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.topics.embedded_log import EmbeddedLog
from pipeline.topology import EMBEDDINGS
from tests.end_to_end.lookout import ROUND_S, command, make_scene, run
from tests.tiny_bundle import make_bundle
from tests.waiting import until

KILLS = 20
ROUNDS = 24
PERCEIVED = 2  # between two kills, at the least: a record that three die of in a row is to blame, and none is here
SEED = 20261122


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_lose_nothing_and_double_nothing(media: Callable[..., Path], tmp_path: Path) -> None:
    scene, bundle = make_scene(media, seconds=ROUNDS * ROUND_S), make_bundle(tmp_path / "bundle")

    def arguments(data: str) -> tuple[object, ...]:
        return ("watch", f"a={scene}", f"b={scene}", "--model", bundle, "--data", tmp_path / data,
                "--events", tmp_path / f"{data}.jsonl")

    def perceived(log: EmbeddedLog) -> int:
        return sum(end for _, end in log.ends(EMBEDDINGS).values())

    def kill_after(log: EmbeddedLog, wanted: int, pause_s: float) -> None:
        process = subprocess.Popen(command(*arguments("killed")), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = perceived(log)
        until(lambda: perceived(log) >= before + wanted, 60)
        time.sleep(pause_s)
        process.kill()
        assert process.wait() == -signal.SIGKILL

    assert run(*arguments("whole")).returncode == 0
    with closing(EmbeddedLog(tmp_path / "whole")) as log:
        most = perceived(log) // (3 * KILLS)  # between two kills, so that work is left at the last
    chance = random.Random(SEED)  # noqa: S311 - reproducible, not secret
    with closing(EmbeddedLog(tmp_path / "killed")) as log:
        for _ in range(KILLS):
            # Not always right after a commit.
            kill_after(log, chance.randint(PERCEIVED, most), chance.uniform(0.0, 0.05))
    last = run(*arguments("killed"))
    assert last.returncode == 0, last.stderr
    whole, survived = ((tmp_path / f"{name}.jsonl").read_text().splitlines() for name in ("whole", "killed"))
    assert sorted(survived) == sorted(whole)
    for camera in "ab":
        assert [line for line in survived if f"/cameras/{camera}" in line] == [
            line for line in whole if f"/cameras/{camera}" in line]
    assert len(whole) >= ROUNDS * 2 * 2 * 2 * 2  # rounds, cameras, labels, times, open and close
