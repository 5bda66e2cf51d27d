"""Drawing with Pillow at twice the size, so that lines and letters come out smooth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from operators.clock import NS_PER_S, ns_to_seconds, rfc3339

SCALE = 2  # pixels drawn for one that is kept
Colour = tuple[int, int, int]
Picture = NDArray[np.uint8]  # (H, W, 3) RGB
TICKS_S = (1, 2, 5, 10, 15, 30, 60)  # between two times on the axis
MAX_TICKS = 10


@dataclass(frozen=True)
class Box:
    """A part of the drawing, in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """From left to right."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """From top to bottom."""
        return self.bottom - self.top


@dataclass(frozen=True)
class TimeAxis:
    """Where times stand from left to right, and how they are written."""

    start_ns: int
    end_ns: int
    left: float
    right: float
    origin_ns: int | None = None  # where the file began; None: a live camera's times are those of the day

    def x(self, time_ns: int) -> float:
        """The pixel column of a time, kept within the axis."""
        part = (time_ns - self.start_ns) / max(1, self.end_ns - self.start_ns)
        return self.left + min(1.0, max(0.0, part)) * (self.right - self.left)

    def at(self, part: float) -> int:
        """The time at a part of the axis, 0..1."""
        return self.start_ns + round((self.end_ns - self.start_ns) * part)

    def ticks(self) -> list[int]:
        """Round times."""
        length_s = ns_to_seconds(self.end_ns - self.start_ns)
        spacing_ns = next((tick for tick in TICKS_S if length_s / tick <= MAX_TICKS), 120) * NS_PER_S
        origin_ns = self.origin_ns or 0
        first = origin_ns - (origin_ns - self.start_ns) // spacing_ns * spacing_ns
        return list(range(first, self.end_ns + 1, spacing_ns))

    def written(self, time_ns: int) -> str:
        """A time for people: of the day in UTC, or in the file."""
        if self.origin_ns is None:
            return rfc3339(time_ns)[11:19]
        minutes, seconds = divmod((time_ns - self.origin_ns) // NS_PER_S, 60)
        return f"{minutes}:{seconds:02d}"


class Canvas:
    """A drawing of a given size; every place is in pixels of what is kept."""

    def __init__(self, width: int, height: int, background: Colour) -> None:
        self._image = Image.new("RGB", (width * SCALE, height * SCALE), background)
        self._draw = ImageDraw.Draw(self._image)

    def text(self, x: float, y: float, text: str, size: float, colour: Colour, anchor: str = "la") -> float:
        """Write; `anchor` as Pillow has it. Gives the width."""
        font = _font(round(size * SCALE))
        self._draw.text((x * SCALE, y * SCALE), text, colour, font, anchor)
        return font.getlength(text) / SCALE

    def fill(self, box: Box, colour: Colour) -> None:
        """A filled rectangle."""
        self._draw.rectangle(_scaled(box), fill=colour)

    def frame(self, box: Box, colour: Colour, width: float) -> None:
        """A rectangle's border, inside of it."""
        self._draw.rectangle(_scaled(box), outline=colour, width=round(width * SCALE))

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, width: float) -> None:
        """From point to point."""
        self._draw.line([(x * SCALE, y * SCALE) for x, y in points], colour, round(width * SCALE), joint="curve")

    def dashes(self, left: float, right: float, y: float, colour: Colour, dash: float) -> None:
        """A level line of dashes."""
        for x in np.arange(left, right, 2 * dash):
            self.line([(x, y), (min(x + dash, right), y)], colour, 1.5)

    def dot(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """A filled circle."""
        self._draw.ellipse(_scaled(Box(x - radius, y - radius, x + radius, y + radius)), fill=colour)

    def paste(self, picture: Picture, box: Box) -> None:
        """A picture, stretched into the box."""
        left, top, right, bottom = _scaled(box)
        size = max(1, round(right - left)), max(1, round(bottom - top))
        self._image.paste(Image.fromarray(picture).resize(size), (round(left), round(top)))

    def save(self, path: Path) -> None:
        """Write the drawing as PNG."""
        size = self._image.width // SCALE, self._image.height // SCALE
        self._image.resize(size, Image.Resampling.LANCZOS).save(path, "PNG")


def save_jpeg(picture: Picture, path: Path) -> None:
    """Write a picture as it is."""
    Image.fromarray(picture).save(path, "JPEG", quality=92)


def _scaled(box: Box) -> tuple[float, float, float, float]:
    return box.left * SCALE, box.top * SCALE, box.right * SCALE, box.bottom * SCALE


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)  # the one that comes with Pillow: no file of the system is needed
