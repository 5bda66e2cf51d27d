"""Evidence over HTTP: whole or in ranges, by links of ours alone, and nothing else of the machine."""

from __future__ import annotations

import http.client
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.clock import NS_PER_S, ManualClock
from operators.errors import SettingsError
from operators.evidence.settings import EvidenceSettings, ServeSettings
from operators.evidence.store import RECORD, Store
from pipeline.evidence import server as serving
from pipeline.evidence.links import Signer
from pipeline.evidence.server import EvidenceServer, range_of
from tests.operators.notify.events import T0, an_alert
from tests.rtsp import free_port

EVENT = an_alert().event.id
CONTENT = bytes(range(256)) * 1000


class Site:
    """A running server, and whoever asks it."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.port = ManualClock(T0), free_port()
        self.store = Store(EvidenceSettings(url=str(folder / "kept")))
        settings = ServeSettings(port=self.port, link_lifetime_s=3600)
        self.signer = Signer(settings, [b"k" * 32])
        for name, content in {"clip.mp4": CONTENT, "why.png": b"", RECORD: b"{}"}.items():
            (folder / name).write_bytes(content)
            self.store.put(EVENT, folder / name)
        self.server = EvidenceServer(settings, self.store, self.signer, self.clock)

    def link(self, path: str) -> str:
        split = urlsplit(self.signer.link(path, T0 // NS_PER_S + 3600))
        return f"{split.path}?{split.query}"

    def get(self, target: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, target, headers=headers)
        answer = connection.getresponse()
        found = answer.status, dict(answer.headers), answer.read()
        connection.close()
        return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    with site.server:
        yield site


CLIP = f"/evidence/{EVENT}/clip"


def test_a_link_gives_the_file_and_says_what_it_is(site: Site) -> None:
    status, headers, body = site.get(site.link(CLIP))
    assert (status, body) == (200, CONTENT)
    assert headers["Content-Type"] == "video/mp4"
    assert headers["Accept-Ranges"] == "bytes"
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")
    assert headers["Cache-Control"] == "private, no-store"
    status, headers, body = site.get(site.link(CLIP), "HEAD")
    assert (status, headers["Content-Length"], body) == (200, str(len(CONTENT)), b"")


@pytest.mark.parametrize(("asked", "part"), [
    ("bytes=0-", slice(0, None)), ("bytes=100-199", slice(100, 200)), ("bytes=-5", slice(-5, None)),
    ("bytes=255000-999999999", slice(255000, None))])
def test_a_range_gives_that_part(site: Site, asked: str, part: slice) -> None:
    status, headers, body = site.get(site.link(CLIP), Range=asked)
    assert (status, body) == (206, CONTENT[part])
    first = range(len(CONTENT))[part][0]
    assert headers["Content-Range"] == f"bytes {first}-{first + len(body) - 1}/{len(CONTENT)}"


@pytest.mark.parametrize("asked", [f"bytes={len(CONTENT)}-", "bytes=-0", "bytes=9-3"])
def test_a_range_that_there_is_not_is_refused(site: Site, asked: str) -> None:
    status, headers, _ = site.get(site.link(CLIP), Range=asked)
    assert (status, headers["Content-Range"]) == (416, f"bytes */{len(CONTENT)}")


@given(st.integers(1, 10**6), st.one_of(st.text(), st.from_regex(r"bytes=\d{0,8}-\d{0,8}", fullmatch=True)))
def test_a_range_lies_within_the_file_whatever_is_asked(size: int, header: str) -> None:
    first, last = range_of(header, size)
    assert (first, last) == (size, size - 1) or 0 <= first <= last < size


def test_a_wrong_or_expired_link_is_forbidden_and_a_right_one_to_nothing_is_not_found(site: Site) -> None:
    good = site.link(CLIP)
    assert site.get(good[:-1] + ("0" if good[-1] != "0" else "1"))[0] == 403
    assert site.get(CLIP)[0] == 403
    assert site.get(good.replace("/clip", "/why"))[0] == 403
    assert site.get(site.link(f"/evidence/{EVENT}/snapshot"))[0] == 404
    assert site.get(site.link(f"/evidence/{'0' * 32}/clip"))[0] == 404
    site.clock.sleep(3600)
    try:
        assert site.get(good)[0] == 403
    finally:
        site.clock.sleep(-3600)


@pytest.mark.parametrize("path", [
    "/", "/metrics", "/evidence/", f"/evidence/{EVENT}/", f"/evidence/{EVENT}/evidence", f"/evidence/{EVENT}/clip.mp4",
    f"/evidence/{EVENT}/../../../etc/passwd", f"/evidence/{EVENT}/" + quote("../clip", safe=""),
    f"/evidence/{EVENT[:-1]}/clip", f"/evidence/{EVENT.upper()}x/clip", "//etc/passwd"])
def test_no_other_path_leads_anywhere_even_if_it_were_signed(site: Site, path: str) -> None:
    assert site.get(site.link(path) if path.startswith("/e") else path)[0] == 404


def test_what_lets_people_in_is_in_no_log_line(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    link = site.link(CLIP)
    site.get(link)
    site.get(link + "x")
    assert "signature" not in caplog.text
    assert CLIP in caplog.text


def test_it_only_gives(site: Site) -> None:
    assert site.get(site.link(CLIP), "POST")[0] == 501
    assert site.get(site.link(CLIP), "DELETE")[0] == 501


def test_who_hangs_up_or_says_nothing_delays_no_other(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.port)) as silent:
        silent.sendall(f"GET {site.link(CLIP)} HTTP/1.1\r\n".encode())
        assert site.get(site.link(CLIP))[0] == 200


def test_storage_that_fails_is_said(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(site.store._files, "info", fail)
    assert site.get(site.link(CLIP))[0] == 503


def test_a_port_in_use_is_named(site: Site) -> None:
    with pytest.raises(SettingsError) as caught:
        EvidenceServer(ServeSettings(port=site.port), site.store, site.signer, site.clock)
    assert str(caught.value) == (
        f"evidence.serve: cannot listen on 127.0.0.1 port {site.port}: Address already in use")


def test_a_silent_client_is_hung_up_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving._Handler, "timeout", 0.05)
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as silent:
        assert silent.recv(1) == b""
