"""Records survive the way through a topic, damage never does, and other versions are met as promised."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.errors import CodecError
from operators.records import (
    Alert,
    AudioTrack,
    Embedding,
    Event,
    Health,
    Segment,
    Senses,
    Sentiment,
    Suppressed,
    VideoTrack,
)
from pipeline import codec
from pipeline.codec import CHECKSUM_HEADER, RECORD_HEADER, TYPE_HEADER, VERSION_HEADER, Sendable, decode, encode
from pipeline.topics.base import Message

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
times = st.integers(-2**63, 2**63 - 1)
counts = st.integers(0, 2**32)
probabilities = st.floats(0, 1)


common = {"camera": text, "session": text, "sequence": counts, "start_ns": times, "duration_ns": counts,
          "media_start_ns": st.none() | counts, "received_ns": times, "final": st.booleans()}
segments = st.builds(
    Segment, **common, continues=st.booleans(), media=st.binary(max_size=300),
    video=st.none() | st.builds(VideoTrack, text, counts, counts),
    audio=st.none() | st.builds(AudioTrack, text, counts, counts))
healths = st.builds(Health, counts, counts, counts, st.dictionaries(text, counts, max_size=3),
                    st.none() | st.floats(-100, 0), st.none() | times)
events = st.builds(
    Event, id=text, kind=st.sampled_from(["open", "update", "close"]), camera=text, session=text, label=text,
    score=probabilities, peak_score=probabilities, time_ns=times, start_ns=times, end_ns=st.none() | times,
    media_start_ns=st.none() | counts, media_end_ns=st.none() | counts, received_ns=times,
    sentiment=st.none() | st.builds(Sentiment, st.sampled_from(["negative", "neutral", "positive"]),
                                    probabilities, probabilities, probabilities),
    senses=st.builds(Senses, probabilities, probabilities))
alerts = st.builds(Alert, id=text, rule=text, created_ns=times, event=events, incident=text, escalated=st.booleans(),
                   severity=st.sampled_from(["info", "warning", "critical"]), sinks=st.lists(text).map(tuple))
held_back = st.builds(Suppressed, rule=text, reason=text, event=events, incident=text)


@st.composite
def embeddings(draw: st.DrawFn) -> Embedding:
    steps = draw(st.integers(0, 4))
    step_bytes = {"step_ns_raw": 8, "visual_raw": 2 * 5, "visual_valid_raw": 1, "acoustic_raw": 2 * 3,
                  "acoustic_valid_raw": 1}
    arrays = {name: st.binary(min_size=size * steps, max_size=size * steps) for name, size in step_bytes.items()}
    return draw(st.builds(Embedding, **common, steps=st.just(steps), health=healths, **arrays))


records = st.one_of(segments, embeddings(), events, alerts, held_back)


def message(record: Sendable) -> Message:
    value, headers = encode(record)
    return Message("topic", 3, 17, "cam", value, headers)


def resealed(sent: Message) -> Message:
    """`sent` as if whoever changed it had made it so: with a checksum that fits."""
    return replace(sent, headers={**sent.headers, CHECKSUM_HEADER: codec._checksum(sent.value, sent.headers)})


SEGMENT = Segment(camera="lobby", session="s", sequence=7, start_ns=10, duration_ns=5, media_start_ns=None,
                  received_ns=20, video=VideoTrack("h264", 768, 432), audio=None, media=b"\x1aE\xdf\xa3matroska")
EVENT = Event(id="e", kind="open", camera="lobby", session="s", label="siren", score=0.75, peak_score=1.0, time_ns=3,
              start_ns=1, end_ns=None, media_start_ns=None, media_end_ns=None, sentiment=None,
              senses=Senses(visual=0.25, acoustic=0.75))
EMBEDDING = Embedding(camera="lobby", session="s", sequence=7, start_ns=10, duration_ns=5, steps=2,
                      step_ns_raw=np.arange(2, dtype="<i8").tobytes(),
                      visual_raw=np.ones((2, 4), "<f2").tobytes(), visual_valid_raw=b"\x01\x00",
                      acoustic_raw=np.ones((2, 3), "<f2").tobytes(), acoustic_valid_raw=b"\x01\x01", health=Health())
ALERT = Alert(id="a", rule="sirens", created_ns=4, event=EVENT)
SUPPRESSED = Suppressed(rule="sirens", reason="grouped", event=EVENT, incident="a")


@given(records)
def test_a_record_comes_back_as_it_went(record: Sendable) -> None:
    assert decode(message(record)) == record


def test_a_segments_value_is_the_media_itself() -> None:
    assert message(SEGMENT).value == SEGMENT.media
    assert len(message(SEGMENT).headers[RECORD_HEADER]) < 300


@pytest.mark.parametrize("record", [EVENT, ALERT, SUPPRESSED])
def test_events_and_alerts_are_json(record: Sendable) -> None:
    assert msgspec.convert(msgspec.json.decode(message(record).value), type(record)) == record


@pytest.mark.parametrize("record", [SEGMENT, EMBEDDING, EVENT, ALERT, SUPPRESSED])
class TestDamage:
    def test_every_flipped_bit_is_noticed(self, record: Sendable) -> None:
        sent = message(record)
        for bit in range(8 * len(sent.value)):
            with pytest.raises(CodecError, match="topic topic, partition 3, offset 17"):
                decode(replace(sent, value=flipped(sent.value, bit)))
        for name, content in sent.headers.items():
            for bit in range(8 * len(content)):
                with pytest.raises(CodecError):
                    decode(replace(sent, headers={**sent.headers, name: flipped(content, bit)}))

    def test_every_truncation_is_noticed(self, record: Sendable) -> None:
        sent = message(record)
        for length in range(len(sent.value)):
            with pytest.raises(CodecError):
                decode(replace(sent, value=sent.value[:length]))

    def test_every_missing_header_is_noticed(self, record: Sendable) -> None:
        sent = message(record)
        for name in sent.headers:
            with pytest.raises(CodecError):
                decode(replace(sent, headers={key: value for key, value in sent.headers.items() if key != name}))

    def test_another_type_is_noticed(self, record: Sendable) -> None:
        sent = message(record)
        for name in (b"segment", b"embedding", b"event", b"alert"):
            if name != sent.headers[TYPE_HEADER]:
                with pytest.raises(CodecError):
                    decode(resealed(replace(sent, headers={**sent.headers, TYPE_HEADER: name})))


@pytest.mark.parametrize("wrong", [
    {"steps": 3}, {"steps": 0}, {"steps": -1}, {"step_ns_raw": b""}, {"visual_raw": b"odd"}, {"acoustic_raw": b"x"},
    {"visual_valid_raw": b"\1"}, {"acoustic_valid_raw": b"\1\1\1"}])
def test_an_embedding_whose_arrays_do_not_fit_is_refused(wrong: dict[str, int | bytes]) -> None:
    with pytest.raises(CodecError, match="steps"):
        decode(message(msgspec.structs.replace(EMBEDDING, **wrong)))


@given(records, st.data())
def test_what_another_program_writes_is_a_record_or_a_codec_error(record: Sendable, data: st.DataObject) -> None:
    sent = message(record)
    headers = {name: data.draw(near(content)) for name, content in sent.headers.items()}
    try:
        decoded = decode(resealed(replace(sent, value=data.draw(near(sent.value)), headers=headers)))
    except CodecError:
        return
    if isinstance(decoded, Embedding):
        assert len(decoded.visual) == len(decoded.acoustic_valid) == len(decoded.step_ns) == decoded.steps


def near(content: bytes) -> st.SearchStrategy[bytes]:
    """`content`, or nearly, or something else."""
    if not content:
        return st.binary(max_size=3)
    bits = st.integers(0, 8 * len(content) - 1)
    return st.just(content) | st.binary(max_size=30) | st.builds(
        flipped, st.just(content), bits) | st.builds(lambda bit: content[:bit // 8], bits)


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


# Never to be changed: logs out there hold such bytes.
WRITTEN_BY_1_0: dict[bytes, tuple[Sendable, bytes, bytes, bytes]] = {  # type: record, value, its header, checksum
    b"segment": (
        SEGMENT, b"\x1aE\xdf\xa3matroska",
        b"\x8d\xa6camera\xa5lobby\xa7session\xa1s\xa8sequence\x07\xa8start_ns\n\xabduration_ns\x05"
        b"\xaemedia_start_ns\xc0\xabreceived_ns\x14\xa5final\xc2\xa5video\x83\xa5codec\xa4h264\xa5width\xcd\x03\x00"
        b"\xa6height\xcd\x01\xb0\xa5audio\xc0\xa9continues\xc2\xa9continued\xc2\xa5media\xc4\x00", b"4887941d"),
    b"embedding": (
        EMBEDDING,
        b"\x8f\xa6camera\xa5lobby\xa7session\xa1s\xa8sequence\x07\xa8start_ns\n\xabduration_ns\x05"
        b"\xaemedia_start_ns\xc0\xabreceived_ns\x00\xa5final\xc2\xa5steps\x02"
        b"\xabstep_ns_raw\xc4\x10\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00"
        b"\xaavisual_raw\xc4\x10\x00<\x00<\x00<\x00<\x00<\x00<\x00<\x00<\xb0visual_valid_raw\xc4\x02\x01\x00"
        b"\xacacoustic_raw\xc4\x0c\x00<\x00<\x00<\x00<\x00<\x00<\xb2acoustic_valid_raw\xc4\x02\x01\x01"
        b"\xa6health\x86\xa6frames\x00\xa7sampled\x00\xaddecode_errors\x00\xa4shed\x80\xaalevel_dbfs\xc0\xa7skew_ns\xc0",
        b"", b"fc5aec74"),
    b"event": (
        EVENT,
        b'{"id":"e","kind":"open","camera":"lobby","session":"s","label":"siren","score":0.75,"peak_score":1.0,'
        b'"time_ns":3,"start_ns":1,"end_ns":null,"media_start_ns":null,"media_end_ns":null,"sentiment":null,'
        b'"senses":{"visual":0.25,"acoustic":0.75},"received_ns":0}', b"", b"cef4ba17"),
    b"alert": (
        ALERT,
        b'{"id":"a","rule":"sirens","created_ns":4,"event":{"id":"e","kind":"open","camera":"lobby","session":"s",'
        b'"label":"siren","score":0.75,"peak_score":1.0,"time_ns":3,"start_ns":1,"end_ns":null,"media_start_ns":null,'
        b'"media_end_ns":null,"sentiment":null,"senses":{"visual":0.25,"acoustic":0.75},"received_ns":0}}',
        b"", b"7026e736"),
}


class TestVersions:
    @pytest.mark.parametrize("name", WRITTEN_BY_1_0)
    def test_what_1_0_wrote_is_readable(self, name: bytes) -> None:
        record, value, fields, checksum = WRITTEN_BY_1_0[name]
        headers = {TYPE_HEADER: name, VERSION_HEADER: b"1.0", CHECKSUM_HEADER: checksum}
        assert decode(Message("topic", 0, 0, "lobby", value, {**headers, RECORD_HEADER: fields})) == record

    def test_a_newer_minor_version_is_read_without_what_it_added(self) -> None:
        sent = message(EVENT)
        newer = msgspec.json.encode({**msgspec.json.decode(sent.value), "weather": "rain"})
        headers = {**sent.headers, VERSION_HEADER: b"1.99"}
        assert decode(resealed(replace(sent, value=newer, headers=headers))) == EVENT

    def test_an_older_one_is_read_with_defaults(self) -> None:
        sent = message(EVENT)
        older = msgspec.json.decode(sent.value)
        del older["received_ns"]
        assert decode(resealed(replace(sent, value=msgspec.json.encode(older)))) == EVENT

    @pytest.mark.parametrize("version", [b"2.0", b"0.9", b"", b"1", b"one", b"1.0.0", b"\xff", b"1.\xd9\xa1"])
    def test_an_unknown_major_version_is_refused(self, version: bytes) -> None:
        sent = message(EVENT)
        with pytest.raises(CodecError, match="topic topic, partition 3, offset 17.*version"):
            decode(resealed(replace(sent, headers={**sent.headers, VERSION_HEADER: version})))

    def test_an_unknown_type_is_refused(self) -> None:
        sent = message(EVENT)
        with pytest.raises(CodecError, match="type is weather"):
            decode(resealed(replace(sent, headers={**sent.headers, TYPE_HEADER: b"weather"})))
