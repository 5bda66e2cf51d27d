"""`lookout watch` posts spans by OTLP: every segment through every stage, and every alert back to its segment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.end_to_end.lookout import lines, make_scene, run
from tests.operators.notify.receiver import Receiver
from tests.pipeline.tracing.collector import Collector, said
from tests.tiny_bundle import make_bundle


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


def test_every_segment_is_followed_to_its_alert(media: Callable[..., Path], tmp_path: Path,
                                                collector: Collector) -> None:
    config = tmp_path / "lookout.yml"
    with Receiver() as receiver:
        config.write_text(yaml.safe_dump({
            "cameras": [{"source": f"hall={make_scene(media, 10.0)}"}], "traces": {"endpoint": collector.url},
            "model": str(make_bundle(tmp_path / "bundle")),
            "webhooks": [{"name": "guard", "url": receiver.url, "allow": ["127.0.0.1"]}]}))
        done = run("watch", "--config", config, "--data", tmp_path / "data", "--log-format", "json")
        assert done.returncode == 0, done.stderr
        delivered = set(receiver.ids)
    assert all("message" in line for line in lines(done.stderr))
    spans = {span.span_id: span for span in collector.spans}
    count = Counter(span.name for span in spans.values())
    assert count["capture"] == count["perceive"] == count["fuse"] >= 10  # a segment a second
    roots = [span for span in spans.values() if not span.parent_span_id]
    assert {span.name for span in roots} == {"capture"}
    assert len({span.trace_id for span in roots}) == count["capture"] == len({s.trace_id for s in spans.values()})

    def way(span: Span) -> list[str]:
        parent = spans.get(span.parent_span_id)
        if parent:
            assert parent.trace_id == span.trace_id
            assert parent.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        return [*(way(parent) if parent else []), span.name]

    deliveries = [span for span in spans.values() if span.name == "delivery"]
    assert {said(span)["lookout.alert"] for span in deliveries} == delivered
    assert len(deliveries) == len(delivered) > 0
    for span in deliveries:
        assert way(span) == ["capture", "perceive", "fuse", "notify", "deliver", "delivery"]
        assert said(span)["lookout.endpoint"] == "guard"
    assert {said(span)["lookout.camera"] for span in spans.values()} == {"hall"}
