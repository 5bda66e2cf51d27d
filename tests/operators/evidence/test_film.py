"""A clip is looked at where it is said, and heard as long as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from operators.clock import NS_PER_S
from operators.errors import MediaError
from operators.evidence.clip import Clip, remux
from operators.evidence.film import pictures_at, sound_of
from operators.evidence.spectrogram import HOP, MELS, band_of, log_mel
from tests.operators.decode.segments import BARS, index_bars, segments_of

Media = Callable[..., Path]
RATE_HZ = 16_000


def two_tones(time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """500 Hz, and 2 kHz from the third second on."""
    return np.asarray(0.4 * np.sin(2 * np.pi * np.where(time_s < 3, 500, 2000) * time_s))


@pytest.fixture(scope="module")
def clip(media: Media, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Seconds 1 to 6 of a film whose pictures tell their number."""
    film = media("film.mp4", seconds=6.0, fps=10, draw=index_bars(10), audio_codec="aac", tone=two_tones)
    return remux(segments_of(film)[1:], tmp_path_factory.mktemp("clip"))


def number(picture: NDArray[np.uint8]) -> int:
    bars = picture.reshape(picture.shape[0], BARS, -1, 3).mean(axis=(0, 2, 3)) > 128
    return int(sum(1 << bar for bar in range(BARS) if bars[bar]))


def test_each_time_gets_the_picture_that_was_shown_then(clip: Clip) -> None:
    times = [clip.start_ns + round(second * NS_PER_S) for second in (-1.0, 0.0, 0.05, 1.27, 4.9, 60.0)]
    assert [number(picture) for picture in pictures_at(clip, times)] == [10, 10, 10, 22, 59, 59]


def test_the_sound_is_as_long_as_the_clip_and_in_its_place(clip: Clip) -> None:
    sound = sound_of(clip, RATE_HZ)
    assert sound is not None
    assert len(sound) == 5 * RATE_HZ
    mel = log_mel(sound, RATE_HZ)
    assert mel.shape == (MELS, (len(sound) - 1024) // HOP + 1)
    for second, frequency_hz in ((1.0, 500), (1.8, 500), (2.2, 2000), (4.0, 2000)):
        loudest = int(mel[:, round(second * RATE_HZ / HOP)].argmax())
        assert loudest == pytest.approx(band_of(frequency_hz, RATE_HZ), abs=1)


def test_a_short_sound_has_no_spectrum() -> None:
    assert log_mel(np.zeros(100, np.float32), RATE_HZ).shape == (MELS, 0)


def test_without_sound_or_pictures_there_is_none(media: Media, tmp_path: Path) -> None:
    silent = remux(segments_of(media("silent.mp4", seconds=2.0)), tmp_path)
    assert sound_of(silent, RATE_HZ) is None
    (tmp_path / "blind").mkdir()
    blind = remux(segments_of(media("blind.wav", seconds=2.0, codec=None, audio_codec="pcm_s16le")), tmp_path / "blind")
    with pytest.raises(MediaError, match="no pictures"):
        pictures_at(blind, [0])


def test_what_cannot_be_decoded_is_said(clip: Clip, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(clip.path.read_bytes()[:2000])
    broken = Clip(tmp_path / "clip.mp4", "mp4", clip.start_ns, clip.end_ns, clip.video, clip.audio)
    with pytest.raises(MediaError):
        pictures_at(broken, [clip.start_ns])
    with pytest.raises(MediaError):
        sound_of(broken, RATE_HZ)
