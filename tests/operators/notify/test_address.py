"""No form of a private address is posted to unless it is named; each is refused by its name, after DNS."""

from __future__ import annotations

import base64
import threading
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from operators.errors import DeliveryError, DeliveryRefused, SettingsError
from operators.notify.address import Guard, kind
from operators.notify.exchange import Exchange
from operators.notify.webhook import Webhook, WebhookSettings
from tests.operators.notify.events import an_alert
from tests.operators.notify.receiver import Answer, Receiver

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUARD_SECRET", SECRET)


def a_webhook(url: str, resolve: Any = None, **fields: Any) -> Webhook:
    settings = WebhookSettings(**{"name": "guard", "url": url, "secret_env": "GUARD_SECRET", **fields})
    return Webhook(settings, Path("unused"), resolve=resolve)


@pytest.mark.parametrize(("address", "name"), [
    ("127.0.0.1", "loopback"), ("127.255.0.9", "loopback"), ("::1", "loopback"), ("0.0.0.0", "unspecified"),  # noqa: S104
    ("::", "unspecified"), ("10.1.2.3", "private"), ("172.16.0.1", "private"), ("172.31.255.255", "private"),
    ("192.168.1.1", "private"), ("169.254.1.1", "link-local"), ("fe80::1", "link-local"), ("fec0::1", "site-local"),
    ("fd12:3456::1", "unique local"), ("169.254.169.254", "cloud metadata"), ("100.100.100.200", "cloud metadata"),
    ("169.254.170.2", "cloud metadata"), ("168.63.129.16", "cloud metadata"), ("fd00:ec2::254", "cloud metadata"),
    ("192.0.0.192", "cloud metadata"), ("100.64.0.1", "carrier-grade NAT"), ("198.18.0.1", "benchmarking"),
    ("224.0.0.1", "multicast"), ("ff02::1", "multicast"), ("255.255.255.255", "broadcast"), ("240.0.0.1", "reserved"),
    ("192.0.2.1", "documentation"), ("2001:db8::1", "documentation"), ("::ffff:127.0.0.1", "IPv4-mapped loopback"),
    ("::ffff:10.0.0.1", "IPv4-mapped private"), ("::ffff:169.254.169.254", "IPv4-mapped cloud metadata"),
    ("::ffff:0:127.0.0.1", "IPv4-translated loopback"), ("::127.0.0.1", "IPv4-compatible"),
    ("64:ff9b::7f00:1", "NAT64 loopback"), ("64:ff9b::a9fe:a9fe", "NAT64 cloud metadata"),
    ("64:ff9b:1::1", "local translation"), ("2002:7f00:1::", "6to4 loopback"), ("2002:a00:1::1", "6to4 private"),
    ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "Teredo"), ("2600::5efe:10.0.0.1", "ISATAP private"),
    ("2600::200:5efe:127.0.0.1", "ISATAP loopback"), ("100::1", "discard"), ("5f00::1", "segment routing"),
])
def test_every_address_that_is_not_public_has_a_name(address: str, name: str) -> None:
    assert kind(ip_address(address)) == name
    with pytest.raises(DeliveryRefused, match=f"is a {name} address: alerts go there only if f names it"):
        Guard("f", (), lambda host, port: [address]).addresses("h.example", 443, 1.0)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111",
                                     "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1"])
def test_public_addresses_have_none(address: str) -> None:
    assert kind(ip_address(address)) is None
    assert Guard("f", (), lambda host, port: [address]).addresses("h.example", 443, 1.0) == [address]


@pytest.mark.parametrize("host", [
    "127.0.0.1", "127.1", "2130706433", "0x7f.1", "0x7f000001", "0177.0.0.1", "017700000001", "[::1]", "[::]",
    "0", "localhost", "LOCALHOST.", "db.localhost", "[::ffff:127.0.0.1]", "[0:0:0:0:0:ffff:7f00:1]", "10.0.0.5",
    "169.254.169.254", "127。0。0。1", "１２７.0.0.1", "ⓛocalhost"])
def test_an_address_that_needs_no_resolver_is_refused_at_the_start(host: str) -> None:
    with pytest.raises(SettingsError, match=r"address: alerts go there only if webhooks\.guard\.allow names it$"):
        a_webhook(f"http://{host}:8080/hook")


@pytest.mark.parametrize("addresses", [
    ["127.0.0.1"], ["169.254.169.254"], ["fe80::1%eth0"], ["1.1.1.1", "10.0.0.1"], ["2606:4700::1111", "::1"]])
def test_a_name_that_leads_to_one_private_address_is_refused(addresses: list[str]) -> None:
    webhook = a_webhook("http://rebound.example/hook", lambda host, port: addresses)
    with pytest.raises(DeliveryRefused, match=r"rebound\.example, which is .*alerts go there only if") as caught:
        webhook.deliver(an_alert())
    assert "webhooks.guard.allow" in str(caught.value)
    assert not caught.value.retriable


def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    asked: list[str] = []

    def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    with Receiver() as receiver:
        a_webhook(f"http://guard.example:{receiver.port}/", rebinding, allow=("127.0.0.1",)).deliver(an_alert())
        assert receiver.requests[0].headers["host"] == f"guard.example:{receiver.port}"
    assert asked == ["guard.example"]  # once: there is no second answer to be fooled by


@pytest.mark.parametrize("allow", ["127.0.0.1", "127.0.0.0/8", "guard.internal", "Guard.Internal."])
def test_what_is_named_is_allowed(allow: str) -> None:
    with Receiver() as receiver:
        url = f"http://guard.internal:{receiver.port}/"
        a_webhook(url, lambda host, port: ["127.0.0.1"], allow=(allow,)).deliver(an_alert())
        assert len(receiver.requests) == 1
        with pytest.raises(DeliveryRefused):
            a_webhook(url, lambda host, port: ["127.0.0.1"], allow=("10.0.0.0/8", "other")).deliver(an_alert())


@pytest.mark.parametrize("allow", ["300.0.0.1", "10.0.0.1/8", "fe80:::1", "10.0.0.0/33"])
def test_what_is_no_network_is_refused(allow: str) -> None:
    with pytest.raises(SettingsError, match=r"webhooks\.guard\.allow: "):
        a_webhook("http://host/", allow=(allow,))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("target", ["http://169.254.169.254/latest/meta-data/", "/elsewhere", "file:///etc/passwd"])
def test_a_redirect_is_not_followed_wherever_it_leads(status: int, target: str) -> None:
    with Receiver(Answer(status, {"Location": target})) as receiver:
        webhook = a_webhook(receiver.url, allow=("127.0.0.1",))
        with pytest.raises(DeliveryError, match=f"answered {status}; redirects are not followed"):
            webhook.deliver(an_alert())
        assert [request.path for request in receiver.requests] == ["/alerts"]


def test_a_resolver_that_hangs_is_given_up_in_time() -> None:
    release = threading.Event()

    def hanging(host: str, port: int) -> Sequence[str]:
        release.wait(30)
        return []

    with pytest.raises(DeliveryError, match="no answer from the resolver") as caught:
        Exchange("f", "http://slow.example/", timeout_s=0.2, resolve=hanging).post(b"", {})
    release.set()
    assert caught.value.retriable


def test_a_name_without_an_address_may_have_one_later() -> None:
    def unknown(host: str, port: int) -> Sequence[str]:
        message = "Name or service not known"
        raise OSError(message)

    with pytest.raises(DeliveryError, match="Name or service not known") as caught:
        Exchange("f", "http://gone.example/", timeout_s=1.0, resolve=unknown).post(b"", {})
    assert caught.value.retriable
