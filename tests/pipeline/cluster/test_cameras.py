"""Which cameras the cluster watches, on the embedded log."""

from __future__ import annotations

from pathlib import Path

import pytest

from operators.capture.camera import CameraSettings
from operators.errors import SettingsError
from pipeline.cluster.cameras import add, known, remove
from pipeline.codec import VERSION, VERSION_HEADER
from pipeline.topics.embedded_log import EmbeddedLog
from pipeline.topology import CAMERAS
from tests.contracts.logs import everything


def sources(log: EmbeddedLog) -> dict[str, str]:
    return {name: camera.source for name, camera in known(log).items()}


def test_the_newest_word_on_a_camera_counts(log: EmbeddedLog) -> None:
    assert add(log, ["gate=rtsp://10.0.0.5/1", "rtsp://yard.example/live"]) == ["gate", "yard.example"]
    add(log, ["gate=rtsp://10.0.0.5/2"])
    assert sources(log) == {"gate": "gate=rtsp://10.0.0.5/2", "yard.example": "yard.example=rtsp://yard.example/live"}
    remove(log, ["gate"])
    assert list(known(log)) == ["yard.example"]
    add(log, ["gate=rtsp://10.0.0.5/3"])
    assert sources(log)["gate"] == "gate=rtsp://10.0.0.5/3"


def test_what_is_not_there_cannot_be_removed(log: EmbeddedLog) -> None:
    add(log, ["gate=rtsp://10.0.0.5/1"])
    with pytest.raises(SettingsError, match="yard"):
        remove(log, ["gate", "yard"])
    assert list(known(log)) == ["gate"]


@pytest.mark.parametrize("source", ["gate=rtsp://user:secret@10.0.0.5/1", "rtsp://10.0.0.5/1?password=secret"])
def test_credentials_never_get_into_the_topic(log: EmbeddedLog, source: str) -> None:
    with pytest.raises(SettingsError, match=r"\$\{NAME\}") as caught:
        add(log, ["yard=rtsp://10.0.0.6/1", source])
    assert "secret" not in str(caught.value)
    assert all(first == end for first, end in log.ends(CAMERAS).values())


def test_a_variable_in_their_place_does(log: EmbeddedLog) -> None:
    add(log, ["gate=rtsp://${GATE_LOGIN}@10.0.0.5/1?token=${TOKEN}"])
    assert sources(log) == {"gate": "gate=rtsp://${GATE_LOGIN}@10.0.0.5/1?token=${TOKEN}"}


def test_a_file_is_known_by_its_whole_path(log: EmbeddedLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lobby.mp4").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    add(log, ["lobby.mp4"])
    assert sources(log) == {"lobby": f"lobby={tmp_path / 'lobby.mp4'}"}


def test_a_source_nobody_could_open_is_refused(log: EmbeddedLog) -> None:
    with pytest.raises(SettingsError, match="no such file"):
        add(log, ["nowhere.mp4"])


@pytest.mark.parametrize(("headers", "value"), [
    ({}, b'{"source":"gate=rtsp://10.0.0.5/1","segment_s":2.0}'),  # as 1.0 wrote it
    ({VERSION_HEADER: b"1.99"}, b'{"source":"gate=rtsp://10.0.0.5/1","segment_s":2.0,"colour":"red"}'),
])
def test_older_and_newer_versions_are_understood(log: EmbeddedLog, headers: dict[str, bytes], value: bytes) -> None:
    with log.transaction("another version") as transaction:
        transaction.append(CAMERAS, "gate", value, headers)
    assert known(log)["gate"] == CameraSettings(source="gate=rtsp://10.0.0.5/1", segment_s=2.0)


@pytest.mark.parametrize(("headers", "value"), [
    ({VERSION_HEADER: b"2.0"}, b'{"source":"gate=rtsp://10.0.0.5/1"}'), ({}, b"[]"), ({}, b'{"source":1}'), ({}, b"{"),
    ({}, b'{"\xff":1}')])
def test_what_is_not_understood_names_its_camera(log: EmbeddedLog, headers: dict[str, bytes], value: bytes) -> None:
    with log.transaction("another version") as transaction:
        transaction.append(CAMERAS, "gate", value, headers)
    with pytest.raises(SettingsError, match="camera gate"):
        known(log)


def test_the_version_stands_in_a_header(log: EmbeddedLog) -> None:
    add(log, ["gate=rtsp://10.0.0.5/1"])
    [record] = everything(log, CAMERAS)
    assert record.headers[VERSION_HEADER] == VERSION
