"""Bad input: one line that names what and where, exit code 2, and nothing written."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.lookout import run
from tests.tiny_bundle import make_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def clip(media: Callable[..., Path]) -> Path:
    return media("short.mp4", seconds=2)


def refused(data: Path, *arguments: object) -> str:
    """What is said to arguments that must be refused."""
    done = run("watch", *arguments, "--data", data)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert not data.exists()
    return done.stderr


def test_an_unknown_key(clip: Path, bundle: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("decode:\n  halve_afterr_s: 3\n")
    said = refused(tmp_path / "data", clip, "--config", config, "--model", bundle)
    assert "halve_afterr_s" in said
    assert "decode" in said
    assert "config.yaml" in said


def test_a_value_out_of_bounds(clip: Path, bundle: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("encode: {visual_batch: 0}\n")
    said = refused(tmp_path / "data", clip, "--config", config, "--model", bundle)
    assert "encode.visual_batch" in said


def test_a_variable_that_is_not_set(clip: Path, bundle: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("cameras: [{source: 'rtsp://${NO_SUCH_LOGIN}@10.0.0.1/'}]\n")
    said = refused(tmp_path / "data", clip, "--config", config, "--model", bundle)
    assert "NO_SUCH_LOGIN" in said
    assert "cameras[0].source" in said


def test_no_yaml(clip: Path, bundle: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("cameras: [}\n")
    assert "config.yaml" in refused(tmp_path / "data", clip, "--config", config, "--model", bundle)


def test_a_file_that_is_not_there(bundle: Path, tmp_path: Path) -> None:
    assert "nowhere.mp4" in refused(tmp_path / "data", tmp_path / "nowhere.mp4", "--model", bundle)


def test_a_file_that_is_no_media(bundle: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("not a film")
    assert "notes" in refused(tmp_path / "data", text, "--model", bundle)


def test_an_unknown_scheme(bundle: Path, tmp_path: Path) -> None:
    said = refused(tmp_path / "data", "gopher://user:hunter2@host/film", "--model", bundle)
    assert "gopher" in said
    assert "hunter2" not in said


def test_two_cameras_of_one_name(clip: Path, bundle: Path, tmp_path: Path) -> None:
    assert "'a'" in refused(tmp_path / "data", f"a={clip}", f"a={clip}", "--model", bundle)


def test_nothing_to_watch(bundle: Path, tmp_path: Path) -> None:
    assert "SOURCE" in refused(tmp_path / "data", "--model", bundle)


@pytest.mark.parametrize("url", ["guard.example/alerts", "ftp://guard.example/", "http://", "http://[::1"])
def test_a_webhook_url_that_is_none(clip: Path, bundle: Path, tmp_path: Path, url: str) -> None:
    said = refused(tmp_path / "data", clip, "--model", bundle, "--webhook", url)
    assert "webhooks.webhook.url" in said


def test_a_bundle_that_was_altered(clip: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    with (bundle / "fusion.onnx").open("ab") as file:
        file.write(b"\0")
    said = refused(tmp_path / "data", clip, "--model", bundle)
    assert "fusion.onnx" in said
    assert "sha256" in said


def test_a_bundle_that_is_not_there(clip: Path, tmp_path: Path) -> None:
    assert "manifest.json" in refused(tmp_path / "data", clip, "--model", tmp_path / "nothing")


def test_a_port_in_use(clip: Path, bundle: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert str(port) in refused(tmp_path / "data", clip, "--model", bundle, "--metrics-port", port)


def test_a_port_that_is_none(clip: Path, bundle: Path, tmp_path: Path) -> None:
    assert "--metrics-port" in refused(tmp_path / "data", clip, "--model", bundle, "--metrics-port", 70000)


def test_an_events_file_that_cannot_be_written(clip: Path, bundle: Path, tmp_path: Path) -> None:
    said = refused(tmp_path / "data", clip, "--model", bundle, "--events", tmp_path / "no/such/folder/events.jsonl")
    assert "--events" in said


def test_a_rule_about_an_unknown_label(clip: Path, bundle: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("rules: [{name: r, labels: [figth]}]\n")
    assert "figth" in refused(tmp_path / "data", clip, "--config", config, "--model", bundle)
