"""A webhook posts signed CloudEvents, tells now from never, and keeps its secrets to itself."""

from __future__ import annotations

import base64
import json
import logging
import socket
import stat
import threading
import traceback
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import msgspec
import pytest
import svix.webhooks

from operators.clock import NS_PER_S, ManualClock
from operators.errors import DeliveryError, DeliveryRefused, ReceiverGone, SettingsError
from operators.notify.exchange import Exchange
from operators.notify.webhook import Webhook, WebhookSettings
from tests.operators.notify.events import T0, an_alert
from tests.operators.notify.receiver import HANG, RESET, Answer, Receiver

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
PASSWORD = "hunter2"  # noqa: S105 - what must not show up anywhere


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUARD_SECRET", SECRET)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def a_webhook(url: str, folder: Path = Path("unused"), **fields: Any) -> Webhook:
    settings = WebhookSettings(**{
        "name": "guard", "url": url, "secret_env": "GUARD_SECRET", "allow": ("127.0.0.1",), **fields})
    return Webhook(settings, folder, ManualClock(T0))


def an_exchange(url: str) -> Exchange:
    return Exchange("webhooks.guard", url, timeout_s=5.0, allow=("::1",))


def failure(url: str, **fields: Any) -> DeliveryError:
    webhook = a_webhook(url, **fields)
    with pytest.raises(DeliveryError) as caught:
        webhook.deliver(an_alert())
    webhook.close()
    return caught.value


def test_the_body_is_the_alert_as_a_cloudevent(receiver: Receiver) -> None:
    webhook, alert = a_webhook(receiver.url), an_alert()
    webhook.deliver(alert)
    webhook.close()
    request, = receiver.requests
    message = json.loads(request.body)
    assert request.path == "/alerts"
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert (message["id"], message["type"]) == (alert.id, "lookout.alert")
    assert message["data"]["event_id"] == alert.event.id
    assert len(request.body) < 20_000


def test_the_signature_is_that_of_the_specification(receiver: Receiver) -> None:
    webhook = a_webhook(receiver.url)
    webhook.deliver(an_alert())
    webhook.close()
    request, = receiver.requests
    assert request.headers["webhook-timestamp"] == str(T0 // NS_PER_S)
    assert request.verified(SECRET)
    assert not request.verified("whsec_" + base64.b64encode(bytes(32)).decode())


def test_a_retry_keeps_the_id_and_signs_its_own_time(receiver: Receiver) -> None:
    clock = ManualClock(T0)
    settings = WebhookSettings(name="guard", url=receiver.url, allow=("127.0.0.1",),
                               secret_env="GUARD_SECRET")  # noqa: S106 - its name
    webhook = Webhook(settings, Path("unused"), clock)
    webhook.deliver(an_alert())
    clock.sleep(300)
    webhook.deliver(an_alert())
    webhook.close()
    first, second = receiver.requests
    assert first.id == second.id
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 300
    assert second.verified(SECRET)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_means_delivered(status: int) -> None:
    with Receiver(status) as receiver:
        webhook = a_webhook(receiver.url)
        webhook.deliver(an_alert())
        webhook.close()


@pytest.mark.parametrize(("status", "refused"), [
    (301, False), (307, False), (400, False), (401, False), (404, False), (429, False), (500, False), (503, False),
    (410, True), (413, True)])
def test_other_answers_are_failures_and_few_are_final(status: int, refused: bool) -> None:
    with Receiver(Answer(status, {"Location": "/elsewhere"})) as receiver:
        error = failure(receiver.url)
        assert isinstance(error, DeliveryRefused) is refused
        assert error.retriable is not refused
        assert f"answered {status}" in str(error)
        assert [request.path for request in receiver.requests] == ["/alerts"]  # a redirect is not followed


@pytest.mark.parametrize(("value", "wait_s"), [
    ("120", 120.0), (" 7 ", 7.0), (formatdate(T0 / NS_PER_S + 90, usegmt=True), 90.0),
    (formatdate(T0 / NS_PER_S - 90, usegmt=True), 0.0), ("soon", None), ("-5", None), (None, None)])
def test_retry_after_is_understood_in_both_forms(value: str | None, wait_s: float | None) -> None:
    with Receiver(Answer(429, {} if value is None else {"Retry-After": value})) as receiver:
        assert failure(receiver.url).retry_after_s == wait_s


def test_a_receiver_that_hangs_is_given_up_in_time() -> None:
    with Receiver(HANG) as receiver:
        error = failure(receiver.url, timeout_s=0.2)
        assert error.retriable
        assert "ReadTimeout" in str(error)


def test_an_endless_body_does_not_hold_us() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nx")
        connection.recv(1)  # until the other side hangs up
        connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    webhook = a_webhook(f"http://127.0.0.1:{listener.getsockname()[1]}/")
    webhook.deliver(an_alert())
    webhook.close()
    thread.join(5)
    listener.close()
    assert not thread.is_alive()


def test_a_reset_and_a_closed_port_are_tried_again() -> None:
    with Receiver(RESET) as receiver:
        assert failure(receiver.url).retriable
    assert failure(receiver.url).retriable  # nobody listens any more


@pytest.mark.parametrize("url", [
    "https://guard:{p}@127.0.0.1:{port}/hooks/{p}?token={p}#{p}", "http://127.0.0.1:{port}/services/{p}"])
@pytest.mark.parametrize("answer", [Answer(200), Answer(500), RESET])
def test_credentials_reach_no_log_and_no_error(
        url: str, answer: Answer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Receiver(answer) as receiver:
        url = url.format(p=PASSWORD, port=receiver.port)
        webhook = a_webhook(url)
        said = ""
        try:
            webhook.deliver(an_alert())
        except DeliveryError as error:
            said = "".join(traceback.format_exception(error))
            assert "127.0.0.1" in str(error)
        webhook.close()
    for text in (said, caplog.text, repr(webhook)):
        assert PASSWORD not in text
        assert SECRET not in text


@pytest.mark.parametrize(("url", "shown"), [
    ("nonsense", "nonsense"), ("", ""), ("ftp://host/x", "ftp://host/…"), ("https://", "https://"),
    (f"https:///x?{PASSWORD}", "https:///…"), (f"host.example/services/{PASSWORD}", "host.example/…"),
    (f"htp://guard:{PASSWORD}@host/x", "htp://host/…"), (f"http://guard:{PASSWORD}@/x", "http:///…"),
    (f"http://guard:a/{PASSWORD}@host/", "http:///…"), ("http://host:99999/", "http://host:99999/…"),
    ("http://[::1/", "http://[::1/…"), (f"http://ho st/{PASSWORD}", "http://ho st/…"),
    (f"http:guard:{PASSWORD}@host", "host"), ("http://a..b/", "http://a..b/…"), ("http://host\n/", "http://host\\n/…"),
])
def test_what_is_no_url_is_refused_at_start(url: str, shown: str) -> None:
    with pytest.raises(SettingsError) as caught:
        an_exchange(url)
    assert str(caught.value) == f"webhooks.guard.url: '{shown}' is not an http:// or https:// URL"


@pytest.mark.parametrize("url", ["http://host", "https://guard:pw@host:8443/a/b?c=d", "http://[::1]:80/", "http://höst/"])
def test_what_is_a_url_is_taken(url: str) -> None:
    an_exchange(url)


def test_svix_believes_it(receiver: Receiver) -> None:
    """Another implementation of Standard Webhooks than the one that signs: this version of svix has its own."""
    assert "standardwebhooks" not in Path(svix.webhooks.__file__).read_text()
    settings = WebhookSettings(name="guard", url=receiver.url, allow=("127.0.0.1",),
                               secret_env="GUARD_SECRET")  # noqa: S106 - its name
    webhook = Webhook(settings, Path("unused"))
    webhook.deliver(an_alert())
    request, = receiver.requests
    verifier = svix.webhooks.Webhook(SECRET)
    verifier.verify(request.body, request.headers)
    for altered in ({"webhook-id": "other"}, {"webhook-timestamp": str(int(request.headers["webhook-timestamp"]) - 1)}):
        with pytest.raises(svix.webhooks.WebhookVerificationError):
            verifier.verify(request.body, {**request.headers, **altered})
    with pytest.raises(svix.webhooks.WebhookVerificationError):
        verifier.verify(request.body + b" ", request.headers)


@pytest.mark.parametrize("between", [" ", "\n", "\t \n"])
def test_two_secrets_both_sign(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, between: str) -> None:
    old, new = SECRET, "whsec_" + base64.b64encode(b"n" * 24).decode()
    monkeypatch.setenv("GUARD_SECRET", f"{new}{between}{old}\n")
    settings = WebhookSettings(name="guard", url=receiver.url, allow=("127.0.0.1",),
                               secret_env="GUARD_SECRET")  # noqa: S106 - its name
    Webhook(settings, Path("unused")).deliver(an_alert())
    request, = receiver.requests
    for known in (old, new):
        svix.webhooks.Webhook(known).verify(request.body, request.headers)
    with pytest.raises(svix.webhooks.WebhookVerificationError):
        svix.webhooks.Webhook("whsec_" + base64.b64encode(b"x" * 24).decode()).verify(request.body, request.headers)


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(receiver: Receiver) -> None:
    webhook, alert = a_webhook(receiver.url), an_alert()
    longest = msgspec.structs.replace(alert, event=msgspec.structs.replace(alert.event, camera="c" * 20_000))
    with pytest.raises(DeliveryRefused, match="bytes, a webhook takes 20000"):
        webhook.deliver(longest)
    assert receiver.requests == []


def test_gone_is_told_from_refused(receiver: Receiver) -> None:
    receiver.answers = [Answer(410)]
    assert isinstance(failure(receiver.url), ReceiverGone)
    receiver.answers = [Answer(413)]
    assert not isinstance(failure(receiver.url), ReceiverGone)


def test_a_secret_comes_from_a_file(receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(SECRET + "\n")
    webhook = a_webhook(receiver.url, secret_env=None, secret_file=str(tmp_path / "key"))
    webhook.deliver(an_alert())
    webhook.close()
    assert receiver.requests[0].verified(SECRET)


@pytest.mark.parametrize(("fields", "says"), [
    ({"secret_env": "NOT_SET"}, "webhooks.guard.secret_env: the environment has no NOT_SET"),
    ({"secret_env": None, "secret_file": "/nowhere/key"},
     "webhooks.guard.secret_file: /nowhere/key: No such file or directory"),
    ({"secret_file": "/nowhere/key"}, "webhooks.guard: secret_env and secret_file exclude each other"),
])
def test_a_missing_secret_is_named(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        a_webhook("http://host/", **fields)
    assert str(caught.value) == says


@pytest.mark.parametrize("value", ["", "whsec_", f"whsec_{PASSWORD}", "whsec_" + base64.b64encode(bytes(23)).decode(),
                                   "whsec_" + base64.b64encode(bytes(65)).decode(), f"{PASSWORD}ü"])
def test_what_is_no_secret_is_refused_and_not_shown(
        value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GUARD_SECRET", value)
    (tmp_path / "key").write_text(value)
    sources: list[dict[str, Any]] = [{}, {"secret_env": None, "secret_file": str(tmp_path / "key")}]
    for fields in sources:
        with pytest.raises(SettingsError, match="not a signing secret") as caught:
            a_webhook("http://host/", **fields)
        assert len(value) < len(PASSWORD) or value not in str(caught.value)


def test_without_a_secret_one_is_made_and_kept(
        receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    folder = tmp_path / "data" / "secrets"
    for _ in range(2):
        webhook = a_webhook(receiver.url, folder, secret_env=None)
        webhook.deliver(an_alert())
        webhook.close()
    kept = folder / "guard.secret"
    assert [request.verified(kept.read_text().strip()) for request in receiver.requests] == [True, True]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(folder.iterdir()) == [kept]
    assert caplog.text.count(str(kept)) == 1
    assert kept.read_text().strip() not in caplog.text


def test_processes_that_start_together_agree_on_the_secret(tmp_path: Path) -> None:
    barrier, secrets = threading.Barrier(8), set()

    def start() -> None:
        barrier.wait(10)
        webhook = a_webhook("http://host/", tmp_path / "secrets", secret_env=None)
        secrets.add(webhook._signers[0]._whsecret)
        webhook.close()

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(secrets) == 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"webhooks\.guard: cannot keep a signing secret in .*file/guard\.secret"):
        a_webhook("http://host/", tmp_path / "file", secret_env=None)


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
        receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    webhook = a_webhook(receiver.url)
    webhook.deliver(an_alert())
    webhook.close()
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("wrong", [{"name": "a/b"}, {"timeout_s": 0}, {"timeout_s": 3600}, {"uri": "http://host"}])
def test_settings_out_of_bounds_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"url": "http://host", **wrong}, WebhookSettings)
