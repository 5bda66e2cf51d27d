"""One picture that shows why: what was seen, what was heard, and what the model made of each, over the same time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from operators.clock import ns_to_seconds, rfc3339
from operators.evidence.canvas import Box, Canvas, Colour, Picture, TimeAxis
from operators.evidence.spectrogram import band_of, log_mel
from operators.records import Event

WIDTH_PX, HEIGHT_PX = 1280, 780
LEFT_PX, RIGHT_PX = 92, 1164
STRIP, SOUND, SCORE = (Box(LEFT_PX, top, RIGHT_PX, bottom) for top, bottom in ((124, 264), (304, 470), (518, 726)))
PICTURES = 6  # in the strip
SHOWN_HZ = (100, 500, 1000, 2000, 4000)
RANGE_DB = 60.0  # below the loudest

PAPER, INK, FAINT, GRID = (255, 255, 255), (28, 32, 38), (120, 126, 134), (228, 231, 235)
ALARM, ALARM_PALE = (200, 24, 36), (253, 232, 232)
SEEN, HEARD = (30, 104, 200), (222, 126, 8)
INFERNO: tuple[Colour, ...] = ((0, 0, 4), (58, 9, 99), (136, 34, 106), (212, 72, 66), (251, 155, 6), (252, 255, 164))


@dataclass(frozen=True)
class Curve:
    """One line of the score panel."""

    name: str
    colour: Colour
    scores: NDArray[np.float64]  # (S,) 0..1


@dataclass(frozen=True)
class Curves:
    """A label's score at S steps: fused, and by each sense alone."""

    step_ns: NDArray[np.int64]  # (S,)
    fused: NDArray[np.float64]  # (S,)
    seen: NDArray[np.float64] | None  # (S,); None: no step had a picture
    heard: NDArray[np.float64] | None
    open: float  # thresholds
    close: float

    def peak_ns(self, event: Event, end_ns: int) -> int:
        """When within the event the score was highest."""
        within = (self.step_ns >= event.start_ns) & (self.step_ns <= end_ns)
        return int(self.step_ns[np.argmax(np.where(within, self.fused, -1.0))]) if within.any() else event.time_ns

    def lines(self) -> list[Curve]:
        """Those there are, the most important one last, so that it is drawn above the others."""
        senses = ((self.heard, "sound alone", HEARD), (self.seen, "pictures alone", SEEN))
        return [*(Curve(name, colour, scores) for scores, name, colour in senses if scores is not None),
                Curve("both together", ALARM, self.fused)]


@dataclass(frozen=True)
class Sound:
    """What the model heard from the beginning of the time axis on."""

    samples: NDArray[np.float32]  # (N,)
    rate_hz: int


@dataclass(frozen=True)
class Why:
    """All that is shown. What there is not is said in its place."""

    event: Event
    start_ns: int  # of the time axis
    end_ns: int
    peak_ns: int
    pictures: Sequence[Picture]  # at `strip_times`, or none
    sound: Sound | None
    curves: Curves | None

    @property
    def axis(self) -> TimeAxis:
        """The time from left to right, which all panels share."""
        media_ns = self.event.media_start_ns
        origin_ns = None if media_ns is None else self.event.start_ns - media_ns
        return TimeAxis(self.start_ns, self.end_ns, LEFT_PX, RIGHT_PX, origin_ns)


def strip_times(start_ns: int, end_ns: int, peak_ns: int) -> list[int]:
    """The times of the strip's pictures: the middle of each cell, and the peak in the cell that it lies in."""
    length_ns = max(1, end_ns - start_ns)
    times = [start_ns + length_ns * (2 * i + 1) // (2 * PICTURES) for i in range(PICTURES)]
    times[peak_cell(start_ns, end_ns, peak_ns)] = peak_ns
    return times


def peak_cell(start_ns: int, end_ns: int, peak_ns: int) -> int:
    """Which picture of the strip shows the peak."""
    return min(PICTURES - 1, max(0, (peak_ns - start_ns) * PICTURES // max(1, end_ns - start_ns)))


def draw(why: Why, path: Path) -> None:
    """Write the picture as PNG."""
    canvas, axis = Canvas(WIDTH_PX, HEIGHT_PX, PAPER), why.axis
    ended_ns = why.end_ns if why.event.end_ns is None else why.event.end_ns
    span = axis.x(why.event.start_ns), axis.x(ended_ns)
    canvas.fill(Box(span[0], STRIP.top - 24, span[1], SCORE.bottom), ALARM_PALE)
    canvas.text(sum(span) / 2, STRIP.top - 6, "the event", 14, ALARM, "ms")
    _heading(canvas, why)
    _strip(canvas, why)
    _sound(canvas, why)
    _score(canvas, why)
    for x in span:
        canvas.line([(x, SOUND.top - 6), (x, SCORE.bottom)], ALARM, 1.5)
    for time_ns in axis.ticks():
        canvas.line([(axis.x(time_ns), SCORE.bottom), (axis.x(time_ns), SCORE.bottom + 5)], FAINT, 1)
        canvas.text(axis.x(time_ns), SCORE.bottom + 9, axis.written(time_ns), 14, FAINT, "ma")
    canvas.text(LEFT_PX, HEIGHT_PX - 8, "time of day, UTC" if axis.origin_ns is None else "time in the recording",
                13, FAINT, "ls")
    canvas.save(path)


def _heading(canvas: Canvas, why: Why) -> None:
    event = why.event
    title = f"{event.label.replace('_', ' ').capitalize()} at {event.camera}"
    width = canvas.text(24, 22, title, 34, INK)
    canvas.text(24 + width + 18, 32, f"score {event.peak_score:.2f}", 24, ALARM)
    lasted = "still going on" if event.end_ns is None else f"{ns_to_seconds(event.end_ns - event.start_ns):.1f} s"
    when = rfc3339(event.start_ns)
    said = [f"{when[:10]} {when[11:19]} UTC, {lasted}",
            f"{event.senses.visual:.0%} seen, {event.senses.acoustic:.0%} heard"]
    if event.sentiment:
        said.append(f"people sound {event.sentiment.label}")
    canvas.text(24, 68, "   ·   ".join(said), 18, FAINT)


def _strip(canvas: Canvas, why: Why) -> None:
    canvas.text(LEFT_PX - 12, (STRIP.top + STRIP.bottom) / 2, "seen", 18, INK, "rm")
    if not why.pictures:
        _nothing(canvas, STRIP, "no pictures")
        return
    times = strip_times(why.start_ns, why.end_ns, why.peak_ns)
    peak = peak_cell(why.start_ns, why.end_ns, why.peak_ns)
    cell_px = STRIP.width / PICTURES
    for i, (time_ns, picture) in enumerate(zip(times, why.pictures, strict=True)):
        cell = Box(STRIP.left + i * cell_px + 2, STRIP.top, STRIP.left + (i + 1) * cell_px - 2, STRIP.bottom)
        box = _fitted(picture, cell)
        canvas.paste(picture, box)
        canvas.frame(box, ALARM if i == peak else INK, 3 if i == peak else 0.5)
        name = f"{why.axis.written(time_ns)}{'  peak' if i == peak else ''}"
        canvas.text((cell.left + cell.right) / 2, box.bottom + 4, name, 14, ALARM if i == peak else FAINT, "ma")


def _sound(canvas: Canvas, why: Why) -> None:
    canvas.text(LEFT_PX - 12, SOUND.top - 8, "heard", 18, INK, "rs")
    decibel = log_mel(why.sound.samples, why.sound.rate_hz) if why.sound else np.zeros((1, 0))
    if why.sound is None or not decibel.size:
        _nothing(canvas, SOUND, "no sound")
        return
    loudest = max(float(np.percentile(decibel, 99.8)), -50.0)  # a silence stays dark
    level = np.clip((decibel - loudest + RANGE_DB) / RANGE_DB, 0, 1)[::-1]
    stops = np.linspace(0, 1, len(INFERNO))
    canvas.paste(np.stack([np.interp(level, stops, [colour[i] for colour in INFERNO]) for i in range(3)],
                          axis=-1).astype(np.uint8), SOUND)
    for frequency_hz in SHOWN_HZ:
        if frequency_hz < why.sound.rate_hz / 2:
            y = SOUND.bottom - (band_of(frequency_hz, why.sound.rate_hz) + 0.5) / len(decibel) * SOUND.height
            canvas.text(LEFT_PX - 8, y, f"{frequency_hz / 1000:g} kHz", 13, FAINT, "rm")


def _score(canvas: Canvas, why: Why) -> None:
    canvas.text(LEFT_PX - 12, SCORE.top - 8, "score", 18, INK, "rs")
    if why.curves is None or not len(why.curves.step_ns):
        _nothing(canvas, SCORE, "no scores of it")
        return

    def y(score: float) -> float:
        return SCORE.bottom - score * SCORE.height

    for score in (0.0, 0.5, 1.0):
        canvas.line([(SCORE.left, y(score)), (SCORE.right, y(score))], GRID, 1)
        canvas.text(LEFT_PX - 8, y(score), f"{score:g}", 13, FAINT, "rm")
    for score, name in ((why.curves.open, "begins at"), (why.curves.close, "ends below")):
        canvas.dashes(SCORE.left, SCORE.right, y(score), FAINT, 6)
        canvas.text(SCORE.right + 8, y(score), f"{name} {score:.2f}", 13, FAINT, "lm")
    x = LEFT_PX + 4.0
    for curve in reversed(why.curves.lines()):
        canvas.fill(Box(x, SCORE.top - 20, x + 18, SCORE.top - 14), curve.colour)
        x += 24 + canvas.text(x + 24, SCORE.top - 9, curve.name, 15, curve.colour, "ls") + 28
    axis = why.axis
    for curve in why.curves.lines():
        points = [(axis.x(int(step_ns)), y(float(score)))
                  for step_ns, score in zip(why.curves.step_ns, curve.scores, strict=True) if step_ns <= why.end_ns]
        canvas.line(points, curve.colour, 3 if curve.colour is ALARM else 2)
    peak = float(np.interp(why.peak_ns, why.curves.step_ns, why.curves.fused))
    canvas.dot(axis.x(why.peak_ns), y(peak), 5, ALARM)
    canvas.text(axis.x(why.peak_ns), y(peak) - 10, f"peak {peak:.2f}", 14, ALARM, "ms")


def _fitted(picture: Picture, cell: Box) -> Box:
    """As large as the cell takes without another shape, in the middle of it and at its bottom."""
    height, width = picture.shape[:2]
    scale = min(cell.width / width, (cell.height - 20) / height)
    left = (cell.left + cell.right - width * scale) / 2
    return Box(left, cell.bottom - 20 - height * scale, left + width * scale, cell.bottom - 20)


def _nothing(canvas: Canvas, box: Box, text: str) -> None:
    canvas.frame(box, GRID, 1)
    canvas.text((box.left + box.right) / 2, (box.top + box.bottom) / 2, text, 16, FAINT, "mm")
