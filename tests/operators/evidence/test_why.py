"""The picture that shows why: drawn of whatever there is, its panels under one time axis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from operators.clock import NS_PER_S
from operators.evidence.why import (
    ALARM,
    ALARM_PALE,
    HEIGHT_PX,
    LEFT_PX,
    PICTURES,
    RIGHT_PX,
    SCORE,
    SEEN,
    SOUND,
    STRIP,
    WIDTH_PX,
    Curves,
    Sound,
    Why,
    draw,
    peak_cell,
    strip_times,
)
from operators.records import Event
from tests.operators.notify.events import T0, an_event

LENGTH_S, STEP_S = 16, 0.5
EVENT = an_event("close", start_s=5, at_s=11)
GREEN = np.full((90, 160, 3), (0, 160, 0), np.uint8)


def at(second: float) -> int:
    return T0 + round(second * NS_PER_S)


def curves() -> Curves:
    seconds = np.arange(STEP_S, LENGTH_S + 4, STEP_S)  # beyond the axis too
    fused = np.where((seconds > 5) & (seconds <= 11), 0.8, 0.1)
    fused[seconds == 8] = 0.9
    return Curves(np.array([at(second) for second in seconds]), fused, fused / 2, None, 0.7, 0.3)


def whole(event: Event = EVENT, *, pictures: bool = True, sound: bool = True, scored: bool = True) -> Why:
    tone = 0.3 * np.sin(2 * np.pi * 1000 * np.arange(LENGTH_S * 16_000) / 16_000)
    return Why(event, at(0), at(LENGTH_S), at(8), [GREEN] * PICTURES if pictures else [],
               Sound(tone.astype(np.float32), 16_000) if sound else None, curves() if scored else None)


def drawn(why: Why, folder: Path) -> NDArray[np.uint8]:
    draw(why, folder / "why.png")
    with Image.open(folder / "why.png") as image:
        assert (image.format, image.size) == ("PNG", (WIDTH_PX, HEIGHT_PX))
        return np.asarray(image.convert("RGB"))


def near(pixels: NDArray[np.uint8], colour: tuple[int, int, int], within: int = 24) -> NDArray[np.bool_]:
    return np.asarray(np.abs(pixels.astype(int) - colour).max(axis=-1) < within)


def marked(pixels: NDArray[np.uint8]) -> tuple[int, int]:
    """From where to where the event is, in pixels, below all curves."""
    columns = np.flatnonzero(near(pixels[round(SCORE.bottom) - 8], ALARM_PALE, within=4))
    return int(columns.min()), int(columns.max())


def x(second: float) -> float:
    return LEFT_PX + (RIGHT_PX - LEFT_PX) * second / LENGTH_S


def test_the_event_is_marked_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    assert marked(drawn(whole(), tmp_path)) == pytest.approx((x(5), x(11)), abs=5)


def test_the_curve_is_as_high_as_the_score_and_ends_with_the_axis(tmp_path: Path) -> None:
    pixels = drawn(whole(), tmp_path)
    for second, score in ((2.0, 0.1), (10.0, 0.8), (14.0, 0.1)):
        column = pixels[round(SCORE.top):round(SCORE.bottom), round(x(second))]
        rows = np.flatnonzero(near(column, ALARM))
        assert rows.mean() == pytest.approx((1 - score) * SCORE.height, abs=5)
    beyond = pixels[round(SCORE.top):round(SCORE.bottom), RIGHT_PX + 3:]
    assert not near(beyond, ALARM).any()
    assert near(pixels[round(SCORE.top):round(SCORE.bottom)], SEEN).any()  # the pictures alone


def test_every_picture_of_the_strip_is_there_and_the_tone_is_bright_where_it_sounds(tmp_path: Path) -> None:
    pixels = drawn(whole(), tmp_path)
    row = near(pixels[round((STRIP.top + STRIP.bottom) / 2)], (0, 160, 0))
    runs = np.flatnonzero(np.diff(row.astype(int)) == 1)
    assert len(runs) == PICTURES
    sound = pixels[round(SOUND.top) + 2:round(SOUND.bottom) - 2, LEFT_PX + 200].astype(int).sum(axis=-1)
    assert 0.3 < sound.argmax() / len(sound) < 0.7  # 1 kHz is in the middle of the mel scale
    assert sound.max() > 500
    assert sound.min() < 30


@pytest.mark.parametrize("missing", ["pictures", "sound", "scored"])
def test_what_there_is_not_is_said_and_the_rest_is_drawn(missing: str, tmp_path: Path) -> None:
    full = drawn(whole(), tmp_path)
    lacking = drawn(whole(pictures=missing != "pictures", sound=missing != "sound", scored=missing != "scored"),
                    tmp_path)
    boxes = {"pictures": STRIP, "sound": SOUND, "scored": SCORE}
    for name, box in boxes.items():
        part = slice(round(box.top) + 8, round(box.bottom) - 8), slice(LEFT_PX + 4, round(x(4.5)))
        assert (full[part] == lacking[part]).all() == (name != missing)


def test_an_event_that_goes_on_is_marked_to_the_end_of_the_axis(tmp_path: Path) -> None:
    going = an_event("update", start_s=5, at_s=11, label="a_very_long_label_indeed", media_start_ns=5 * NS_PER_S)
    assert marked(drawn(whole(going), tmp_path)) == pytest.approx((x(5), RIGHT_PX), abs=5)


def test_the_peak_is_looked_for_within_the_event_alone() -> None:
    scores = np.array([0.99, 0.5, 0.8, 0.6, 0.95])
    found = Curves(np.array([at(second) for second in (1, 6, 8, 10, 14)]), scores, None, None, 0.7, 0.3)
    assert found.peak_ns(EVENT, at(11)) == at(8)
    assert Curves(found.step_ns[:1], scores[:1], None, None, 0.7, 0.3).peak_ns(EVENT, at(11)) == EVENT.time_ns


@given(st.integers(0, 10**13), st.integers(1, 10**12), st.floats(0, 1))
def test_the_strip_goes_through_the_clip_and_shows_the_peak(start_ns: int, length_ns: int, part: float) -> None:
    peak_ns = start_ns + round(length_ns * part)
    times = strip_times(start_ns, start_ns + length_ns, peak_ns)
    assert len(times) == PICTURES
    assert times == sorted(times)
    assert start_ns <= times[0]
    assert times[-1] <= start_ns + length_ns
    assert times[peak_cell(start_ns, start_ns + length_ns, peak_ns)] == peak_ns
