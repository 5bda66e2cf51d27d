"""Old and new versions of Lookout read each other's records: bytes of each version, kept for ever."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from operators.errors import CodecError
from operators.records import LAYOUT, Health, Look
from pipeline.codec import CHECKSUM_HEADER, MAJOR, MINOR, RECORD_HEADER, TYPE_HEADER, VERSION_HEADER, Sendable, decode
from pipeline.codec import encode as encode_now
from pipeline.topics.base import Message
from tests.pipeline import codec_1_0
from tests.pipeline.test_codec import ALERT, EMBEDDING, EVENT, SEGMENT, SUPPRESSED, message, resealed

Written = dict[bytes, tuple[Sendable, bytes, bytes, bytes]]  # by type: record, value, its header, checksum

# Never to be changed: logs out there hold such bytes.
WRITTEN_BY_1_0: Written = {
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

# As above.
WRITTEN_BY_1_1: Written = {
    b"segment": (
        SEGMENT,
        b"\x1aE\xdf\xa3matroska",
        b"\x8e\xa6camera\xa5lobby\xa7session\xa1s\xa8sequence\x07\xa8start_ns\n\xabduration_ns\x05\xaemedia_sta"
        b"rt_ns\xc0\xabreceived_ns\x14\xa5final\xc2\xa5video\x83\xa5codec\xa4h264\xa5width\xcd\x03\x00\xa6heigh"
        b"t\xcd\x01\xb0\xa5audio\xc0\xa9continues\xc2\xa9continued\xc2\xa5media\xc4\x00\xa9queued_ns\x00", b"226dc64c"),
    b"embedding": (
        msgspec.structs.replace(EMBEDDING, health=Health(frames=25, shed={"overload": 25}, skipped="overload")),
        b"\x8f\xa6camera\xa5lobby\xa7session\xa1s\xa8sequence\x07\xa8start_ns\n\xabduration_ns\x05\xaemedia_sta"
        b"rt_ns\xc0\xabreceived_ns\x00\xa5final\xc2\xa5steps\x02\xabstep_ns_raw\xc4\x10\x00\x00\x00\x00\x00\x00"
        b"\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xaavisual_raw\xc4\x10\x00<\x00<\x00<\x00<\x00<\x00<\x00<\x00"
        b"<\xb0visual_valid_raw\xc4\x02\x01\x00\xacacoustic_raw\xc4\x0c\x00<\x00<\x00<\x00<\x00<\x00<\xb2acoust"
        b"ic_valid_raw\xc4\x02\x01\x01\xa6health\x87\xa6frames\x19\xa7sampled\x00\xaddecode_errors\x00\xa4shed"
        b"\x81\xa8overload\x19\xaalevel_dbfs\xc0\xa7skew_ns\xc0\xa7skipped\xa8overload",
        b"", b"1ffd9cc6"),
    b"event": (
        EVENT,
        b'{"id":"e","kind":"open","camera":"lobby","session":"s","label":"siren","score":0.75,"peak_score":1.0,'
        b'"time_ns":3,"start_ns":1,"end_ns":null,"media_start_ns":null,"media_end_ns":null,"sentiment":null,"se'
        b'nses":{"visual":0.25,"acoustic":0.75},"received_ns":0}',
        b"", b"f6e5d5bb"),
    b"alert": (
        msgspec.structs.replace(ALERT, severity="critical", incident="i", escalated=True, sinks=("guard",),
                                replayed=True),
        b'{"id":"a","rule":"sirens","created_ns":4,"event":{"id":"e","kind":"open","camera":"lobby","session":"'
        b's","label":"siren","score":0.75,"peak_score":1.0,"time_ns":3,"start_ns":1,"end_ns":null,"media_start_'
        b'ns":null,"media_end_ns":null,"sentiment":null,"senses":{"visual":0.25,"acoustic":0.75},"received_ns":'
        b'0},"severity":"critical","incident":"i","escalated":true,"sinks":["guard"],"replayed":true}',
        b"", b"ee046273"),
    b"suppressed": (
        SUPPRESSED,
        b'{"rule":"sirens","reason":"grouped","event":{"id":"e","kind":"open","camera":"lobby","session":"s","l'
        b'abel":"siren","score":0.75,"peak_score":1.0,"time_ns":3,"start_ns":1,"end_ns":null,"media_start_ns":n'
        b'ull,"media_end_ns":null,"sentiment":null,"senses":{"visual":0.25,"acoustic":0.75},"received_ns":0},"i'
        b'ncident":"a"}',
        b"", b"b35a0d3b"),
}

LOOK = Look(time_ns=5, width_px=768, height_px=432, luma=128.0, grain=1.5, detail=0.25, change=0.5,
            layout=bytes(LAYOUT[0] * LAYOUT[1]))

# As above; events and alerts are what they were, under another version.
WRITTEN_BY_1_2: Written = {
    b"segment": (
        msgspec.structs.replace(SEGMENT, stopped=True, ahead_ns=-7, sound_late_ns=9),
        b"\x1aE\xdf\xa3matroska",
        b"\xde\x00\x11\xa6camera\xa5lobby\xa7session\xa1s\xa8sequence\x07\xa8start_ns\n\xabduration_ns\x05"
        b"\xaemedia_start_ns\xc0\xabreceived_ns\x14\xa5final\xc2\xa5video\x83\xa5codec\xa4h264\xa5width\xcd"
        b"\x03\x00\xa6height\xcd\x01\xb0\xa5audio\xc0\xa9continues\xc2\xa9continued\xc2\xa7stopped\xc3\xa8ah"
        b"ead_ns\xf9\xadsound_late_ns\x09\xa5media\xc4\x00\xa9queued_ns\x00", b"70ba1cd4"),
    b"embedding": (
        msgspec.structs.replace(EMBEDDING, health=Health(frames=25, looks=(LOOK,), late_ns=8, ahead_ns=-7,
                                                         sound_late_ns=9, stopped=True)),
        b"\x8f\xa6camera\xa5lobby\xa7session\xa1s\xa8sequence\x07\xa8start_ns\n\xabduration_ns\x05\xaemedia_"
        b"start_ns\xc0\xabreceived_ns\x00\xa5final\xc2\xa5steps\x02\xabstep_ns_raw\xc4\x10\x00\x00\x00\x00\x00"
        b"\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xaavisual_raw\xc4\x10\x00<\x00<\x00<\x00<\x00<"
        b"\x00<\x00<\x00<\xb0visual_valid_raw\xc4\x02\x01\x00\xacacoustic_raw\xc4\x0c\x00<\x00<\x00<\x00<"
        b"\x00<\x00<\xb2acoustic_valid_raw\xc4\x02\x01\x01\xa6health\x8c\xa6frames\x19\xa7sampled\x00\xaddec"
        b"ode_errors\x00\xa4shed\x80\xaalevel_dbfs\xc0\xa7skew_ns\xc0\xa7skipped\xa0\xa5looks\x91\x88\xa7tim"
        b"e_ns\x05\xa8width_px\xcd\x03\x00\xa9height_px\xcd\x01\xb0\xa4luma\xcb@`\x00\x00\x00\x00\x00\x00"
        b"\xa5grain\xcb?\xf8\x00\x00\x00\x00\x00\x00\xa6detail\xcb?\xd0\x00\x00\x00\x00\x00\x00\xa6change"
        b"\xcb?\xe0\x00\x00\x00\x00\x00\x00"
        b"\xa6layout\xc5\x02@" + LOOK.layout + b"\xa7late_ns\x08\xa8ahead_ns\xf9"
        b"\xadsound_late_ns\x09\xa7stopped\xc3",
        b"", b"2bc469f9"),
    b"event": (*WRITTEN_BY_1_1[b"event"][:3], b"bed6654f"),
    b"alert": (*WRITTEN_BY_1_1[b"alert"][:3], b"a637d287"),
    b"suppressed": (*WRITTEN_BY_1_1[b"suppressed"][:3], b"fb69bdcf"),
}

NEWEST = b"%d.%d" % (MAJOR, MINOR)
WRITTEN = {b"1.0": WRITTEN_BY_1_0, b"1.1": WRITTEN_BY_1_1, b"1.2": WRITTEN_BY_1_2}
KEPT = [(version, name) for version, written in WRITTEN.items() for name in written]
RECORDS = (SEGMENT, EMBEDDING, EVENT, ALERT, SUPPRESSED)


def stored(version: bytes, name: bytes, value: bytes, fields: bytes, checksum: bytes) -> Message:
    return Message("topic", 0, 0, "lobby", value, {
        TYPE_HEADER: name, VERSION_HEADER: version, CHECKSUM_HEADER: checksum, RECORD_HEADER: fields})


def matches(older: object, newer: object) -> bool:
    """Whether `older` says the same, of what it knows at all."""
    if isinstance(older, dict) and isinstance(newer, dict):
        return all(matches(value, newer[name]) for name, value in older.items())
    return older == newer


class TestVersions:
    @pytest.mark.parametrize(("version", "name"), KEPT)
    def test_what_was_ever_written_is_readable(self, version: bytes, name: bytes) -> None:
        record, value, fields, checksum = WRITTEN[version][name]
        assert decode(stored(version, name, value, fields, checksum)) == record

    def test_the_bytes_of_this_version_are_kept_too(self) -> None:
        written = WRITTEN[NEWEST]
        assert written.keys() == {encode_now(record)[1][TYPE_HEADER] for record in RECORDS}
        for record, value, fields, checksum in written.values():
            now, headers = encode_now(record)
            assert (now, headers.get(RECORD_HEADER, b""), headers[CHECKSUM_HEADER]) == (value, fields, checksum)

    @pytest.mark.parametrize("name", WRITTEN_BY_1_0)
    def test_version_1_0_reads_what_is_written_now(self, name: bytes) -> None:
        """A consumer that is one version older, in its own code."""
        record, value, fields, checksum = WRITTEN[NEWEST][name]
        read = codec_1_0.decode(stored(NEWEST, name, value, fields, checksum))
        assert matches(msgspec.to_builtins(read), msgspec.to_builtins(record))

    @pytest.mark.parametrize("name", WRITTEN_BY_1_0)
    def test_the_code_of_version_1_0_is_what_it_was(self, name: bytes) -> None:
        _, value, fields, checksum = WRITTEN_BY_1_0[name]
        again, headers = codec_1_0.encode(codec_1_0.decode(stored(b"1.0", name, value, fields, checksum)))
        assert (again, headers[CHECKSUM_HEADER]) == (value, checksum)

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
