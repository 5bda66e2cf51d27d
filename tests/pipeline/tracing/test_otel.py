"""Spans find their parents through the records' headers, whatever the stages do with the records in between."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from operators.clock import NS_PER_S, ManualClock
from operators.errors import LogUnavailable, SettingsError
from operators.notify.outbox import Delivery
from operators.records import Alert, Event, Segment
from pipeline import codec, logs
from pipeline.topics.base import Message
from pipeline.tracing import otel
from pipeline.tracing.base import TracesSettings, Tracing
from pipeline.tracing.begin import begin_tracing
from pipeline.tracing.otel import OtelTracing
from tests.operators.notify.events import T0, an_alert, an_event
from tests.rtsp import free_port

Headers = Mapping[str, bytes]


class Traced:
    """Tracing whose spans can be looked at."""

    def __init__(self, ratio: float = 1.0) -> None:
        self.clock = ManualClock(T0 + NS_PER_S)
        self._exporter = InMemorySpanExporter()
        self.tracing = OtelTracing(TracesSettings(ratio=ratio), self.clock, self._exporter)

    def spans(self) -> Sequence[ReadableSpan]:
        self.tracing.close()
        return self._exporter.get_finished_spans()


@pytest.fixture
def traced() -> Traced:
    return Traced()


def a_segment(sequence: int = 0) -> Segment:
    return Segment(camera="lobby", session="s1", sequence=sequence, start_ns=T0, duration_ns=NS_PER_S, video=None,
                   audio=None, received_ns=T0 + sequence)


def message(headers: Headers, offset: int = 0, camera: str = "lobby") -> Message:
    """As the codec and tracing together would have it."""
    return Message("topic", 0, offset, camera, b"", {codec.RECEIVED_HEADER: b"%d" % (T0 + offset), **headers})


def passed_on(tracing: Tracing, stage: str, headers: Headers, output: Event | Alert | Segment) -> Headers:
    """The headers of what the stage makes of a message."""
    with tracing.batch(stage, [message(headers)]) as batch:
        return batch.headers(output)


def names(spans: Sequence[ReadableSpan], of: ReadableSpan) -> list[str]:
    """The way to a span, from its trace's root."""
    by_id = {span.context.span_id: span for span in spans if span.context}
    parent = by_id.get(of.parent.span_id) if of.parent else None
    return [*(names(spans, parent) if parent else []), of.name]


def test_an_event_that_comes_by_silence_belongs_to_the_last_media_before_it(traced: Traced) -> None:
    tracing = traced.tracing
    with tracing.capture(a_segment()) as headers, tracing.batch("fuse", [message(headers)]):
        pass
    with tracing.batch("fuse", []) as later:
        headers = later.headers(an_event("close", received_ns=T0))
    passed_on(tracing, "notify", headers, an_event())
    spans = traced.spans()
    assert names(spans, spans[-1]) == ["capture", "fuse", "notify"]


def test_each_output_of_a_batch_goes_with_the_message_it_was_made_of(traced: Traced) -> None:
    tracing = traced.tracing
    segments = [a_segment(sequence) for sequence in range(3)]
    messages = []
    for segment in segments:
        with tracing.capture(segment) as headers:
            messages.append(message(headers, segment.sequence))
    with tracing.batch("perceive", messages) as batch:
        made = [batch.headers(segment) for segment in reversed(segments)]
    traces = [headers["traceparent"].split(b"-")[1] for headers in made]
    assert traces == [message.headers["traceparent"].split(b"-")[1] for message in reversed(messages)]
    assert len(set(traces)) == 3


def test_a_failed_commit_is_an_error_and_the_next_try_another_span(traced: Traced) -> None:
    with traced.tracing.capture(a_segment()) as headers:
        pass
    with pytest.raises(LogUnavailable), traced.tracing.batch("fuse", [message(headers)]):
        raise LogUnavailable
    passed_on(traced.tracing, "fuse", headers, an_event())
    _, first, second = traced.spans()
    assert (first.status.status_code, first.status.description) == (StatusCode.ERROR, "LogUnavailable")
    assert second.status.status_code is StatusCode.UNSET


def test_every_attempt_to_deliver_is_told(traced: Traced) -> None:
    alert = an_alert()
    alert = Alert(id=alert.id, rule=alert.rule, created_ns=T0, event=an_event(received_ns=T0))
    with traced.tracing.capture(a_segment()) as headers:
        pass
    headers = passed_on(traced.tracing, "notify", headers, alert)
    passed_on(traced.tracing, "deliver", headers, alert)
    for result, ended_s in (("retried", 2), ("delivered", 9)):
        traced.tracing.on_delivery(Delivery(sink="guard", alert=alert, result=result,  # type: ignore[arg-type]
                                            ended_ns=T0 + ended_s * NS_PER_S, took_ns=NS_PER_S))
    spans = traced.spans()
    failed, done = [span for span in spans if span.name == "delivery"]
    assert names(spans, failed) == names(spans, done) == ["capture", "notify", "deliver", "delivery"]
    assert failed.status.status_code is StatusCode.ERROR
    assert done.status.status_code is StatusCode.UNSET
    assert (done.start_time, done.end_time) == (T0 + 8 * NS_PER_S, T0 + 9 * NS_PER_S)
    assert done.attributes
    assert done.attributes["lookout.result"] == "delivered"


@pytest.mark.parametrize("headers", [
    {}, {"traceparent": b"\xff"}, {"traceparent": b"00-zz-zz-01", codec.RECEIVED_HEADER: b"x"}])
def test_a_record_that_was_not_followed_so_far_begins_a_trace(traced: Traced, headers: Headers) -> None:
    passed_on(traced.tracing, "fuse", headers, an_event())
    (span,) = traced.spans()
    assert span.parent is None


def test_a_share_is_followed_whole_and_the_rest_not_at_all() -> None:
    traced = Traced(ratio=0.25)
    for sequence in range(400):
        with traced.tracing.capture(a_segment(sequence)) as headers:
            pass
        passed_on(traced.tracing, "perceive", headers, a_segment(sequence))
    spans = traced.spans()
    captured = {span.context.trace_id for span in spans if span.name == "capture" and span.context}
    assert 50 < len(captured) < 150
    assert {span.context.trace_id for span in spans if span.name == "perceive" and span.context} == captured


def test_spans_are_remembered_within_bounds(traced: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otel, "REMEMBERED", 10)
    for sequence in range(100):
        with traced.tracing.capture(a_segment(sequence)):
            pass
    assert len(traced.tracing._recent) == 10


def test_a_log_line_names_segment_and_trace(traced: Traced) -> None:
    with traced.tracing.capture(a_segment(7)) as headers:
        said = dict(logs._about.get())
    assert said["segment"] == "s1/7"
    assert headers["traceparent"].decode().startswith(f"00-{said['trace_id']}-{said['span_id']}-")
    with traced.tracing.batch("fuse", [received := message(headers)]) as batch:
        assert batch.about(received)["trace_id"] == said["trace_id"]
    assert logs._about.get() == {}


def test_off_nothing_is_written_into_headers() -> None:
    tracing = begin_tracing(TracesSettings(), ManualClock())
    with tracing.capture(a_segment()) as headers:
        assert headers == {}
        assert logs._about.get() == {"segment": "s1/0"}
    assert passed_on(tracing, "fuse", {}, an_event()) == {}


def test_without_the_extra_the_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    really = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "pipeline.tracing.otel":
            message = "No module named 'opentelemetry'"
            raise ModuleNotFoundError(message, name="opentelemetry")
        return really(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SettingsError, match=r"^traces.endpoint: pip install 'lookout\[traces\]'"):
        begin_tracing(TracesSettings(endpoint="http://127.0.0.1:4318/v1/traces"), ManualClock())


def test_a_collector_that_is_away_is_named_in_the_log_and_waited_for_no_longer_than_said(
        caplog: pytest.LogCaptureFixture) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}/v1/traces"
    tracing = OtelTracing(TracesSettings(endpoint=endpoint), ManualClock(T0))
    with tracing.capture(a_segment()):
        pass
    tracing.close()
    assert any(record.name.startswith("opentelemetry") and "/v1/traces" in record.message for record in caplog.records)
