"""The whole topology as processes on a real Kafka broker."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource

from operators.records import Event
from pipeline.topology import SEGMENTS
from tests.contracts.logs import everything
from tests.end_to_end.cluster import Cluster
from tests.end_to_end.lookout import ROUND_S, lines, make_scene, run
from tests.tiny_bundle import make_bundle

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
KILLS = 8
SEED = 20261122
STAGES = (("capture",), ("perceive",), ("fuse", "health", "notify", "deliver"))


@pytest.fixture
def cluster(kafka: str, tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(kafka, tmp_path, model=str(make_bundle(tmp_path / "bundle")))
    yield cluster
    cluster.close()


def seen(events: list[Event]) -> Counter[tuple[str, str]]:
    """Which events opened and closed; their ids tell camera, label and time."""
    return Counter((event.id, event.kind) for event in events if event.kind != "update")


def test_topics_are_created_described_and_drift_is_an_exit_code(cluster: Cluster) -> None:
    assert cluster.run("topics", "describe").returncode == 3
    for _ in range(2):
        assert cluster.run("topics", "create").returncode == 0
    described = cluster.run("topics", "describe")
    assert described.returncode == 0, described.stdout + described.stderr
    assert "compression.type=zstd" in next(line for line in described.stdout.splitlines() if " events:" in line)
    admin = KafkaAdminClient(bootstrap_servers=cluster.address)
    admin.alter_configs([ConfigResource("TOPIC", f"{cluster.prefix}segments", {"max.message.bytes": "1000000"})])
    admin.close()
    drifted = cluster.run("topics", "describe")
    assert drifted.returncode == 3
    assert "segments: max.message.bytes is 1000000, wanted 67112960" in drifted.stdout


def test_what_the_user_gave_wrong_is_one_line(cluster: Cluster) -> None:
    for arguments, said in (
            (("run", "fuse"), "--kafka HOST:PORT"),
            (("run", "nonsense", "--kafka", "localhost:9092"), "perceive"),
            (("topics", "create", "--kafka", "localhost"), "--kafka"),
            (("cameras", "add", "gate=rtsp://user:secret@10.0.0.5/1", "--config", cluster.config), "${NAME}")):
        wrong = run(*arguments)
        assert wrong.returncode == 2, wrong.stderr
        assert said in wrong.stderr
        assert wrong.stderr.count("\n") == 1
        assert "secret" not in wrong.stderr
    unknown = cluster.run("run", "fuse")  # the topics are not there yet
    assert unknown.returncode == 1
    assert "there is no such topic" in unknown.stderr


def test_kills_lose_nothing_and_double_nothing(cluster: Cluster, media: Callable[..., Path], tmp_path: Path) -> None:
    scene = make_scene(media, seconds=4 * ROUND_S)
    whole = run("watch", f"a={scene}", f"b={scene}", "--model", tmp_path / "bundle", "--data", tmp_path / "whole",
                "--json")
    wanted = Counter((line["id"], kind) for line in lines(whole.stdout)
                     if (kind := line["type"].rpartition(".")[2]) != "update")
    assert wanted.total() >= 4 * 2 * 2 * 2 * 2  # rounds, cameras, labels, times, open and close
    assert cluster.run("topics", "create").returncode == 0
    assert cluster.run("cameras", "add", f"a={scene}", f"b={scene}").returncode == 0
    assert [line.partition("=")[0] for line in cluster.run("cameras", "list").stdout.splitlines()] == ["a", "b"]
    for stages in STAGES:
        cluster.start(stages)
    cluster.start(("perceive",))
    chance = random.Random(SEED)  # noqa: S311 - reproducible, not secret
    cluster.wait_for(lambda: bool(cluster.events()))
    for _ in range(KILLS):
        cluster.kill_one(chance.randrange(len(cluster.processes)))
        time.sleep(chance.uniform(0.5, 3.0))
    cluster.wait_for(lambda: sum(seen(cluster.events()).values()) >= wanted.total())
    cluster.stop()
    assert seen(cluster.events()) == wanted  # all of them, none twice


@pytest.mark.skipif(not shutil.which("kcat"), reason="kcat not found")
@pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffprobe not found")
def test_anyone_can_play_a_segment(cluster: Cluster, media: Callable[..., Path], tmp_path: Path) -> None:
    scene = make_scene(media)
    assert cluster.run("topics", "create").returncode == 0
    assert cluster.run("cameras", "add", f"a={scene}").returncode == 0
    cluster.start(("capture",))
    cluster.wait_for(lambda: len(everything(cluster.log, SEGMENTS)) >= 3)
    cluster.stop()
    taken = subprocess.run(["kcat", "-C", "-b", cluster.address, "-t", f"{cluster.prefix}segments", "-o", "-2", "-c1"],
                           capture_output=True, check=True, timeout=60)
    (tmp_path / "taken.mkv").write_bytes(taken.stdout)
    probed = subprocess.run(["ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0",
                             tmp_path / "taken.mkv"], capture_output=True, text=True, check=True, timeout=60)
    assert sorted(probed.stdout.split()) == ["aac", "h264"]
