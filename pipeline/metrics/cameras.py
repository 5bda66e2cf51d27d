"""The metrics of cameras: who is connected, seen and heard, and what became of the pictures.

A camera's pictures add up: received = processed + the sum of shed over all reasons. A picture that
was decoded counts as processed even where no step of the model fell on it.

Whether a camera is seen and heard is told by when it last was: a moment stays right when the process that
knew it dies or hands the camera to another, and whoever reads it compares it with now.
"""

from __future__ import annotations

from collections.abc import Mapping

from operators.capture.camera import CameraStatus
from operators.clock import ns_to_seconds
from operators.records import HEALTH_LABELS, Embedding, Event, Segment
from pipeline.metrics.series import Series

# Reasons that show as 0 before the first time, so that it is an increase and not a new series.
OVERLOADED = ("overload", "sampling")  # pictures the decoder did not have the time to look at
DROPPED = ("before_keyframe", "late", "malformed", "oversized")  # packets the segmenter could not use
UNSENT = ("spool_error", "spool_full", "too_large")  # segments that live capture gave up
_CONDITIONS = {label: condition for condition, label in HEALTH_LABELS.items()}


class CameraMetrics:
    """Declares and sets them."""

    def __init__(self, series: Series) -> None:
        self._counted: dict[str, CameraStatus] = {}  # as it was at the last look
        self._declare_capture(series)
        self._declare_media(series)
        self._declare_senses(series)

    def _declare_capture(self, series: Series) -> None:
        self._connected = series.gauge("lookout_camera_connected", "1 while packets come from the camera", "camera")
        self._captured = series.gauge(
            "lookout_camera_captured_timestamp_seconds",
            "when the newest segment had arrived; before the first, when capture began", "camera")
        self._reconnects = series.counter(
            "lookout_reconnects_total", "connections made after the camera's first", "camera")
        self._errors = series.counter(
            "lookout_capture_errors_total", "what went wrong with the source, by kind", "camera", "reason")
        self._dropped = series.counter(
            "lookout_packets_dropped_total", "packets that are in no segment", "camera", "reason")
        self._segments = series.counter("lookout_segments_total", "segments captured", "camera")
        self._bytes = series.counter("lookout_segment_bytes_total", "compressed media captured", "camera")
        self._spool = series.gauge(
            "lookout_spool_bytes", "media of a live camera that waits on disk for the cluster", "camera")
        self._unsent = series.counter(
            "lookout_segments_unsent_total", "segments given up before they came into the log", "camera", "reason")

    def _declare_media(self, series: Series) -> None:
        self._received = series.counter(
            "lookout_frames_received_total", "pictures in the segments that were looked at", "camera")
        self._processed = series.counter("lookout_frames_processed_total", "pictures decoded", "camera")
        self._sampled = series.counter("lookout_frames_sampled_total", "pictures given to the model", "camera")
        self._shed = series.counter(
            "lookout_frames_shed_total", "pictures not decoded, because of overload or damage", "camera", "reason")
        self._decode_errors = series.counter(
            "lookout_decode_errors_total", "packets and segments that did not decode", "camera")

    def _declare_senses(self, series: Series) -> None:
        arrival = "arrival of the newest segment that was "
        self._perceived = series.gauge(
            "lookout_camera_perceived_timestamp_seconds", f"{arrival}worked through", "camera")
        self._seen = series.gauge(
            "lookout_camera_seen_timestamp_seconds", f"{arrival}seen: a picture decoded", "camera")
        self._heard = series.gauge(
            "lookout_camera_heard_timestamp_seconds", f"{arrival}heard: sound above digital silence", "camera")
        self._level = series.gauge(
            "lookout_audio_level_dbfs", "sound level, 0 is full scale; absent while there is no sound", "camera")
        self._skew = series.gauge(
            "lookout_audio_video_skew_seconds", "how far sound is ahead of picture; absent unless both are there",
            "camera")
        self._condition = series.gauge(
            "lookout_camera_condition", "1 while this is wrong with the camera; told within a minute after a restart",
            "camera", "condition")
        self._conditions = series.counter(
            "lookout_camera_conditions_total", "times that this was found wrong with the camera", "camera", "condition")
        self._by_perceiving = (self._perceived, self._seen, self._heard, self._level, self._skew)

    def on_statuses(self, statuses: Mapping[str, CameraStatus], now_ns: int) -> None:
        """Every camera captured here, as it is now; those that ended, or are no longer among them, are forgotten."""
        present = {name: status for name, status in statuses.items() if status.state != "ended"}
        for name, status in statuses.items():
            self._count(name, status)
        for name in self._counted.keys() - present.keys():
            del self._counted[name]
            self._connected.remove(name)
            self._captured.remove(name)
            self._spool.remove(name)
        for name, status in present.items():
            self._connected.labels(name).set(status.state == "connected")
            if name not in self._counted:
                self._captured.labels(name).set(ns_to_seconds(now_ns))
            self._counted[name] = status

    def _count(self, name: str, status: CameraStatus) -> None:
        """Count what the camera has counted since the last look; a camera begun anew has begun at nothing."""
        before = self._counted.get(name)
        if before is None or before.packets > status.packets:
            before = CameraStatus()
        for family, reasons in ((self._dropped, DROPPED), (self._unsent, UNSENT)):
            for reason in reasons:
                family.labels(name, reason)
        self._reconnects.labels(name).inc(max(0, status.reconnects - before.reconnects))
        for family, now, then in ((self._errors, status.errors, before.errors),
                                  (self._dropped, status.dropped, before.dropped)):
            for reason, count in now.items():
                family.labels(name, reason).inc(max(0, count - then.get(reason, 0)))

    def on_segment(self, segment: Segment) -> None:
        """A segment is in the log."""
        self._segments.labels(segment.camera).inc()
        self._bytes.labels(segment.camera).inc(len(segment.media))
        self._captured.labels(segment.camera).set(ns_to_seconds(segment.received_ns))

    def on_spool(self, camera: str, size_bytes: int) -> None:
        """So much of the camera's media waits on disk for the log."""
        self._spool.labels(camera).set(size_bytes)

    def on_unsent(self, camera: str, reason: str, segments: int) -> None:
        """So many of the camera's segments were given up before they came into the log."""
        self._unsent.labels(camera, reason).inc(segments)

    def on_event(self, event: Event) -> bool:
        """If the event is of a camera's health: it began, lasts, or is over. Says whether it is."""
        condition = _CONDITIONS.get(event.label)
        if condition is None:
            return False
        self._condition.labels(event.camera, condition).set(event.kind != "close")
        self._conditions.labels(event.camera, condition).inc(event.kind == "open")
        return True

    def forget_conditions(self) -> None:
        """Others may tell of the cameras from now on; of those that are ours, the next update does."""
        self._condition.clear()

    def on_embedding(self, embedding: Embedding) -> None:
        """A segment was looked at and listened to."""
        camera, health = embedding.camera, embedding.health
        processed = health.frames - sum(health.shed.values())
        self._received.labels(camera).inc(health.frames)
        self._processed.labels(camera).inc(processed)
        self._sampled.labels(camera).inc(health.sampled)
        self._decode_errors.labels(camera).inc(health.decode_errors)
        for reason in OVERLOADED:
            self._shed.labels(camera, reason)
        for reason, frames in health.shed.items():
            self._shed.labels(camera, reason).inc(frames)
        if embedding.final and not embedding.live:
            for gauge in self._by_perceiving:
                gauge.remove(camera)
            return
        arrived_s = ns_to_seconds(embedding.received_ns)
        for gauge, perceived in ((self._perceived, True), (self._seen, processed > 0), (self._heard, health.heard)):
            if perceived:
                gauge.labels(camera).set(arrived_s)
        skew_s = None if health.skew_ns is None else ns_to_seconds(health.skew_ns)
        for gauge, value in ((self._level, health.level_dbfs), (self._skew, skew_s)):
            if value is None:
                gauge.remove(camera)
            else:
                gauge.labels(camera).set(value)
