"""The deadline is of the whole exchange, whatever the receiver does slowly; TLS and logins are as they should be."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from operators.errors import DeliveryError
from operators.notify.exchange import Exchange
from tests.operators.notify.receiver import Receiver

OK = b"HTTP/1.1 204 No Content\r\n\r\n"


@contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A listener whose one connection is served so; its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                serve(connection)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()
        thread.join(20)
        assert not thread.is_alive()


def an_exchange(url: str, timeout_s: float = 5.0) -> Exchange:
    return Exchange("hook", url, timeout_s=timeout_s, allow=("127.0.0.1", "localhost"))


def drip(connection: socket.socket) -> None:
    """A byte every little while: no single step is slow."""
    connection.recv(65536)
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1200:
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def mute(connection: socket.socket) -> None:
    """Takes the request, and says nothing till the other side leaves."""
    while connection.recv(65536):
        pass


@pytest.mark.parametrize("serve", [drip, mute])
def test_a_slow_receiver_is_given_up_at_the_deadline(serve: Callable[[socket.socket], None]) -> None:
    with serving(serve) as port:
        started_s = time.monotonic()
        with pytest.raises(DeliveryError, match="ReadTimeout"):
            an_exchange(f"http://127.0.0.1:{port}/", timeout_s=0.5).post(b"{}", {})
        took_s = time.monotonic() - started_s
    assert 0.4 < took_s < 30  # the drip alone goes on for a minute


def test_tls_that_hangs_is_given_up_at_the_deadline() -> None:
    with serving(mute) as port, pytest.raises(DeliveryError, match="ConnectTimeout"):
        an_exchange(f"https://localhost:{port}/", timeout_s=0.5).post(b"{}", {})


def test_many_small_answers_before_the_answer_do_not_help() -> None:
    def informing(connection: socket.socket) -> None:
        connection.recv(65536)
        while True:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            time.sleep(0.05)

    with serving(informing) as port, pytest.raises(DeliveryError, match="Timeout"):
        an_exchange(f"http://127.0.0.1:{port}/", timeout_s=0.5).post(b"{}", {})


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH\r\n", b"", b"HTTP/1.1 abc\r\n\r\n", b"\x16\x03\x01" + bytes(90)])
def test_what_is_no_answer_is_tried_again(said: bytes) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(said)

    with serving(serve) as port, pytest.raises(DeliveryError) as caught:
        an_exchange(f"http://127.0.0.1:{port}/").post(b"{}", {})
    assert caught.value.retriable


def test_a_login_goes_as_basic_authentication_and_a_path_as_it_is() -> None:
    with Receiver() as receiver:
        url = f"http://us%40er:p%3Aw@127.0.0.1:{receiver.port}/ä%20b/x%2Fy?q=ü&r=1#part"
        assert an_exchange(url).post(b"{}", {"x-a": "1"}).taken
        request, = receiver.requests
    assert request.headers["authorization"] == "Basic dXNAZXI6cDp3"
    assert request.path == "/%C3%A4%20b/x%2Fy?q=%C3%BC&r=1"
    assert (request.headers["x-a"], request.body) == ("1", b"{}")
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"


def test_the_next_address_is_tried_where_the_first_does_not_answer() -> None:
    with Receiver() as receiver:
        exchange = Exchange("hook", f"http://two.example:{receiver.port}/", timeout_s=5.0, allow=("two.example",),
                            resolve=lambda host, port: ["127.0.0.2", "127.0.0.1"])
        assert exchange.post(b"{}", {}).taken


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of localhost, signed by itself."""
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", path, "-out", f"{path}.crt",
                    "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
                   check=True, capture_output=True, timeout=60)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


def test_tls_trusts_who_the_system_trusts_and_checks_the_name(
        certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as encrypted:
            request = b""
            while not request.endswith(b"{}"):  # closed with something unread, a connection is reset
                request += encrypted.recv(65536)
            encrypted.sendall(OK)

    with serving(serve) as port, pytest.raises(DeliveryError, match="CERTIFICATE_VERIFY_FAILED"):
        an_exchange(f"https://localhost:{port}/").post(b"{}", {})
    monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
    with serving(serve) as port:
        assert an_exchange(f"https://localhost:{port}/").post(b"{}", {}).status == 204
    with serving(serve) as port, pytest.raises(DeliveryError, match="not valid for"):
        an_exchange(f"https://127.0.0.1:{port}/").post(b"{}", {})
