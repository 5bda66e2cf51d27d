"""A capture process that dies on a real Kafka cluster: its cameras are captured by another one soon."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from operators.records import Segment
from pipeline import codec
from pipeline.cluster.cameras import add
from pipeline.settings import LogSettings
from pipeline.topology import SEGMENTS, topics
from tests.contracts.logs import everything
from tests.end_to_end.cluster import Cluster
from tests.rtsp import RtspServer

CAMERAS = ("d", "a")  # in partitions 0 and 1
MOVED_S = 30.0  # promised

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def cluster(kafka: str, tmp_path: Path) -> Iterator[Cluster]:
    with closing(Cluster(kafka, tmp_path)) as cluster:
        yield cluster


def test_cameras_of_a_dead_process_move(cluster: Cluster, rtsp_server: RtspServer,
                                        media: Callable[..., Path]) -> None:
    clip = media("live.mp4", seconds=20, fps=10, gop=10)
    (rtsp_server.folder / "live.mp4").write_bytes(clip.read_bytes())
    url = rtsp_server.url("live.mp4", loop=True)
    cluster.log.ensure(topics(LogSettings(partitions=2)))
    add(cluster.log, [f"{name}={url}" for name in CAMERAS])

    def sessions() -> dict[str, list[str]]:
        """Those of each camera, in the order they began."""
        found: dict[str, list[str]] = {name: [] for name in CAMERAS}
        for message in everything(cluster.log, SEGMENTS):
            record = codec.decode(message)
            if isinstance(record, Segment) and record.session not in found[record.camera]:
                found[record.camera].append(record.session)
        return found

    cluster.start(("capture",))
    cluster.wait_for(lambda: all(sessions().values()))
    cluster.start(("capture",))  # takes one of them over
    cluster.wait_for(lambda: max(map(len, sessions().values())) == 2)
    before = sessions()
    [_, dying] = cluster.processes.pop(0)
    dying.kill()
    died_s = time.monotonic()
    dying.wait()
    cluster.wait_for(lambda: sum(map(len, sessions().values())) > sum(map(len, before.values())))
    took_s = time.monotonic() - died_s
    print(f"captured elsewhere {took_s:.1f} s after the process died")
    assert took_s < MOVED_S
    cluster.stop()
