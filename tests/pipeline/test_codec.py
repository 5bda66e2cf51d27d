"""Records survive the way through a topic, damage never does, and other versions are met as promised."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.errors import CodecError
from operators.records import (
    LAYOUT,
    Alert,
    AudioTrack,
    Embedding,
    Event,
    Health,
    Look,
    Segment,
    Senses,
    Sentiment,
    Suppressed,
    VideoTrack,
)
from pipeline import codec
from pipeline.codec import (
    CHECKSUM_HEADER,
    RECEIVED_HEADER,
    RECORD_HEADER,
    TYPE_HEADER,
    Sendable,
    arrived_ns,
    decode,
    encode,
)
from pipeline.topics.base import Message

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
times = st.integers(-2**63, 2**63 - 1)
counts = st.integers(0, 2**32)
probabilities = st.floats(0, 1)


common = {"camera": text, "session": text, "sequence": counts, "start_ns": times, "duration_ns": counts,
          "media_start_ns": st.none() | counts, "received_ns": times, "final": st.booleans()}
segments = st.builds(
    Segment, **common, continues=st.booleans(), stopped=st.booleans(), ahead_ns=st.none() | times,
    sound_late_ns=st.none() | times, media=st.binary(max_size=300),
    video=st.none() | st.builds(VideoTrack, text, counts, counts),
    audio=st.none() | st.builds(AudioTrack, text, counts, counts))
looks = st.builds(Look, time_ns=times, width_px=counts, height_px=counts, luma=probabilities, grain=probabilities,
                  detail=probabilities, change=st.none() | probabilities,
                  layout=st.integers(0, 144).map(lambda level: bytes([level]) * (LAYOUT[0] * LAYOUT[1])))
healths = st.builds(Health, counts, counts, counts, st.dictionaries(text, counts, max_size=3),
                    st.none() | st.floats(-100, 0), st.none() | times, looks=st.lists(looks, max_size=2).map(tuple),
                    late_ns=st.none() | times, ahead_ns=st.none() | times, sound_late_ns=st.none() | times,
                    stopped=st.booleans())
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


def test_when_the_media_arrived_stands_in_a_header_of_every_record() -> None:
    arrived = msgspec.structs.replace(EVENT, received_ns=77)
    assert message(SEGMENT).headers[RECEIVED_HEADER] == b"20"
    assert message(arrived).headers[RECEIVED_HEADER] == b"77"
    for record in (msgspec.structs.replace(ALERT, event=arrived), msgspec.structs.replace(SUPPRESSED, event=arrived)):
        assert message(record).headers[RECEIVED_HEADER] == b"77"


@pytest.mark.parametrize("header", [b"", b"soon", b"-1", b"9" * 5000])
def test_an_arrival_that_makes_no_sense_is_unknown(header: bytes) -> None:
    assert arrived_ns({RECEIVED_HEADER: header}) == 0
    assert arrived_ns({}) == 0


def test_a_segment_knows_since_when_it_lies_in_the_log_and_tells_nobody() -> None:
    decoded = decode(replace(message(SEGMENT), timestamp_ns=99))
    assert decoded == msgspec.structs.replace(SEGMENT, queued_ns=99)
    assert message(decoded) == message(SEGMENT)


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
            for bit in range(8 * len(content) if name != RECEIVED_HEADER else 0):
                with pytest.raises(CodecError):
                    decode(replace(sent, headers={**sent.headers, name: flipped(content, bit)}))

    def test_every_truncation_is_noticed(self, record: Sendable) -> None:
        sent = message(record)
        for length in range(len(sent.value)):
            with pytest.raises(CodecError):
                decode(replace(sent, value=sent.value[:length]))

    def test_every_missing_header_is_noticed(self, record: Sendable) -> None:
        sent = message(record)
        for name in sent.headers.keys() - {RECEIVED_HEADER}:
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


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine draws slowly
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


LEARNS_NOTHING = """
import msgspec._utils
from pipeline import codec
from pipeline.workers import capture, in_hand, operator_state
from tests.pipeline.test_codec import ALERT, EMBEDDING, EVENT, SEGMENT, SUPPRESSED, message

def learn(*_): raise AssertionError("a type is learnt at its first use, by whichever threads come first")

msgspec._utils._get_class_mro_and_typevar_mappings = learn  # which all learning goes through
for record in (SEGMENT, EMBEDDING, EVENT, ALERT, SUPPRESSED):
    assert codec.decode(message(record)) == record
for decoder in (operator_state._KEPT, in_hand._NOTES, capture._POSITION):
    try:
        decoder.decode(bytes([0x80]))
    except msgspec.ValidationError:
        pass
"""


def test_threads_may_be_the_first_to_decode_at_once() -> None:
    """Two that were, crashed the process: msgspec takes a half learnt type for a whole one."""
    done = subprocess.run([sys.executable, "-c", LEARNS_NOTHING], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
