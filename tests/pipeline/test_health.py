"""A running process tells over HTTP how it is; a port it cannot have is said in one line."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from operators.clock import NS_PER_S, ManualClock
from operators.errors import LogUnavailable, SettingsError
from pipeline import health
from pipeline.health import HealthServer, beating
from pipeline.metrics.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def server(metrics: Metrics) -> Iterator[HealthServer]:
    with HealthServer(metrics, port=0) as running:
        yield running


def get(server: HealthServer, path: str, method: str = "GET", accept: str = "*/*") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path, headers={"Accept": accept})
    answer = connection.getresponse()
    found = answer.status, answer.headers.get_content_type(), answer.read().decode()
    connection.close()
    return found


def test_metrics_are_served_in_the_format_asked_for(server: HealthServer, metrics: Metrics) -> None:
    metrics.on_lag("fuse", "embeddings", {0: 7})
    status, kind, text = get(server, "/metrics?ignored=1")
    assert (status, kind) == (200, "text/plain")
    values = {sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples}
    assert values["lookout_stage_lag_records"] == 7
    assert get(server, "/metrics", accept="application/openmetrics-text; version=1.0.0")[1].startswith(
        "application/openmetrics-text")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_without_a_complaint_all_is_well(server: HealthServer, path: str) -> None:
    assert get(server, path) == (200, "text/plain", "ok\n")


def test_alive_and_ready_are_two_things_and_each_names_what_is_wrong(server: HealthServer) -> None:
    wrong: dict[str, str | None] = {"model": "still loading", "log": None}
    server.must_be_ready("model", lambda: wrong["model"])
    server.must_be_ready("log", lambda: wrong["log"])
    assert get(server, "/readyz") == (503, "text/plain", "model: still loading\n")
    assert get(server, "/healthz")[0] == 200
    wrong["model"] = None
    assert get(server, "/readyz") == (200, "text/plain", "ok\n")
    server.must_live("stage fuse", lambda: "no sign of life for 61 s")
    assert get(server, "/healthz") == (503, "text/plain", "stage fuse: no sign of life for 61 s\n")
    assert get(server, "/readyz")[0] == 200


def test_an_error_of_a_check_is_what_is_wrong(server: HealthServer) -> None:
    def check() -> str | None:
        message = "the log is busy"
        raise LogUnavailable(message)

    server.must_be_ready("log", check)
    assert get(server, "/readyz") == (503, "text/plain", "log: the log is busy\n")


def test_a_loop_that_stops_beating_is_noticed_and_recovers() -> None:
    clock, beat_ns = ManualClock(50 * NS_PER_S), 50 * NS_PER_S
    check = beating(lambda: beat_ns, clock, stale_after_s=10.0)
    clock.sleep(10.0)
    assert check() is None
    clock.sleep(1.0)
    assert check() == "no sign of life for 11 s"
    beat_ns = clock.monotonic_ns()
    assert check() is None


def test_other_pages_are_not_there_and_head_has_no_body(server: HealthServer) -> None:
    assert get(server, "/")[0] == 404
    assert get(server, "/../etc/passwd")[0] == 404
    assert get(server, "/healthz", method="HEAD") == (200, "text/plain", "")
    assert get(server, "/healthz", method="POST")[0] == 501


def test_a_silent_client_delays_no_other(server: HealthServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health._Handler, "timeout", 60)
    with socket.create_connection(("127.0.0.1", server.port)):
        assert get(server, "/healthz")[0] == 200


def test_a_silent_client_is_hung_up_on(server: HealthServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert health._Handler.timeout == health.REQUEST_TIMEOUT_S
    monkeypatch.setattr(health._Handler, "timeout", 0.05)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as silent:
        assert silent.recv(1) == b""


def test_a_port_in_use_is_named(server: HealthServer) -> None:
    with pytest.raises(SettingsError) as caught:
        HealthServer(Metrics(), port=server.port)
    assert str(caught.value) == f"metrics: cannot listen on 127.0.0.1 port {server.port}: Address already in use"


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 0), ("127.0.0.1", 70000)])
def test_an_address_that_cannot_be_had_is_named(host: str, port: int) -> None:
    with pytest.raises(SettingsError, match=f"^metrics: cannot listen on {host} port {port}: ."):
        HealthServer(Metrics(), port=port, host=host)


def test_it_listens_on_this_machine_alone_unless_told(server: HealthServer) -> None:
    assert server._server.server_address[0] == "127.0.0.1"


def test_ipv6_works_where_the_machine_has_it() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with HealthServer(Metrics(), port=0, host="::1") as server:
        connection = http.client.HTTPConnection("::1", server.port, timeout=10)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()


def test_closing_frees_the_port_and_ends_the_thread() -> None:
    server = HealthServer(Metrics(), port=0)
    server.close()
    assert not any(thread.name == "health" for thread in threading.enumerate())
    with HealthServer(Metrics(), port=server.port):
        pass
