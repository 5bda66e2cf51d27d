"""What is put is there as a whole or not at all, goes by age and size, and nothing else is ever touched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from operators.clock import NS_PER_S
from operators.errors import SettingsError, StorageError
from operators.evidence.settings import EvidenceSettings
from operators.evidence.store import RECORD, Store

ONE, OTHER, THIRD = "1" * 32, "2" * 32, "3" * 32
DAY_S = 86_400


@pytest.fixture(params=["folder", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "evidence") if request.param == "folder" else f"memory://{uuid4().hex}/evidence"


def a_store(url: str, **fields: Any) -> Store:
    return Store(EvidenceSettings(url=url, **fields))


def put(store: Store, event_id: str, folder: Path, content: bytes = b"x" * 1000,
        names: tuple[str, ...] = ("clip.mp4", RECORD)) -> None:
    for name in names:
        (folder / name).write_bytes(content)
        store.put(event_id, folder / name)


def test_what_is_put_can_be_read_from_any_place(url: str, tmp_path: Path) -> None:
    store = a_store(url)
    assert not store.has(ONE)
    assert store.find(ONE, "clip") is None
    put(store, ONE, tmp_path, b"0123456789")
    assert store.has(ONE)
    assert store.find(ONE, "clip") == ("clip.mp4", 10)
    assert store.find(ONE, "snapshot") is None
    with store.open(ONE, "clip.mp4") as file:
        file.seek(7)
        assert file.read(2) == b"78"
    put(store, ONE, tmp_path, b"again")  # making it a second time
    assert store.find(ONE, "clip") == ("clip.mp4", 5)


def test_a_name_appears_only_when_the_file_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = a_store(str(tmp_path / "kept"))
    (tmp_path / "clip.mp4").write_bytes(b"all of it")

    def die(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr(type(store._files), "mv", die)
    with pytest.raises(StorageError):
        store.put(ONE, tmp_path / "clip.mp4")
    assert store.find(ONE, "clip") is None
    assert [path.name for path in (tmp_path / "kept" / ONE).iterdir()] == ["clip.mp4.part"]


def test_what_is_too_much_goes_oldest_first(url: str, tmp_path: Path) -> None:
    store = a_store(url, keep_bytes=2**20)
    for event_id in (ONE, OTHER, THIRD):
        put(store, event_id, tmp_path, b"x" * 300_000)
    assert store.kept_bytes == 1_800_000
    assert store.full
    assert store.sweep(0) == 2
    assert [store.has(event_id) for event_id in (ONE, OTHER, THIRD)] == [False, False, True]
    assert store.kept_bytes == 600_000
    assert not store.full
    assert a_store(url).sweep(0) == 0


def test_what_is_too_old_goes_and_nothing_that_is_not_ours(tmp_path: Path) -> None:
    root = tmp_path / "evidence"
    store = a_store(str(root), keep_days=2)
    for event_id, age_days in ((ONE, 3), (OTHER, 1)):
        put(store, event_id, tmp_path)
        for file in (root / event_id).iterdir():
            os.utime(file, (10 * DAY_S - age_days * DAY_S,) * 2)
    others = [root / "notes.txt", root / ONE / "mine.txt", root / "holiday" / "clip.mp4", root / ("f" * 31) / "why.png"]
    for file in others:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"x" * 1000)
        os.utime(file, (0, 0))
    (root / ONE / "why.png.part").write_bytes(b"left behind by a process that died")
    os.utime(root / ONE / "why.png.part", (0, 0))
    assert store.sweep(10 * DAY_S * NS_PER_S) == 1
    assert (store.has(ONE), store.has(OTHER)) == (False, True)
    assert all(file.exists() for file in others)
    assert sorted(file.name for file in (root / ONE).iterdir()) == ["mine.txt"]
    assert store.kept_bytes == 2000


def test_there_may_be_nothing_to_sweep(url: str) -> None:
    assert a_store(url).sweep(0) == 0


@pytest.mark.parametrize(("event_id", "name"), [("../" * 4, "clip.mp4"), (ONE, "../../passwd"), ("", "clip.mp4"),
                                                (ONE.upper().replace("1", "A"), "clip.mp4"), (ONE, "secret.txt")])
def test_no_other_name_can_be_asked_for(event_id: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no evidence has such a name"):
        a_store(str(tmp_path)).open(event_id, name)


def test_a_place_that_cannot_be_is_said_and_one_that_fails_is_an_error_without_its_password(
        tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^evidence\.url: ValueError: Protocol not known: nowhere$"):
        a_store("nowhere://bucket")
    (tmp_path / "hunter2").write_text("a file, no folder")
    store = a_store(str(tmp_path / "hunter2"))
    (tmp_path / "clip.mp4").write_bytes(b"x")
    with pytest.raises(StorageError) as caught:
        store.put(ONE, tmp_path / "clip.mp4")
    assert "hunter2" not in str(caught.value)
    assert caught.value.retriable


