"""Version 1.0 of the records and their bytes, as it was released: never to be changed, only to be read by tests.

It stands for the other side of a rolling upgrade: a consumer or a producer that is one version older.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import msgspec
from crc32c import crc32c

from operators.errors import CodecError
from pipeline.topics.base import Message


class Record(msgspec.Struct, frozen=True, kw_only=True):
    camera: str
    session: str
    sequence: int
    start_ns: int
    duration_ns: int
    media_start_ns: int | None = None
    received_ns: int = 0
    final: bool = False


class VideoTrack(msgspec.Struct, frozen=True):
    codec: str
    width: int
    height: int


class AudioTrack(msgspec.Struct, frozen=True):
    codec: str
    sample_rate_hz: int
    channels: int


class Segment(Record, frozen=True, kw_only=True):
    video: VideoTrack | None
    audio: AudioTrack | None
    continues: bool = False
    continued: bool = False
    media: bytes = b""


class Health(msgspec.Struct, frozen=True):
    frames: int = 0
    sampled: int = 0
    decode_errors: int = 0
    shed: dict[str, int] = {}
    level_dbfs: float | None = None
    skew_ns: int | None = None


class Embedding(Record, frozen=True, kw_only=True):
    steps: int
    step_ns_raw: bytes
    visual_raw: bytes
    visual_valid_raw: bytes
    acoustic_raw: bytes
    acoustic_valid_raw: bytes
    health: Health


class Sentiment(msgspec.Struct, frozen=True):
    label: Literal["negative", "neutral", "positive"]
    negative: float
    neutral: float
    positive: float


class Senses(msgspec.Struct, frozen=True):
    visual: float
    acoustic: float


class Event(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    kind: Literal["open", "update", "close"]
    camera: str
    session: str
    label: str
    score: float
    peak_score: float
    time_ns: int
    start_ns: int
    end_ns: int | None
    media_start_ns: int | None
    media_end_ns: int | None
    sentiment: Sentiment | None
    senses: Senses
    received_ns: int = 0


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    rule: str
    created_ns: int
    event: Event


Sendable = Segment | Embedding | Event | Alert
TYPES: dict[bytes, type[Sendable]] = {b"segment": Segment, b"embedding": Embedding, b"event": Event, b"alert": Alert}


def encode(record: Sendable) -> tuple[bytes, dict[str, bytes]]:
    name = next(name for name, kind in TYPES.items() if kind is type(record))
    headers = {"lookout-type": name, "lookout-version": b"1.0"}
    if isinstance(record, Segment):
        value = record.media
        headers["lookout-record"] = msgspec.msgpack.encode(msgspec.structs.replace(record, media=b""))
    else:
        value = (msgspec.msgpack if name == b"embedding" else msgspec.json).encode(record)
    return value, headers | {"lookout-crc32c": checksum(value, headers)}


def decode(message: Message) -> Sendable:
    version = re.fullmatch(rb"(\d{1,9})\.\d{1,9}", message.headers.get("lookout-version", b""))
    kind = TYPES.get(message.headers.get("lookout-type", b""))
    if version is None or int(version[1]) != 1 or kind is None:
        text = "of another version or type"
        raise CodecError(text)
    if message.headers.get("lookout-crc32c") != checksum(message.value, message.headers):
        text = "damaged"
        raise CodecError(text)
    if kind is Segment:
        fields = msgspec.msgpack.decode(message.headers.get("lookout-record", b""), type=Segment)
        return msgspec.structs.replace(fields, media=message.value)
    if kind is Embedding:
        return msgspec.msgpack.decode(message.value, type=Embedding)
    return msgspec.json.decode(message.value, type=kind)


def checksum(value: bytes, headers: Mapping[str, bytes]) -> bytes:
    found = crc32c(value)
    for name in ("lookout-type", "lookout-version", "lookout-record"):
        content = headers.get(name, b"")
        found = crc32c(content, crc32c(len(content).to_bytes(4, "big"), found))
    return b"%08x" % found
