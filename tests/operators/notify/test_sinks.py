"""Alerts reach standard output, Apprise's services and a real Alertmanager."""

from __future__ import annotations

import io
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import apprise
import msgspec
import pytest

from operators.clock import seconds_to_ns
from operators.errors import DeliveryError, DeliveryRefused, SettingsError
from operators.notify.alertmanager import Alertmanager, AlertmanagerSettings
from operators.notify.apprise_sink import AppriseSettings, AppriseSink
from operators.notify.stdout import Stdout, StdoutSettings
from operators.notify.text import body_of, title_of
from operators.records import Alert
from tests.operators.notify.events import an_alert, an_event
from tests.operators.notify.receiver import Answer, Receiver

PASSWORD = "hunter2"  # noqa: S105 - what must not show up anywhere
PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")


def escalated() -> Alert:
    alert = an_alert()
    lasting = an_event("update", at_s=12.0, label="gun_shot")
    return msgspec.structs.replace(alert, event=lasting, escalated=True, severity="critical", incident="first")


def test_an_alert_in_words() -> None:
    assert title_of(an_alert()) == "siren at lobby"
    assert title_of(escalated()) == "gun shot at lobby, for 12 s now"
    body = body_of(an_alert()).splitlines()
    assert body[:3] == ["since 2023-11-14T22:13:20.000Z", "score up to 0.90: 25% seen, 75% heard",
                        "people sound negative"]
    assert an_alert().id in body[3]


def test_standard_output_gets_a_line_for_each() -> None:
    out = io.BytesIO()
    sink = Stdout(StdoutSettings(), out)
    for number in range(2):
        sink.deliver(an_alert(number))
    assert [json.loads(line)["id"] for line in out.getvalue().splitlines()] == [an_alert(0).id, an_alert(1).id]
    out.close()
    with pytest.raises(DeliveryError):
        sink.deliver(an_alert())


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A service that Apprise reaches by plain JSON."""
    with Receiver() as receiver:
        monkeypatch.setenv("CHAT_URL", f"json://user:{PASSWORD}@127.0.0.1:{receiver.port}/hook")
        yield receiver


def test_apprise_tells_its_service(chat: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    sink = AppriseSink(AppriseSettings(name="chat", url_env="CHAT_URL"))
    for alert in (an_alert(), escalated()):
        sink.deliver(alert)
    said = [json.loads(request.body) for request in chat.requests]
    assert [(one["title"], one["type"]) for one in said] == [
        ("siren at lobby", "warning"), ("gun shot at lobby, for 12 s now", "failure")]
    assert "score up to 0.90" in said[0]["message"]
    assert PASSWORD not in caplog.text


def test_a_service_that_fails_is_tried_again(chat: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    chat.answers = [Answer(500)]
    with pytest.raises(DeliveryError) as caught:
        AppriseSink(AppriseSettings(name="chat", url_env="CHAT_URL")).deliver(an_alert())
    assert caught.value.retriable
    assert PASSWORD not in caplog.text + str(caught.value)


@pytest.mark.parametrize("url", [None, "nonsense", "unknown://host"])
def test_a_service_that_there_is_not_is_refused(url: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if url:
        monkeypatch.setenv("CHAT_URL", url)
    with pytest.raises(SettingsError, match=r"sinks\.chat\.url_env: .* CHAT_URL") as caught:
        AppriseSink(AppriseSettings(name="chat", url_env="CHAT_URL"))
    assert not url or url not in str(caught.value)


def test_apprise_knows_the_severities() -> None:
    assert set(apprise.NOTIFY_TYPES) >= {"info", "warning", "failure"}


def test_alertmanager_must_be_allowed_like_any_other() -> None:
    with pytest.raises(SettingsError, match=r"sinks\.ops\.allow"):
        Alertmanager(AlertmanagerSettings(name="ops", url="http://127.0.0.1:9093"))
    sink = Alertmanager(AlertmanagerSettings(name="ops", url="http://alertmanager:9093"),
                        resolve=lambda host, port: ["10.0.0.9"])
    with pytest.raises(DeliveryRefused, match=r"alertmanager, which is 10\.0\.0\.9, is a private address"):
        sink.deliver(an_alert())


@pytest.fixture(scope="module")
def pager() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory, pager: Receiver) -> Iterator[str]:
    """A real one, which notifies `pager`; its address."""
    if PROGRAM is None:
        pytest.skip("alertmanager not found")
    folder = tmp_path_factory.mktemp("alertmanager")
    (folder / "config.yml").write_text(
        "route: {receiver: pager, group_by: [alertname, camera], group_wait: 0s, group_interval: 1s}\n"
        f"receivers: [{{name: pager, webhook_configs: [{{url: '{pager.url}'}}]}}]\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM, f"--config.file={folder / 'config.yml'}", f"--storage.path={folder / 'data'}",
             f"--web.listen-address={address}", "--cluster.listen-address="], stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline_s = time.monotonic() + 60
        while not ready(address):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline_s, (folder / "log").read_text()
            time.sleep(0.05)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


def ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/-/ready", timeout=5) as answer:  # noqa: S310 - our own server
            return bool(answer.status == 200)
    except OSError:
        return False


def asked(url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{url}/api/v2/alerts", timeout=5) as answer:  # noqa: S310 - our own server
        return list(json.load(answer))


def recent(alert: Alert) -> Alert:
    """The same, just now: Alertmanager forgets what is old."""
    start_ns = time.time_ns() - seconds_to_ns(5)
    moved = msgspec.structs.replace(alert.event, start_ns=start_ns, time_ns=start_ns)
    return msgspec.structs.replace(alert, event=moved, created_ns=start_ns)


def test_a_real_alertmanager_fires_and_notifies(alertmanager: str, pager: Receiver) -> None:
    sink = Alertmanager(AlertmanagerSettings(name="ops", url=alertmanager + "/", allow=("127.0.0.1",)))
    alert = recent(an_alert())
    for one in (alert, alert, recent(an_alert(camera="gate"))):  # a repeat is the same to it
        sink.deliver(one)
    firing = {one["labels"]["camera"]: one for one in asked(alertmanager)}
    assert len(asked(alertmanager)) == 2
    assert firing["lobby"]["labels"] == {"alertname": "siren", "camera": "lobby", "rule": "default",
                                         "severity": "warning"}
    assert firing["lobby"]["annotations"]["alert_id"] == alert.id
    assert firing["lobby"]["status"]["state"] in ("active", "unprocessed")
    pager.wait_for(2, timeout_s=60.0)
    told = [json.loads(request.body) for request in pager.requests]
    assert {(one["status"], one["groupLabels"]["camera"]) for one in told} == {("firing", "lobby"), ("firing", "gate")}


def test_an_alertmanager_that_refuses_or_is_down_is_tried_again(alertmanager: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = f"http://127.0.0.1:{listener.getsockname()[1]}"
    for url in (alertmanager + "/elsewhere", closed):
        sink = Alertmanager(AlertmanagerSettings(name="ops", url=url, allow=("127.0.0.1",)))
        with pytest.raises(DeliveryError) as caught:
            sink.deliver(an_alert())
        assert caught.value.retriable
