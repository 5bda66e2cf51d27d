"""Records as bytes, versioned: older and newer minor versions are readable, damage never goes unnoticed.

    type        value in the topic
    segment     the Matroska file itself, so that `kcat -C -t segments -c1 | ffplay -` plays it; its other
                fields are msgpack in the header `lookout-record`
    embedding   msgpack
    event       JSON, for people to read
    alert       JSON
    suppressed  JSON

Every record has the headers `lookout-type`, `lookout-version` (`major.minor`) and `lookout-crc32c`, over
value and these headers; beside them `lookout-received-ns` says, to whoever reads no records, when the media
that caused it arrived. A minor version adds fields that have a default: older readers pass over them, newer
readers do without them. A major version changes what is there: older readers refuse it.

    1.1     `suppressed`; health says what was skipped; alerts say incident, severity, and whom to tell; the
            arrival stands in a header
    1.2     health tells of pictures (`looks`), of lateness and of the camera's clock; who ends watching says so
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
from crc32c import crc32c

from operators.errors import CodecError
from operators.records import LAYOUT, Alert, Embedding, Event, Segment, Suppressed
from pipeline.topics.base import Message

Sendable = Segment | Embedding | Event | Alert | Suppressed

MAJOR, MINOR = 1, 2
VERSION = b"%d.%d" % (MAJOR, MINOR)
TYPE_HEADER = "lookout-type"
VERSION_HEADER = "lookout-version"
RECORD_HEADER = "lookout-record"
CHECKSUM_HEADER = "lookout-crc32c"
RECEIVED_HEADER = "lookout-received-ns"

_CHECKED_HEADERS = (TYPE_HEADER, VERSION_HEADER, RECORD_HEADER)
_NANOSECONDS = re.compile(rb"\d{1,19}")
_VERSION = re.compile(rb"(\d{1,9})\.\d{1,9}")

# Made here, by one thread: msgspec learns a type at its first use, and crashes where two threads are the first at once.
_SEGMENT, _EMBEDDING = msgspec.msgpack.Decoder(Segment), msgspec.msgpack.Decoder(Embedding)
_EVENT, _ALERT, _SUPPRESSED = (msgspec.json.Decoder(Event), msgspec.json.Decoder(Alert),
                               msgspec.json.Decoder(Suppressed))


def encode(record: Sendable) -> tuple[bytes, dict[str, bytes]]:
    """The value and the headers under which `record` goes into a topic."""
    name = _NAMES[type(record)]
    value, headers = _FORMS[name].encode(record)
    headers |= {TYPE_HEADER: name, VERSION_HEADER: VERSION}
    headers[CHECKSUM_HEADER] = _checksum(value, headers)
    headers[RECEIVED_HEADER] = b"%d" % received_ns(record)
    return value, headers


def decode(message: Message) -> Sendable:
    """The record that `encode` made these bytes of.

    Raises:
        CodecError: they are damaged, made by something else, or of a major version not known here; names
            topic, partition and offset.
    """
    try:
        form = _form(message.headers)
        if message.headers.get(CHECKSUM_HEADER) != _checksum(message.value, message.headers):
            text = "the record is damaged: its checksum does not fit"
            raise CodecError(text)
        record = form.decode(message.value, message.headers)
    except (CodecError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        text = f"topic {message.topic}, partition {message.partition}, offset {message.offset}: {error}"
        raise CodecError(text) from error
    return msgspec.structs.replace(record, queued_ns=message.timestamp_ns) if isinstance(record, Segment) else record


def received_ns(record: Sendable) -> int:
    """When the media that caused the record arrived; 0: unknown."""
    return record.event.received_ns if isinstance(record, Alert | Suppressed) else record.received_ns


def arrived_ns(headers: Mapping[str, bytes]) -> int:
    """When the media arrived, by the headers alone; 0: they do not say."""
    found = headers.get(RECEIVED_HEADER, b"")
    return int(found) if _NANOSECONDS.fullmatch(found) else 0


def check_version(headers: Mapping[str, bytes]) -> None:
    """Refuse, by a CodecError, a record of a major version that is not known here."""
    version = _VERSION.fullmatch(headers.get(VERSION_HEADER, b""))
    if version is None or int(version[1]) != MAJOR:
        found = headers.get(VERSION_HEADER, b"none").decode(errors="replace")
        text = f"the record's version is {found}; this Lookout reads {MAJOR}.x"
        raise CodecError(text)


class _Form(NamedTuple):
    """How one type of record stands in a topic."""

    encode: Callable[[Any], tuple[bytes, dict[str, bytes]]]
    decode: Callable[[bytes, Mapping[str, bytes]], Sendable]


def _form(headers: Mapping[str, bytes]) -> _Form:
    """The form that the headers name, if it is one known here."""
    check_version(headers)
    if (form := _FORMS.get(headers.get(TYPE_HEADER, b""))) is None:
        found = headers.get(TYPE_HEADER, b"none").decode(errors="replace")
        text = f"the record's type is {found}, which is not known here"
        raise CodecError(text)
    return form


def _checksum(value: bytes, headers: Mapping[str, bytes]) -> bytes:
    """CRC-32C, as 8 hexadecimal digits, over the value and each header with its length before it."""
    checksum = crc32c(value)
    for name in _CHECKED_HEADERS:
        content = headers.get(name, b"")
        checksum = crc32c(content, crc32c(len(content).to_bytes(4, "big"), checksum))
    return b"%08x" % checksum


def _encode_segment(segment: Segment) -> tuple[bytes, dict[str, bytes]]:
    fields = msgspec.structs.replace(segment, media=b"", queued_ns=0)
    return segment.media, {RECORD_HEADER: msgspec.msgpack.encode(fields)}


def _decode_segment(value: bytes, headers: Mapping[str, bytes]) -> Segment:
    fields = _SEGMENT.decode(headers.get(RECORD_HEADER, b""))
    return msgspec.structs.replace(fields, media=value)


def _decode_embedding(value: bytes, headers: Mapping[str, bytes]) -> Embedding:
    """Checks the arrays' sizes, so that the properties which read them cannot fail."""
    embedding = _EMBEDDING.decode(value)
    steps = embedding.steps
    whole_rows = all(len(raw) % (2 * steps) == 0 if steps > 0 else not raw
                     for raw in (embedding.visual_raw, embedding.acoustic_raw))
    per_step = (len(embedding.step_ns_raw) == 8 * steps
                and len(embedding.visual_valid_raw) == len(embedding.acoustic_valid_raw) == steps)
    if any(len(look.layout) != LAYOUT[0] * LAYOUT[1] for look in embedding.health.looks):
        text = f"a look's layout does not have its {LAYOUT[0]} x {LAYOUT[1]} parts"
        raise CodecError(text)
    if not (whole_rows and per_step):
        text = f"the embedding's arrays do not have its {steps} steps"
        raise CodecError(text)
    return embedding


_FORMS: dict[bytes, _Form] = {
    b"segment": _Form(_encode_segment, _decode_segment),
    b"embedding": _Form(lambda record: (msgspec.msgpack.encode(record), {}), _decode_embedding),
    b"event": _Form(lambda record: (msgspec.json.encode(record), {}),
                    lambda value, headers: _EVENT.decode(value)),
    b"alert": _Form(lambda record: (msgspec.json.encode(record), {}),
                    lambda value, headers: _ALERT.decode(value)),
    b"suppressed": _Form(lambda record: (msgspec.json.encode(record), {}),
                         lambda value, headers: _SUPPRESSED.decode(value)),
}
_NAMES: dict[type[Sendable], bytes] = {
    Segment: b"segment", Embedding: b"embedding", Event: b"event", Alert: b"alert", Suppressed: b"suppressed"}
