"""Stages on a real Kafka broker can be looked into: metrics, JSON log lines, traces from one process to the next."""

from __future__ import annotations

import http.client
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.end_to_end.cluster import Cluster
from tests.end_to_end.lookout import lines, make_scene
from tests.pipeline.tracing.collector import Collector
from tests.rtsp import RtspServer
from tests.tiny_bundle import make_bundle

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
WANTED = {"lookout_camera_connected", "lookout_camera_seen_timestamp_seconds", "lookout_events_total"}


def logged(folder: Path) -> list[dict[str, Any]]:
    """Whole lines of all processes: none is a terminal's, so they are JSON."""
    return lines((folder / "processes.log").read_text().rpartition("\n")[0])


def shown(folder: Path, camera: str) -> set[str]:
    """The metrics of a camera that any process shows; one that has no time just now shows none."""
    found = set()
    for line in logged(folder):
        if port := re.search(r"metrics on http://127.0.0.1:(\d+)/", line["message"]):
            with suppress(OSError, http.client.HTTPException):
                found |= {sample.name for family in text_string_to_metric_families(page(int(port[1])))
                          for sample in family.samples if sample.labels.get("camera") == camera and sample.value > 0}
    return found


def page(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_a_live_camera_is_followed_through_two_processes(
        kafka: str, media: Callable[..., Path], tmp_path: Path, rtsp_server: RtspServer) -> None:
    scene = make_scene(media)
    shutil.copy(scene, rtsp_server.folder)
    with Collector() as collector:
        cluster = Cluster(kafka, tmp_path, model=str(make_bundle(tmp_path / "bundle")), metrics={"port": 0},
                          traces={"endpoint": collector.url})
        try:
            assert cluster.run("topics", "create").returncode == 0
            assert cluster.run("cameras", "add", f"gate={rtsp_server.url(scene.name, loop=True)}").returncode == 0
            for stages in (("capture",), ("perceive", "fuse", "notify", "deliver")):
                cluster.start(stages)
            cluster.wait_for(lambda: shown(tmp_path, "gate") >= WANTED)
            cluster.wait_for(lambda: "notify" in {span.name for span in list(collector.spans)})
            cluster.stop()
        finally:
            cluster.close()
    traces = {name: {span.trace_id for span in collector.spans if span.name == name}
              for name in ("capture", "perceive", "fuse", "notify")}
    assert set() < traces["notify"] <= traces["fuse"] <= traces["perceive"] <= traces["capture"]
    assert any(line.get("stage") == "perceive" or "perceive" in line["message"] for line in logged(tmp_path))
