"""Event JSON is CloudEvents 1.0, its schema is committed and current, and real output keeps to it."""

from __future__ import annotations

import copy
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from cloudevents.core.formats.json import JSONFormat

from operators.cloudevent import SCHEMAS, alert_to_cloudevent, event_to_cloudevent, write_schemas
from operators.records import Event, Sentiment
from tests.operators.notify.events import an_alert, an_event

EVENTS = [
    an_event("open"),
    an_event("update", at_s=2.5, sentiment=Sentiment("negative", 0.70001, 0.2, 0.09999)),
    an_event("close", at_s=4.0, media_start_ns=1_234_567_890, media_end_ns=5_234_567_890),
    an_event("open", camera="front gate/2 #é"),
]


def committed(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((SCHEMAS / name).read_bytes())
    return schema


def through_json(message: dict[str, Any]) -> Any:
    return json.loads(msgspec.json.encode(message))


def test_an_event_says_everything_promised() -> None:
    message = through_json(event_to_cloudevent(EVENTS[2]))
    assert list(message) == ["specversion", "id", "source", "type", "time", "subject", "datacontenttype", "data"]
    assert message == {
        "specversion": "1.0", "id": EVENTS[2].id, "source": "/cameras/lobby", "type": "lookout.event.close",
        "time": "2023-11-14T22:13:24.000Z", "subject": "siren", "datacontenttype": "application/json",
        "data": {
            "camera": "lobby", "label": "siren", "score": 0.8123, "peak_score": 0.9,
            "start": "2023-11-14T22:13:20.000Z", "end": "2023-11-14T22:13:24.000Z",
            "media_start_s": 1.235, "media_end_s": 5.235, "sentiment": None,
            "senses": {"visual": 0.25, "acoustic": 0.75}}}


def test_what_is_not_known_is_null() -> None:
    data = event_to_cloudevent(EVENTS[0])["data"]
    assert data["end"] is None
    assert data["media_start_s"] is None
    assert data["media_end_s"] is None
    assert data["sentiment"] is None


def test_the_source_is_a_uri_reference_whatever_the_camera_is_called() -> None:
    message = event_to_cloudevent(an_event(camera="front gate/2 #é"))
    assert message["source"] == "/cameras/front%20gate%2F2%20%23%C3%A9"
    assert message["data"]["camera"] == "front gate/2 #é"


def test_scores_of_sentiment_are_rounded() -> None:
    assert event_to_cloudevent(EVENTS[1])["data"]["sentiment"] == {
        "label": "negative", "negative": 0.7, "neutral": 0.2, "positive": 0.1}


def test_an_event_keeps_its_id_and_its_occurrences_differ() -> None:
    messages = [event_to_cloudevent(event) for event in EVENTS[:3]]
    assert len({message["id"] for message in messages}) == 1
    assert len({(message["id"], message["type"], message["time"]) for message in messages}) == len(messages)


def test_an_alert_says_the_event_and_the_rule() -> None:
    alert = an_alert()
    message = alert_to_cloudevent(alert)
    assert (message["id"], message["type"], message["subject"]) == (alert.id, "lookout.alert", "siren")
    extra = {"rule": "default", "event_id": alert.event.id, "severity": "warning", "incident": alert.id,
             "escalated": False, "evidence": None}
    assert message["data"] == {**event_to_cloudevent(alert.event)["data"], **extra}


@pytest.mark.parametrize("event", EVENTS)
def test_the_cloudevents_sdk_reads_it(event: Event) -> None:
    read = JSONFormat().read(None, msgspec.json.encode(event_to_cloudevent(event)))
    assert read.get_id() == event.id
    time = read.get_time()
    assert time is not None
    assert round(time.timestamp() * 1e9) == event.time_ns


@pytest.mark.parametrize("event", EVENTS)
def test_events_and_alerts_keep_to_their_schemas(event: Event) -> None:
    jsonschema.validate(through_json(event_to_cloudevent(event)), committed("event.schema.json"))
    alert = msgspec.structs.replace(an_alert(), event=event)
    jsonschema.validate(through_json(alert_to_cloudevent(alert)), committed("alert.schema.json"))
    data = event_to_cloudevent(event)["data"]
    for time in filter(None, (data["start"], data["end"])):
        assert datetime.fromisoformat(time).utcoffset() is not None


@pytest.mark.parametrize(("where", "value"), [
    (("type",), "lookout.event.gone"), (("specversion",), "0.3"), (("source",), "lobby"), (("id",), ""),
    (("data", "score"), 1.5), (("data", "end"), 12), (("data", "senses"), None),
    (("data", "sentiment"), {"label": "angry", "negative": 1.0, "neutral": 0.0, "positive": 0.0}),
])
def test_the_schema_refuses_what_is_wrong(where: tuple[str, ...], value: object) -> None:
    message = copy.deepcopy(event_to_cloudevent(EVENTS[2]))
    part = message
    for key in where[:-1]:
        part = part[key]
    part[where[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(through_json(message), committed("event.schema.json"))


@pytest.mark.parametrize("name", ["event.schema.json", "alert.schema.json"])
def test_every_field_is_required(name: str) -> None:
    for definition in committed(name)["$defs"].values():
        assert definition["required"] == list(definition["properties"])


def test_committed_schemas_are_current_and_valid(tmp_path: Path) -> None:
    write_schemas(tmp_path)
    assert {path.name for path in SCHEMAS.iterdir()} == {path.name for path in tmp_path.iterdir()}
    for path in tmp_path.iterdir():
        current, kept = path.read_bytes(), (SCHEMAS / path.name).read_bytes()
        assert kept == current, f"{path.name} is stale: run python -m operators.cloudevent"
        jsonschema.Draft202012Validator.check_schema(json.loads(kept))
