"""Which cameras the cluster watches: a topic with the newest settings of each, which capture processes share out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from operators.capture.camera import CameraSettings
from operators.capture.source import parse, redact
from operators.errors import CodecError, SettingsError
from pipeline.codec import TYPE_HEADER, VERSION, VERSION_HEADER, check_version
from pipeline.settings import VARIABLE
from pipeline.topics.base import Log, Message
from pipeline.topology import CAMERAS

WRITER = "cameras"
HEADERS = {TYPE_HEADER: b"camera", VERSION_HEADER: VERSION}


def add(log: Log, sources: Iterable[str]) -> list[str]:
    """Watch these from now on, in place of those with the same name; returns their names.

    Raises:
        SettingsError: not a source, or one with credentials in plain text.
    """
    cameras = dict(map(_checked, sources))
    with log.transaction(WRITER) as transaction:
        for name, camera in cameras.items():
            transaction.append(CAMERAS, name, msgspec.json.encode(camera), HEADERS)
    return list(cameras)


def remove(log: Log, names: Iterable[str]) -> None:
    """Watch these no more.

    Raises:
        SettingsError: there is no such camera; then none is removed.
    """
    names, there = list(names), known(log)
    if missing := [name for name in names if name not in there]:
        message = f"there is no camera {missing[0]!r}"
        raise SettingsError(message)
    with log.transaction(WRITER) as transaction:
        for name in names:
            transaction.append(CAMERAS, name, b"")


def known(log: Log) -> Mapping[str, CameraSettings]:
    """Every camera that is to be watched, by name."""
    newest: dict[str, CameraSettings | None] = {}
    for partition, (first, end) in log.ends(CAMERAS).items():
        newest |= {message.key: settings_of(message) for message in log.read(CAMERAS, partition, first, end)}
    return {name: camera for name, camera in sorted(newest.items()) if camera}


def settings_of(message: Message) -> CameraSettings | None:
    """What a record of the topic says of its camera; None: it is not to be watched.

    What a newer version has written besides is passed over, though a configuration file may not hold it.

    Raises:
        SettingsError: the record is not of ours.
    """
    if not message.value:
        return None
    try:
        if VERSION_HEADER in message.headers:  # 1.0 wrote none here
            check_version(message.headers)
        told = msgspec.json.decode(message.value, type=dict[str, Any])
        return msgspec.convert({name: told[name] for name in CameraSettings.__struct_fields__ if name in told},
                               CameraSettings)
    except (msgspec.MsgspecError, CodecError, UnicodeDecodeError) as error:
        text = f"camera {message.key}: {error}"
        raise SettingsError(text) from error


def _checked(text: str) -> tuple[str, CameraSettings]:
    bare = VARIABLE.sub("", text).replace("://@", "://")
    if redact(bare) != bare:
        message = (f"source {redact(text)!r}: the topic would show its credentials to everybody; write ${{NAME}} "
                   "instead, and set NAME in the environment of the capture processes")
        raise SettingsError(message)
    source = parse(text)
    url = source.url if source.kind != "file" else str(Path(source.url).resolve())
    return source.name, CameraSettings(source=f"{source.name}={url}")
