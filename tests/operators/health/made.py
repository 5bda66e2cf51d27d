"""A drawn room with a sensor's noise and somebody walking through it, and what may happen to its camera."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tests.media import Draw

Picture = NDArray[np.uint8]  # (H, W, 3) RGB
Fault = Callable[[float, Picture], Picture]

SIZE, FPS = (320, 180), 5
BEGINS_S, ENDS_S, LENGTH_S = 20.0, 35.0, 50.0
NOISE = 3.0  # levels, of an ordinary sensor indoors


@cache
def room(seed: int = 1) -> Picture:
    """Furniture of every size, twice as wide as the picture."""
    random = np.random.default_rng(seed)
    wall = np.full((SIZE[1], 2 * SIZE[0], 3), 120, np.uint8)
    for _ in range(160):
        width, height = random.integers(6, 60, 2)
        top, left = random.integers(0, SIZE[1]), random.integers(0, 2 * SIZE[0])
        wall[top:top + height, left:left + width] = random.integers(30, 220, 3)
    return wall


def noisy(picture: Picture, time_s: float, sigma: float = NOISE) -> Picture:
    """What a sensor makes of it."""
    random = np.random.default_rng(round(time_s * 1000))
    grain = random.normal(0, sigma, picture.shape[:2])[..., None]
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


def view(time_s: float, left_px: int = 0) -> Picture:
    """The room with somebody in it, without noise."""
    picture = room()[:, left_px:left_px + SIZE[0]].copy()
    at = int(time_s * 17) % (SIZE[0] - 30)
    picture[60:160, at:at + 30] = (200, 160, 120)
    return picture


def blurred(picture: Picture, width_px: int) -> Picture:
    """Three box filters both ways: nearly a Gaussian of `width_px`."""
    soft = picture.astype(np.float32)
    for axis in (0, 1):
        for _ in range(3):
            soft = np.mean([np.roll(soft, shift, axis) for shift in range(-width_px, width_px + 1)], axis=0)
    return soft.astype(np.uint8)


def filmed(fault: Fault | None = None, source: Callable[[float], Picture] = view) -> Draw:
    """Draws what `source` shows, and from `BEGINS_S` to `ENDS_S` what the fault makes of it."""
    def draw(time_s: float, picture: Picture) -> None:
        faulty = fault is not None and BEGINS_S <= time_s < ENDS_S
        picture[:] = fault(time_s, source(time_s)) if fault and faulty else noisy(source(time_s), time_s)
    return draw


def frozen(time_s: float, picture: Picture) -> Picture:
    """The same picture again and again, noise included."""
    return noisy(view(BEGINS_S), BEGINS_S)


def black(time_s: float, picture: Picture) -> Picture:
    """No signal."""
    return np.zeros_like(picture)


def covered(time_s: float, picture: Picture) -> Picture:
    """A cloth before the lens: some light comes through, more on one side."""
    glow = np.linspace(60, 90, SIZE[0], dtype=np.float32)[None, :, None] * np.array([1.0, 0.8, 0.7], np.float32)
    return noisy(np.broadcast_to(glow, picture.shape).astype(np.uint8), time_s, 1.0)


def taped(time_s: float, picture: Picture) -> Picture:
    """Something opaque and dark before the lens, and a sensor that is clean."""
    return noisy(np.full_like(picture, 33), time_s, 0.3)


def defocused(time_s: float, picture: Picture) -> Picture:
    """Out of focus by about a hundredth of the width."""
    return noisy(blurred(picture, 2), time_s)


def moved(time_s: float, picture: Picture) -> Picture:
    """Turned by a quarter of the view."""
    return noisy(view(time_s, SIZE[0] // 4), time_s)


def at_night(time_s: float, picture: Picture) -> Picture:
    """The light is off: hardly more than noise, and a lamp somewhere."""
    dark = (picture * 0.04 + 18).astype(np.uint8)
    dark[20:26, 40:46] = 200
    return noisy(dark, time_s, 4.0)


def infrared(time_s: float, picture: Picture) -> Picture:
    """Lit by the camera itself: grey, brighter in the middle, and noisier."""
    grey = picture.astype(np.float32).mean(axis=2, keepdims=True)
    across = np.linspace(-1, 1, SIZE[0])[None, :, None] ** 2 + np.linspace(-1, 1, SIZE[1])[:, None, None] ** 2
    lit = (255 - grey * 0.3) * 0.2 + grey * 0.9 * np.exp(-across)
    return noisy(np.clip(np.broadcast_to(lit, picture.shape), 0, 255).astype(np.uint8), time_s, 5.0)


def near_the_lens(time_s: float, picture: Picture) -> Picture:
    """Somebody stands before the camera and hides six tenths of the view."""
    close = picture.copy()
    sway = int(6 * np.sin(time_s))
    close[30:, 70 + sway:262 + sway] = (90, 70, 60)
    close[40:90, 120 + sway:200 + sway] = (180, 140, 120)
    return noisy(close, time_s)


def crowd(time_s: float, picture: Picture) -> Picture:
    """The room is full of people."""
    full = picture.copy()
    for person in range(24):
        random = np.random.default_rng(person)
        left = int((random.uniform(0, SIZE[0]) + 8 * np.sin(time_s + person)) % (SIZE[0] - 16))
        top = int(random.uniform(40, 110))
        full[top:top + 70, left:left + 16] = random.integers(20, 230, 3)
    return noisy(full, time_s)


def brighter(time_s: float, picture: Picture) -> Picture:
    """The sun comes out: everything brighter, with more contrast."""
    return noisy(np.clip((picture.astype(np.float32) - 60) * 1.5 + 90, 0, 255).astype(np.uint8), time_s)
