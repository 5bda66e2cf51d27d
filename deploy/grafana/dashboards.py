"""The four dashboards: the fleet of cameras, one camera, the pipeline, and the alerts.

Queries name recorded series of deploy/prometheus/lookout.rules.yml where there are any.
"""

from __future__ import annotations

from collections.abc import Iterator

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.panels import WIDTH, dashboard, graph, heatmap, stat, timeline

SIGHT = {0: ("not connected", "red"), 1: ("no picture", "orange"), 2: ("seen", "green")}
HEARING = {0: ("not connected", "red"), 1: ("nothing to hear", "orange"), 2: ("heard", "green")}
RATE = "$__rate_interval"
STAGES = ("perceive", "fuse", "health", "notify", "deliver")


def dashboards() -> Iterator[Dashboard]:
    """All of them."""
    yield fleet()
    yield camera()
    yield pipeline()
    yield alerts()


def fleet() -> Dashboard:
    """Is every camera seen and heard?"""
    return dashboard("lookout-fleet", "Lookout: fleet", "Every camera's sight and hearing, at a glance.", [
        stat("cameras", "count(max by (camera) (lookout_camera_connected))"),
        stat("not connected", "count(max by (camera) (lookout_camera_connected) == 0) or vector(0)", bad_from=1,
             span=3),
        stat("not seen", "count(camera:lookout_sight:state == 1) or vector(0)", bad_from=1, span=3),
        stat("not heard", "count(camera:lookout_hearing:state == 1) or vector(0)", span=3,
             about="Connected cameras without a microphone are among them."),
        stat("in a bad state", "count(max by (camera) (lookout_camera_condition) == 1) or vector(0)", bad_from=1,
             span=3,
             about="Frozen, black, covered, defocused, moved, late, by a wrong clock, or without picture or sound."),
        stat("alerts firing", 'count(ALERTS{alertstate="firing"}) or vector(0)', bad_from=1),
        stat("events within the hour", 'sum(increase(lookout_events_total{kind="open"}[1h]))'),
        timeline("sight", {"{{camera}}": "camera:lookout_sight:state"}, SIGHT),
        timeline("hearing", {"{{camera}}": "camera:lookout_hearing:state"}, HEARING),
        graph("lag", "s", {"{{camera}}": "camera:lookout_lag:seconds"},
              about="How long before the newest segment that arrived which was looked at last."),
        graph("nothing came for", "s", {"{{camera}}": "camera:lookout_silence:seconds"}),
        graph("reconnects", "short", {"{{camera}}": f"sum by (camera) (increase(lookout_reconnects_total[{RATE}]))"}),
        graph("pictures", "fps", {
            "{{camera}}": f"sum by (camera) (rate(lookout_frames_received_total[{RATE}]))"}),
        graph("sound level", "dB", {"{{camera}}": "max by (camera) (lookout_audio_level_dbfs)"},
              about="0 is full scale."),
        graph("events opened", "short", {
            "{{camera}}": f'sum by (camera) (increase(lookout_events_total{{kind="open"}}[{RATE}]))'}),
    ])


def camera() -> Dashboard:
    """What is known of one camera."""
    one = 'camera="$camera"'
    return dashboard("lookout-camera", "Lookout: camera", "One camera from its connection to its events.", [
        timeline("sight", {"sight": f"camera:lookout_sight:state{{{one}}}"}, SIGHT, span=WIDTH // 2, height=4),
        timeline("hearing", {"hearing": f"camera:lookout_hearing:state{{{one}}}"}, HEARING, span=WIDTH // 2, height=4),
        graph("pictures", "fps", {
            what: f"sum(rate(lookout_frames_{what}_total{{{one}}}[{RATE}]))"
            for what in ("received", "processed", "sampled")},
            about="Received = processed + skipped, whatever the reason; sampled ones were given to the model."),
        graph("pictures skipped", "fps", {
            "{{reason}}": f"sum by (reason) (rate(lookout_frames_shed_total{{{one}}}[{RATE}]))"}, stacked=True),
        graph("lag", "s", {"lag": f"camera:lookout_lag:seconds{{{one}}}"}),
        graph("sound level", "dB", {"level": f"max(lookout_audio_level_dbfs{{{one}}})"}, about="0 is full scale."),
        graph("sound ahead of picture", "s", {"skew": f"max(lookout_audio_video_skew_seconds{{{one}}})"}),
        graph("wrong with it", "short", {
            "{{condition}}": f"max by (condition) (lookout_camera_condition{{{one}}}) "
                             'or label_replace(vector(0), "condition", "nothing", "", "")'}),
        graph("compressed media", "Bps", {"media": f"sum(rate(lookout_segment_bytes_total{{{one}}}[{RATE}]))"}),
        graph("segments", "short", {"segments a second": f"sum(rate(lookout_segments_total{{{one}}}[{RATE}]))"}),
        graph("trouble with the source", "short", {
            "{{reason}}": f"sum by (reason) (increase(lookout_capture_errors_total{{{one}}}[{RATE}]))",
            "reconnects": f"sum(increase(lookout_reconnects_total{{{one}}}[{RATE}]))",
            "not decoded": f"sum(increase(lookout_decode_errors_total{{{one}}}[{RATE}]))"}),
        graph("lost on the way to the log", "short", {
            "packets, {{reason}}": f"sum by (reason) (increase(lookout_packets_dropped_total{{{one}}}[{RATE}]))",
            "segments, {{reason}}": f"sum by (reason) (increase(lookout_segments_unsent_total{{{one}}}[{RATE}]))"}),
        graph("waiting on disk for the cluster", "bytes", {
            "media": f"sum(lookout_spool_bytes{{{one}}}) or vector(0)"}),
        graph("events opened", "short", {
            "{{label}}": f'sum by (label) (increase(lookout_events_total{{{one}, kind="open"}}[{RATE}]))'}),
        graph("alerts", "short", {
            "{{rule}} {{label}}": f"sum by (rule, label) (increase(lookout_alerts_total{{{one}}}[{RATE}]))"}),
    ], cameras=True)


def pipeline() -> Dashboard:
    """How the stages work."""
    return dashboard("lookout-pipeline", "Lookout: pipeline", "The stages, one after the other.", [
        *(heatmap(f"{stage}: {what}", f'sum by (le) (increase({metric}_bucket{{stage="{stage}"}}[{RATE}]))', span=6)
          for what, metric in (("time for a batch", "lookout_stage_latency_seconds"),
                               ("age of media when done", "lookout_stage_age_seconds")) for stage in STAGES),
        heatmap("media to event", f"sum by (le) (increase(lookout_segment_to_event_seconds_bucket[{RATE}]))", span=12,
                about="From the arrival of the last packet that an event needed until the event is committed."),
        graph("95th percentiles", "s", {
            "{{stage}}: waiting": "stage:lookout_stage_wait_seconds:p95_rate5m",
            "{{stage}}: a batch": "stage:lookout_stage_latency_seconds:p95_rate5m",
            "{{stage}}: committing": "stage:lookout_transaction_seconds:p95_rate5m",
            "media to event": "lookout:segment_to_event_seconds:p95_rate5m"}, span=WIDTH),
        graph("records waiting", "short", {
            "{{stage}}: {{topic}}": "sum by (stage, topic) (lookout_consumer_lag_records)"},
            about="By what the members of each stage's group tell of their partitions."),
        graph("records worked through", "ops", {"{{stage}}": "stage:lookout_records:rate5m"}),
        graph("records in a batch", "short", {
            "{{stage}}": f"sum by (stage) (rate(lookout_stage_batch_size_sum[{RATE}])) / "
                         f"sum by (stage) (rate(lookout_stage_batch_size_count[{RATE}]))"}),
        graph("records not looked at", "ops", {
            "{{stage}} {{reason}}": f"sum by (stage, reason) (rate(lookout_stage_records_shed_total[{RATE}]))"}),
        graph("partitions that came or went", "short", {
            "{{stage}}": f"sum by (stage) (increase(lookout_rebalances_total[{RATE}]))"},
            about="How often a group was shared out anew."),
        graph("begun again", "short", {
            "{{stage}} {{reason}}": f"sum by (stage, reason) (increase(lookout_stage_retries_total[{RATE}]))"},
            about="From what was committed, because the log did not answer or the partition had gone to another."),
        graph("partitions", "short", {"{{stage}}": "sum by (stage) (lookout_partitions_assigned)"}),
        graph("engines at work", "short", {
            "{{graph}}: {{backend}} {{precision}}": "sum by (graph, backend, precision) (lookout_engine_info)"},
            stacked=True, about="Processes by the engine that computes each graph of the model."),
        stat("engines that could not be used", "sum(lookout_engine_fallbacks_total)", bad_from=1, span=4, height=8),
        stat("processes", 'sum(up{job="lookout"})', bad_below=1, span=4, height=8),
        graph("dead letters", "short", {"{{stage}}": "stage:lookout_dead_letters:increase1h"}, span=8,
              about="Within an hour; `lookout deadletters list STAGE` shows them."),
        graph("processor", "percentunit", {"{{instance}}": f'rate(process_cpu_seconds_total{{job="lookout"}}[{RATE}])'},
              about="1 is one core."),
        graph("memory", "bytes", {"{{instance}}": 'process_resident_memory_bytes{job="lookout"}'}),
        graph("open files", "short", {"{{instance}}": 'process_open_fds{job="lookout"}'}),
    ])


def alerts() -> Dashboard:
    """What was told, what was held back, and whether it arrived."""
    ended = f"sum by (endpoint) (increase(lookout_deliveries_total{{result=\"%s\"}}[{RATE}]))"
    return dashboard("lookout-alerts", "Lookout: alerts", "From the event to the receiver.", [
        stat("alerts within the hour", "sum(increase(lookout_alerts_total[1h]))", span=6),
        stat("held back within the hour", "sum(increase(lookout_alerts_suppressed_total[1h]))", span=6),
        stat("waiting", "sum(lookout_deliveries_pending)", bad_from=100, span=6),
        stat("given up within the day", 'sum(increase(lookout_deliveries_total{result="dead"}[1d]))', bad_from=1,
             span=6),
        graph("events opened", "short", {
            "{{label}}": f'sum by (label) (increase(lookout_events_total{{kind="open"}}[{RATE}]))'}, stacked=True),
        graph("alerts", "short", {"{{rule}}": f"sum by (rule) (increase(lookout_alerts_total[{RATE}]))"}, stacked=True),
        graph("told again because they lasted", "short", {
            "{{rule}}": f"sum by (rule) (increase(lookout_alert_escalations_total[{RATE}]))"}),
        graph("held back", "short", {
            "{{rule}} {{reason}}": f"sum by (rule, reason) (increase(lookout_alerts_suppressed_total[{RATE}]))"},
            stacked=True, about="Events that ended without an alert of the rule, by reason."),
        graph("delivered", "short", {"{{endpoint}}": ended % "delivered"}),
        graph("retried", "short", {"{{endpoint}}": ended % "retried"}),
        graph("given up", "short", {"{{endpoint}}": ended % "dead"}),
        graph("share of attempts that failed", "percentunit", {
            "{{endpoint}}": "endpoint:lookout_deliveries_failed:ratio_increase30m"}),
        heatmap("media to delivery", f"sum by (le) (increase(lookout_segment_to_delivery_seconds_bucket[{RATE}]))"),
        heatmap("time for an answer", f"sum by (le) (increase(lookout_delivery_duration_seconds_bucket[{RATE}]))"),
        graph("media to delivery, 95th percentile", "s", {
            "{{endpoint}}": "endpoint:lookout_segment_to_delivery_seconds:p95_rate5m"}),
        graph("deliveries waiting", "short", {"{{instance}}": "lookout_deliveries_pending"}),
    ])
