"""Reads from coded packets what says that their track has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

START_CODE = b"\0\0\1"
JPEG_FRAME_HEADERS = frozenset({0xC0, 0xC1, 0xC2})
JPEG_WITHOUT_LENGTH = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})


def parameters(codec: str, extradata: bytes, data: bytes) -> tuple[bytes, ...]:
    """What in a packet configures the decoder: parameter sets, a picture size, a sound header.

    Packets of a track with the same parameters, or none, decode alike. `extradata` is the track's.
    """
    read = _READERS.get(codec)
    return () if read is None else tuple(read(extradata, data))


def _h264(extradata: bytes, data: bytes) -> Iterator[bytes]:
    for unit in _units(extradata, data, length_at=4):
        if unit[0] & 0x1F in {7, 8}:  # sequence and picture parameter sets
            yield unit


def _hevc(extradata: bytes, data: bytes) -> Iterator[bytes]:
    for unit in _units(extradata, data, length_at=21):
        if unit[0] >> 1 & 0x3F in {32, 33, 34}:  # video, sequence and picture parameter sets
            yield unit


def _units(extradata: bytes, data: bytes, length_at: int) -> Iterator[bytes]:
    """NAL units: between start codes, or with their length before them where the extradata says so."""
    if len(extradata) > length_at and extradata[0] == 1:
        yield from _prefixed_units(data, (extradata[length_at] & 3) + 1)
        return
    for unit in data.split(START_CODE)[1:]:
        if unit := unit.rstrip(b"\0"):
            yield unit


def _prefixed_units(data: bytes, prefix: int) -> Iterator[bytes]:
    at = 0
    while at + prefix < len(data):
        end = at + prefix + int.from_bytes(data[at : at + prefix], "big")
        if unit := data[at + prefix : end]:
            yield unit
        at = end


def _mjpeg(_extradata: bytes, data: bytes) -> Iterator[bytes]:
    """Precision, height and width out of the frame header."""
    at = 0
    while at + 9 <= len(data) and data[at] == 0xFF:  # noqa: PLR2004
        marker = data[at + 1]
        if marker in JPEG_FRAME_HEADERS:
            yield data[at + 4 : at + 9]
            return
        at += 2 if marker in JPEG_WITHOUT_LENGTH else 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def _aac(extradata: bytes, data: bytes) -> Iterator[bytes]:
    """Profile, sample rate and channels out of an ADTS header, which is there if nothing else says them."""
    if not extradata and len(data) >= 7 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:  # noqa: PLR2004
        yield bytes((data[2] & 0xFD, data[3] & 0xC0))


_READERS: dict[str, Callable[[bytes, bytes], Iterator[bytes]]] = {
    "h264": _h264,
    "hevc": _hevc,
    "mjpeg": _mjpeg,
    "aac": _aac,
}
