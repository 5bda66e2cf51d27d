"""The metrics add up, are named as Prometheus wants them, and hold no more than they say."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from operators.capture.camera import CameraStatus
from operators.clock import NS_PER_S, ManualClock
from operators.notify.outbox import Delivery
from operators.records import SILENT_DBFS, Embedding, Health, Segment, Suppressed
from pipeline.metrics import series
from pipeline.metrics.evidence import Making
from pipeline.metrics.metrics import Metrics
from pipeline.metrics.stages import DEAD_REASONS, UNEXPECTED
from pipeline.watcher import Account
from tests.operators.notify.events import T0, an_alert, an_event


def an_embedding(camera: str = "lobby", **fields: Any) -> Embedding:
    return Embedding(camera=camera, session="s1", sequence=0, start_ns=T0, duration_ns=NS_PER_S, steps=0,
                     step_ns_raw=b"", visual_raw=b"", visual_valid_raw=b"", acoustic_raw=b"", acoustic_valid_raw=b"",
                     **{"health": Health(), "received_ns": T0, **fields})


def a_segment() -> Segment:
    return Segment(camera="lobby", session="s1", sequence=0, start_ns=T0, duration_ns=NS_PER_S, video=None, audio=None,
                   media=b"x" * 1000)


def samples(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    """(name, label values in the order of their names) -> value, parsed from the exposition."""
    text = metrics.exposition()[0].decode()
    return {(sample.name, tuple(sample.labels[name] for name in sorted(sample.labels))): sample.value
            for family in parse_text(text) for sample in family.samples}


def used(clock: ManualClock | None = None) -> Metrics:
    """Metrics in which everything has happened."""
    metrics = Metrics(clock or ManualClock(T0 + NS_PER_S))
    metrics.on_cameras({"lobby": CameraStatus(state="connected", reconnects=1, packets=9, errors={"timeout": 2},
                                              dropped={"late": 3})})
    metrics.expect(stages=["fuse"], endpoints=["guard"])
    metrics.on_engine("fusion", "openvino", "bf16")
    for record in (a_segment(), an_event(), an_event(label="camera_black"), an_alert(),
                   msgspec.structs.replace(an_alert(), escalated=True),
                   Suppressed(rule="default", reason="cooldown", event=an_event("close")),
                   an_embedding(health=Health(frames=25, sampled=4, decode_errors=2, level_dbfs=-30.5,
                                              shed={"sampling": 5, "overload": 3}, skew_ns=40_000_000))):
        metrics.on_output("stage", record)
    metrics.on_making(Making(made=("clip",), failed={"why": "no_media"}, took_s=1.0))
    metrics.on_evidence(1, 1000)
    metrics.on_batch("fuse", 3, 0.02)
    metrics.on_account("fuse", Account(processed=5, shed={"overload": 2}, dead=1, waited_s=0.25, age_s=1.5))
    metrics.on_transaction("fuse", 0.125)
    metrics.on_retry("fuse", "Fenced")
    metrics.on_assigned("fuse", {0, 3})
    metrics.on_lag("fuse", "embeddings", {0: 5, 3: 2})
    metrics.on_dead("fuse", "CodecError")
    metrics.on_spool("lobby", 1000)
    metrics.on_unsent("lobby", "spool_full", 2)
    metrics.on_fallback("openvino")
    metrics.on_delivery(Delivery(sink="guard", alert=an_alert(), result="delivered", ended_ns=T0 + 2 * NS_PER_S,
                                 took_ns=NS_PER_S // 2))
    metrics.on_pending(3)
    return metrics


def test_a_cameras_pictures_add_up() -> None:
    metrics = Metrics()
    for health in (Health(frames=25, sampled=4, shed={"sampling": 5, "overload": 3}),
                   Health(frames=10, sampled=2, shed={"sampling": 1})):
        metrics.on_output("perceive", an_embedding(health=health))
    found = samples(metrics)
    shed = {key[1][1]: value for key, value in found.items() if key[0] == "lookout_frames_shed_total"}
    assert shed == {"sampling": 6, "overload": 3}
    assert found["lookout_frames_received_total", ("lobby",)] == 35
    assert found["lookout_frames_processed_total", ("lobby",)] == 35 - sum(shed.values())
    assert found["lookout_frames_sampled_total", ("lobby",)] == 6


def test_everything_reported_is_counted() -> None:
    found = samples(used())
    expected: dict[tuple[str, tuple[str, ...]], float] = {
        ("lookout_camera_connected", ("lobby",)): 1,
        ("lookout_reconnects_total", ("lobby",)): 1,
        ("lookout_segments_total", ("lobby",)): 1,
        ("lookout_spool_bytes", ("lobby",)): 1000,
        ("lookout_segments_unsent_total", ("lobby", "spool_full")): 2,
        ("lookout_segment_bytes_total", ("lobby",)): 1000,
        ("lookout_capture_errors_total", ("lobby", "timeout")): 2,
        ("lookout_packets_dropped_total", ("lobby", "late")): 3,
        ("lookout_decode_errors_total", ("lobby",)): 2,
        ("lookout_audio_level_dbfs", ("lobby",)): -30.5,
        ("lookout_audio_video_skew_seconds", ("lobby",)): 0.04,
        ("lookout_camera_condition", ("lobby", "black")): 1,
        ("lookout_camera_conditions_total", ("lobby", "black")): 1,
        ("lookout_stage_latency_seconds_sum", ("fuse",)): 0.02,
        ("lookout_stage_batch_size_sum", ("fuse",)): 3,
        ("lookout_stage_records_received_total", ("fuse",)): 8,
        ("lookout_stage_records_processed_total", ("fuse",)): 5,
        ("lookout_stage_records_shed_total", ("overload", "fuse")): 2,
        ("lookout_stage_records_dead_total", ("fuse",)): 1,
        ("lookout_stage_wait_seconds_sum", ("fuse",)): 0.25,
        ("lookout_stage_age_seconds_sum", ("fuse",)): 1.5,
        ("lookout_transaction_seconds_sum", ("fuse",)): 0.125,
        ("lookout_stage_retries_total", ("Fenced", "fuse")): 1,
        ("lookout_partitions_assigned", ("fuse",)): 2,
        ("lookout_rebalances_total", ("fuse",)): 1,
        ("lookout_stage_lag_records", ("fuse",)): 7,
        ("lookout_consumer_lag_records", ("3", "fuse", "embeddings")): 2,
        ("lookout_dead_letters_total", ("CodecError", "fuse")): 1,
        ("lookout_engine_info", ("openvino", "fusion", "bf16")): 1,
        ("lookout_engine_fallbacks_total", ("openvino",)): 1,
        ("lookout_events_total", ("lobby", "open", "siren")): 1,
        ("lookout_segment_to_event_seconds_sum", ()): 1.0,
        ("lookout_alerts_total", ("lobby", "siren", "default")): 1,
        ("lookout_alerts_suppressed_total", ("cooldown", "default")): 1,
        ("lookout_alert_escalations_total", ("default",)): 1,
        ("lookout_deliveries_total", ("guard", "delivered")): 1,
        ("lookout_delivery_duration_seconds_sum", ("guard",)): 0.5,
        ("lookout_segment_to_delivery_seconds_sum", ("guard",)): 2.0,
        ("lookout_deliveries_pending", ()): 3,
    }
    assert {key: found.get(key) for key in expected} == expected


def test_the_lag_of_a_partition_goes_with_it() -> None:
    metrics = Metrics()
    metrics.on_lag("fuse", "embeddings", {0: 5, 3: 2})
    metrics.on_lag("fuse", "embeddings", {3: 1})
    found = samples(metrics)
    assert ("lookout_consumer_lag_records", ("0", "fuse", "embeddings")) not in found
    assert found["lookout_consumer_lag_records", ("3", "fuse", "embeddings")] == 1
    assert found["lookout_stage_lag_records", ("fuse",)] == 1


def test_a_camera_that_never_failed_shows_zero_reconnects() -> None:
    metrics = Metrics()
    for state in ("connected", "waiting"):
        metrics.on_cameras({"lobby": CameraStatus(state=state)})
    found = samples(metrics)
    assert found["lookout_camera_connected", ("lobby",)] == 0
    assert found["lookout_reconnects_total", ("lobby",)] == 0


def test_what_a_camera_counts_is_counted_once_and_also_when_it_begins_anew() -> None:
    metrics = Metrics()
    looks = (CameraStatus(packets=10, reconnects=1, errors={"timeout": 1}),
             CameraStatus(packets=20, reconnects=2, errors={"timeout": 1, "read": 1}),
             CameraStatus(packets=5, reconnects=1, errors={"timeout": 1}))  # another object for the same camera
    for status in looks:
        metrics.on_cameras({"lobby": status})
    found = samples(metrics)
    assert found["lookout_reconnects_total", ("lobby",)] == 3
    assert found["lookout_capture_errors_total", ("lobby", "timeout")] == 2
    assert found["lookout_capture_errors_total", ("lobby", "read")] == 1


def test_a_camera_that_never_gave_a_segment_is_silent_since_capture_began() -> None:
    clock = ManualClock(T0)
    metrics = Metrics(clock)
    for _ in range(3):
        metrics.on_cameras({"lobby": CameraStatus()})
        clock.sleep(60)
    assert samples(metrics)["lookout_camera_captured_timestamp_seconds", ("lobby",)] == T0 / NS_PER_S


@pytest.mark.parametrize("now", [{}, {"lobby": CameraStatus(state="ended")}], ids=["moved away", "ended"])
def test_a_camera_that_is_not_captured_here_any_more_is_forgotten(now: dict[str, CameraStatus]) -> None:
    metrics = Metrics()
    metrics.on_cameras({"lobby": CameraStatus(state="connected")})
    metrics.on_output("capture", a_segment())
    metrics.on_spool("lobby", 1000)
    metrics.on_cameras(now)
    gauges = {"lookout_camera_connected", "lookout_camera_captured_timestamp_seconds", "lookout_spool_bytes"}
    assert not gauges & {name for name, _ in samples(metrics)}


def test_seen_and_heard_say_when_it_last_was() -> None:
    metrics = Metrics()
    arrivals = [T0 + i * NS_PER_S for i in range(4)]
    healths: list[dict[str, Any]] = [
        {"frames": 25, "level_dbfs": -30.0},
        {"frames": 25, "level_dbfs": SILENT_DBFS},  # connected, and nothing to hear
        {"frames": 25, "shed": {"overload": 25}},  # nothing decoded, no sound
        {}]
    expected = [(0, 0), (1, 0), (1, 0), (1, 0)]
    for arrived_ns, health, (seen, heard) in zip(arrivals, healths, expected, strict=True):
        metrics.on_output("perceive", an_embedding(received_ns=arrived_ns, health=Health(**health)))
        found = samples(metrics)
        assert found["lookout_camera_perceived_timestamp_seconds", ("lobby",)] == arrived_ns / NS_PER_S
        assert found["lookout_camera_seen_timestamp_seconds", ("lobby",)] == arrivals[seen] / NS_PER_S
        assert found["lookout_camera_heard_timestamp_seconds", ("lobby",)] == arrivals[heard] / NS_PER_S


def test_a_file_that_was_worked_through_is_neither_blind_nor_deaf() -> None:
    metrics = Metrics()
    last: dict[str, Any] = {"media_start_ns": NS_PER_S, "health": Health(frames=25, level_dbfs=-30.0)}
    metrics.on_output("perceive", an_embedding(**last))
    assert [name for name, labels in samples(metrics) if labels and "timestamp" in name]
    metrics.on_output("perceive", an_embedding(**last, final=True))
    assert not [name for name, labels in samples(metrics) if labels and ("timestamp" in name or "audio" in name)]


def test_the_first_dead_letter_is_an_increase_and_errors_nobody_foresaw_share_a_reason() -> None:
    metrics = Metrics()
    metrics.expect(stages=["fuse"], endpoints=["guard"])
    found = samples(metrics)
    assert {found["lookout_dead_letters_total", (reason, "fuse")] for reason in DEAD_REASONS} == {0}
    assert {found["lookout_deliveries_total", ("guard", result)] for result in ("delivered", "retried", "dead")} == {0}
    for reason in ("CodecError", "ValueError", "KeyError"):
        metrics.on_dead("fuse", reason)
    found = samples(metrics)
    assert found["lookout_dead_letters_total", ("CodecError", "fuse")] == 1
    assert found["lookout_dead_letters_total", (UNEXPECTED, "fuse")] == 2


def test_no_stream_of_names_grows_a_family_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "MAX_LABEL_SETS", 10)
    metrics = Metrics()
    for i in range(1000):
        metrics.on_output("perceive", an_embedding(f"camera{i}", health=Health(frames=1, shed={f"reason{i}": 1})))
        metrics.on_output("fuse", an_event(camera=f"camera{i}", label=f"label{i}"))
        metrics.on_cameras({f"camera{i}": CameraStatus(state="connected", errors={f"kind{i}": 1})})
        metrics.on_dead("fuse", f"error{i}")
    found = samples(metrics)
    counted = {name: [value for (of, _), value in found.items() if of == name] for name, _ in found}
    assert max(len(values) for name, values in counted.items() if not name.endswith("_bucket")) == 11
    for name in ("lookout_frames_received_total", "lookout_frames_shed_total", "lookout_events_total"):
        assert sum(counted[name]) == 1000
    assert found["lookout_frames_shed_total", (series.OTHER, series.OTHER)] == 997  # the first cameras have zeros too


def test_sound_that_ends_takes_its_gauges_along() -> None:
    metrics = Metrics()
    metrics.on_output("perceive", an_embedding(health=Health(level_dbfs=-20.0, skew_ns=1_000_000)))
    metrics.on_output("perceive", an_embedding())
    metrics.on_output("perceive", an_embedding("gate"))
    names = {name for name, labels in samples(metrics) if labels}
    assert not names & {"lookout_audio_level_dbfs", "lookout_audio_video_skew_seconds"}


def test_a_failed_delivery_says_nothing_of_the_journey() -> None:
    metrics = Metrics()
    metrics.on_delivery(Delivery(sink="guard", alert=an_alert(), result="retried", ended_ns=T0, took_ns=1))
    found = samples(metrics)
    assert found["lookout_deliveries_total", ("guard", "retried")] == 1
    assert not [name for name, _ in found if name.startswith("lookout_segment_to_delivery_seconds_count")]


@pytest.mark.parametrize(("received_ns", "count", "total_s"), [(0, 0, 0.0), (T0 + 9 * NS_PER_S, 1, 0.0), (T0, 1, 1.0)])
def test_a_journey_needs_a_beginning_and_never_takes_less_than_nothing(
        received_ns: int, count: int, total_s: float) -> None:
    metrics = Metrics(ManualClock(T0 + NS_PER_S))
    metrics.on_output("fuse", an_event(received_ns=received_ns))
    found = samples(metrics)
    assert found["lookout_segment_to_event_seconds_count", ()] == count
    assert found["lookout_segment_to_event_seconds_sum", ()] == total_s


def test_the_table_says_exactly_what_is_exposed() -> None:
    metrics = used()
    families = {family.name: family for family in parse_openmetrics(  # type: ignore[no-untyped-call]
        metrics.exposition("application/openmetrics-text; version=1.0.0")[0].decode())}
    for row in metrics.table():
        family = families.pop(row.name.removesuffix("_total"))
        assert (family.type, family.documentation) == (row.type, row.help)
        assert family.samples, f"{row.name} was never set"
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(row.labels)
    assert all(name.startswith("process_") for name in families)


def test_names_carry_their_unit() -> None:
    units = ("_seconds", "_bytes", "_total", "_dbfs", "_records", "_size", "_info", "_connected", "_pending",
             "_condition", "_assigned")
    for row in Metrics().table():
        assert row.name.startswith("lookout_")
        assert row.name.endswith(units)
        assert row.name.endswith("_total") is (row.type == "counter")


def test_two_instances_share_nothing() -> None:
    used()
    assert ("lookout_segments_total", ("lobby",)) not in samples(Metrics())


def test_the_format_follows_what_the_scraper_accepts() -> None:
    metrics = Metrics()
    assert metrics.exposition()[1].startswith("text/plain; version=0.0.4")
    assert metrics.exposition("application/openmetrics-text; version=1.0.0")[1].startswith("application/openmetrics")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool: it comes with Debian's package prometheus")
def test_promtool_finds_nothing_to_improve(tmp_path: Path) -> None:
    scrape = tmp_path / "scrape.txt"
    scrape.write_bytes(used().exposition()[0])
    with scrape.open("rb") as given:
        run = subprocess.run(["promtool", "check", "metrics"], stdin=given, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
