"""The stage `evidence` on a real Kafka broker, and what a cluster wants to be told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from operators.errors import SettingsError
from operators.evidence.settings import EvidenceSettings, ServeSettings
from pipeline.background import in_background
from pipeline.cluster.run_stages import run_stages
from pipeline.evidence.begin import links_of
from pipeline.settings import LogSettings, LookoutSettings
from pipeline.topics.kafka_log import KafkaLog
from pipeline.topics.kafka_settings import KafkaSettings
from pipeline.topology import topics
from tests.operators.decode.segments import segments_of
from tests.pipeline.evidence.records import an_alert_of, append, embeddings, events, fitted
from tests.tiny_bundle import make_bundle
from tests.waiting import until

WITHIN_S = 120.0


def test_the_stage_makes_evidence_of_alerts_on_a_cluster(kafka: str, media: Callable[..., Path],
                                                         tmp_path: Path) -> None:
    bundle, cluster = make_bundle(tmp_path / "bundle"), KafkaSettings(servers=(kafka,), prefix=f"ev-{uuid4().hex}.")
    settings = LookoutSettings(kafka=cluster, model=str(bundle), log=LogSettings(partitions=2),
                               evidence=EvidenceSettings(url=str(tmp_path / "kept")))
    log, stop = KafkaLog(cluster), threading.Event()
    log.ensure(topics(settings.log))
    segments = fitted(segments_of(media("story.mp4", seconds=24.0, audio_codec="aac")), embeddings())
    told = events(bundle, embeddings())
    append(log, *segments, *embeddings(), *told, an_alert_of(told[0]))

    def work() -> None:
        run_stages(["evidence"], settings, tmp_path, stop)

    thread, result = in_background("cluster", work)
    folder = tmp_path / "kept" / told[0].id
    try:
        until((folder / "evidence.json").exists, WITHIN_S, lambda: result.exception(0) if result.done() else folder)
    finally:
        stop.set()
        thread.join(WITHIN_S)
        log.close()
    assert sorted(file.name for file in folder.iterdir()) == ["clip.mp4", "evidence.json", "snapshot.jpg", "why.png"]


def test_the_stage_wants_to_know_where_evidence_goes(kafka: str, tmp_path: Path) -> None:
    settings = LookoutSettings(kafka=KafkaSettings(servers=(kafka,), prefix=f"ev-{uuid4().hex}."))
    with pytest.raises(SettingsError, match="^evidence: it is not said where evidence is to be kept$"):
        run_stages(["evidence"], settings, tmp_path)


def test_processes_of_a_cluster_cannot_each_make_a_secret_of_their_own() -> None:
    settings = LookoutSettings(evidence=EvidenceSettings(url="kept", serve=ServeSettings(port=9001)))
    with pytest.raises(SettingsError, match="name it by secret_env or secret_file"):
        links_of(settings, None)
