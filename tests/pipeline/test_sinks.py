"""Receivers are built from the settings, or refused by name; a topic gets alerts as CloudEvents."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from operators.clock import SystemClock
from operators.errors import DeliveryError, DeliveryRefused, SettingsError
from operators.notify.rules import check_rules
from pipeline.settings import LookoutSettings, load
from pipeline.sinks import check_sinks, made_sinks
from pipeline.topic_sink import TopicSettings, TopicSink
from pipeline.topics.base import TopicSettings as LogTopic
from pipeline.topics.embedded_log import EmbeddedLog
from tests.contracts.logs import everything
from tests.operators.notify.events import an_alert


def the_settings(**tree: Any) -> LookoutSettings:
    return msgspec.convert(tree, LookoutSettings)


def test_a_topic_gets_alerts_as_cloudevents_in_order(tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path)
    log.ensure([LogTopic(name="alarms", max_record_bytes=2000)])
    sink = TopicSink(TopicSettings(topic="alarms"), log)
    for number in range(3):
        sink.deliver(an_alert(number))
    found = everything(log, "alarms")
    assert [json.loads(message.value)["id"] for message in found] == [an_alert(number).id for number in range(3)]
    assert {(message.key, message.headers["content-type"]) for message in found} == {
        ("lobby", b"application/cloudevents+json; charset=UTF-8")}
    huge = msgspec.structs.replace(an_alert(), event=msgspec.structs.replace(an_alert().event, session="s",
                                                                             label="l" * 3000))
    with pytest.raises(DeliveryRefused, match="alarms"):
        sink.deliver(huge)
    with pytest.raises(DeliveryError, match="elsewhere") as caught:
        TopicSink(TopicSettings(topic="elsewhere"), log).deliver(an_alert())
    assert caught.value.retriable  # somebody may make it yet
    sink.close()


def test_every_kind_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_URL", "json://127.0.0.1/")
    settings = the_settings(
        webhooks=[{"name": "guard", "url": "https://guard.example/"}],
        sinks=[{"kind": "stdout"}, {"kind": "apprise", "name": "chat", "url_env": "CHAT_URL"},
               {"kind": "alertmanager", "url": "http://alertmanager:9093", "allow": ["alertmanager"]}])
    names = ["guard", "stdout", "chat", "alertmanager"]
    assert check_sinks(settings) == names
    assert list(tmp_path.iterdir()) == []  # checking writes nothing
    made = made_sinks(settings, tmp_path, SystemClock())
    assert [sink.name for sink in made] == names
    for sink in made:
        sink.close()


@pytest.mark.parametrize(("tree", "says"), [
    ({"webhooks": [{"name": "a", "url": "https://a.example"}], "sinks": [{"kind": "stdout", "name": "a"}]},
     "webhooks and sinks: two have the name 'a'"),
    ({"webhooks": [{"name": "a", "url": "http://10.0.0.5/"}]},
     "10.0.0.5 is a private address: alerts go there only if webhooks.a.allow names it"),
    ({"sinks": [{"kind": "topic", "topic": "alarms"}]},
     "sinks.topic.kafka: which cluster? there is no `kafka:` either"),
    ({"sinks": [{"kind": "apprise", "name": "chat", "url_env": "NOT_SET"}]},
     "sinks.chat.url_env: the environment has no NOT_SET"),
])
def test_what_cannot_be_is_refused_by_name(tree: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_sinks(the_settings(**tree))
    assert str(caught.value) == says


def test_the_readmes_configurations_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)]
    assert {"cameras", "rules", "sinks", "evidence", "health", "kafka"} <= {key for block in blocks for key in block}
    monkeypatch.setenv("CHAT_URL", "json://127.0.0.1/")
    elsewhere = {"webhooks": [{"name": "guard", "url": "https://guard.example"}],
                 "sinks": [{"kind": "stdout", "name": "ops"}], "kafka": {"servers": ["10.0.0.2:9092"]}}
    for block in blocks:
        path = tmp_path / "readme.yaml"
        path.write_text(yaml.safe_dump({**elsewhere, **block}))
        settings = load(path, {"GATE_LOGIN": "a:b"})
        check_rules(settings.rules, ("fight", "gun_shot"), check_sinks(settings))


@pytest.mark.parametrize("sink", [{"kind": "pigeon"}, {"name": "a"}, {"kind": "stdout", "url": "x"},
                                  {"kind": "topic", "topic": "a b"}])
def test_kinds_and_keys_that_there_are_not_are_refused(sink: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        the_settings(sinks=[sink])
