from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.capture.source import parse, redact
from operators.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "name", "kind"),
    [
        ("rtsp://10.0.0.7:554/live", "10.0.0.7", "rtsp"),
        ("rtsps://cam.example/live", "cam.example", "rtsp"),
        ("RTSP://cam.example/live", "cam.example", "rtsp"),
        ("http://cam.example/video.mjpg?x=1", "cam.example", "http"),
        ("https://cam.example/a.m3u8", "cam.example", "http"),
        ("v4l2:/dev/video0", "video0", "v4l2"),
        ("door=rtsp://u:p@10.0.0.7/live?a=b", "door", "rtsp"),
        ("http://[2001:db8::1]:8080/live", "2001-db8-1", "http"),
    ],
)
def test_live_sources(text: str, name: str, kind: str) -> None:
    source = parse(text)
    assert (source.name, source.kind, source.live) == (name, kind, True)


@pytest.mark.parametrize("file_name", ["lobby.mp4", "a=b.mp4", "Hintereingang Nord.mkv", "ä.mp4", ".mp4"])
def test_a_file_is_named_by_its_stem(tmp_path: Path, file_name: str) -> None:
    path = tmp_path / file_name
    path.touch()
    source = parse(str(path))
    assert source.url == str(path)
    assert not source.live
    assert parse(f"{source.name}={path}") == source


def test_a_name_before_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.mp4").touch()
    assert parse("hall=x.mp4").name == "hall"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("door=", "empty"),
        ("gopher://cam/x", "'gopher://cam/x': unknown scheme"),
        ("rtsp://", "no valid host"),
        ("rtsp://cam:99999/x", "no valid host"),
        ("v4l2:video0", "v4l2:/dev/videoN"),
        ("no-such-file.mp4", "no such file"),
        ("a b=rtsp://cam/x", "camera name"),
        ("x" * 65 + "=rtsp://cam/x", "camera name"),
        ("=rtsp://cam/x", "camera name"),
        (".", "not a file"),
    ],
)
def test_nonsense_is_named(text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        parse(text)


def test_a_socket_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        with pytest.raises(SettingsError, match="not a file"):
            parse(str(path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.touch(mode=0o000)
    with pytest.raises(SettingsError, match="cannot be read"):
        parse(str(path))


SECRETS = [
    "rtsp://admin:{}@cam/live",
    "rtsp://admin:{}@@cam/live",
    "rtsp://{}@cam/live",
    "rtsp://admin:/{}?@cam/live",
    "admin:{}@cam=rtsp://x/",
    "http://cam/x?token={}",
    "http://cam/x?a=1&Access_Token={}&b=2",
    "http://cam/x?api_key={}#t",
    "http://cam/x?user=me&pwd={}",
    "http://cam/x?X-Amz-Signature={}",
    "http://cam/x;auth={}",
    "cannot be opened: 'rtsp://admin:{}@cam/live' (Connection refused)",
    "two: rtsp://a:{0}@b/ and http://c/?password={0}.",
]


@pytest.mark.parametrize("text", SECRETS)
def test_redact_takes_secrets_out(text: str) -> None:
    assert "s3cret!" not in redact(text.format("s3cret!"))
    assert "cam" in redact(text.format("s3cret!")) or "two" in text


@pytest.mark.parametrize(
    "text", ["rtsp://cam:554/live?stream=1&w=640", "no url at all: a@b.c, x=1", "at 10:30 a@b.c", "/videos/a.mp4"]
)
def test_redact_leaves_the_rest(text: str) -> None:
    assert redact(text) == text


@given(st.text(st.characters(codec="ascii", exclude_characters="'\"", categories=("L", "N", "P", "S")), min_size=9))
def test_no_password_survives(password: str) -> None:
    url = f"rtsp://admin:{password}@camera/live"
    assert password not in redact(url)
    assert password not in redact(f"x '{url}': refused")


def test_a_source_shows_no_secret() -> None:
    source = parse("door=rtsp://admin:hunter2@cam/live?token=abc123")
    assert "hunter2" in source.url
    for shown in (source.safe, repr(source), str(source), f"{source}"):
        assert "hunter2" not in shown
        assert "abc123" not in shown
        assert "cam/live" in shown


@pytest.mark.parametrize("text", ["gopher://a:hunter2@cam/x", "rtsp://a:hunter2@cam:99999/x", "a:hunter2@b=rtsp://x/"])
def test_errors_show_no_secret(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(text)
    assert "hunter2" not in str(caught.value)
