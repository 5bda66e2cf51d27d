"""A scene made of nothing: figures walk down a drawn street, then a siren passes.

0 s  a quiet street            8 s  the siren comes, lights flash
19 s  quiet again              23 s  hammering, until shortly before the end at 30 s
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

LENGTH_S, FPS, WIDTH_PX, HEIGHT_PX, RATE_HZ = 30, 15, 640, 360, 16_000
SIREN_S, HAMMER_S = (8.0, 19.0), (23.0, 29.0)
PAVEMENT_PX, CHUNK = 230, 1024
SKY, ROAD, WALL = (88, 96, 112), (54, 54, 58), (120, 104, 92)
COATS = ((176, 60, 52), (52, 92, 160), (200, 172, 80))


def make_scene(path: Path) -> Path:
    """Draw, synthesise and encode the scene (H.264 and AAC in MP4) into `path`."""
    with av.open(path, "w") as output:
        video = output.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "bf": "0"})
        video.width, video.height, video.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        video.codec_context.gop_size = FPS  # a keyframe a second, as cameras are set to
        audio = output.add_stream("aac", rate=RATE_HZ, layout="mono")
        audio.bit_rate = 64_000
        sound = (sounds() * 32767).astype(np.int16)
        sent = 0
        for index in track(range(LENGTH_S * FPS), "making a scene", transient=True):
            frame = av.VideoFrame.from_ndarray(picture(index / FPS), "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            output.mux(video.encode(frame))
            while sent < min(len(sound), (index + 1) * RATE_HZ // FPS):
                piece = av.AudioFrame.from_ndarray(sound[None, sent:sent + CHUNK], "s16", "mono")
                piece.sample_rate, piece.pts, piece.time_base = RATE_HZ, sent, Fraction(1, RATE_HZ)
                output.mux(audio.encode(piece))
                sent += CHUNK
        output.mux(video.encode(None))
        output.mux(audio.encode(None))
    return path


def picture(time_s: float) -> NDArray[np.uint8]:
    """The street at `time_s`: uint8 (HEIGHT_PX, WIDTH_PX, 3) RGB."""
    street = np.empty((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    street[:60], street[60:PAVEMENT_PX], street[PAVEMENT_PX:] = SKY, WALL, ROAD
    for left in range(30, WIDTH_PX, 120):
        street[110:PAVEMENT_PX, left:left + 44] = (64, 52, 44)  # doors
        street[80:100, left + 60:left + 96] = (150, 160, 140)  # windows
    if SIREN_S[0] <= time_s < SIREN_S[1]:
        _car(street, time_s)
    for number, coat in enumerate(COATS):
        speed = 38 + 17 * number
        left = int(40 + 200 * number + speed * time_s) % (WIDTH_PX + 60) - 40
        _figure(street, left, 190 + 26 * number, time_s * (1.6 + 0.2 * number), coat)
    return street


def _car(street: NDArray[np.uint8], time_s: float) -> None:
    """A vehicle that drives through with its lights flashing."""
    share = (time_s - SIREN_S[0]) / (SIREN_S[1] - SIREN_S[0])
    left = int(-160 + share * (WIDTH_PX + 160))
    _fill(street, left, 268, 150, 44, (230, 230, 226))
    _fill(street, left + 30, 240, 80, 28, (210, 214, 220))
    for wheel in (18, 106):
        _fill(street, left + wheel, 304, 26, 20, (20, 20, 20))
    blue = int(time_s * 6) % 2 == 0
    _fill(street, left + 50, 230, 20, 10, (40, 60, 255) if blue else (60, 20, 20))
    _fill(street, left + 74, 230, 20, 10, (40, 20, 60) if blue else (255, 40, 40))


def _figure(street: NDArray[np.uint8], left: int, top: int, stride: float, coat: tuple[int, int, int]) -> None:
    """Somebody who walks: head, coat and two legs that swing."""
    swing = int(9 * np.sin(2 * np.pi * stride))
    _fill(street, left + 6, top - 16, 14, 16, (224, 188, 160))
    _fill(street, left, top, 26, 44, coat)
    _fill(street, left + 4 + swing, top + 44, 8, 34, (30, 30, 40))
    _fill(street, left + 14 - swing, top + 44, 8, 34, (30, 30, 40))


def _fill(street: NDArray[np.uint8], left: int, top: int, width: int, height: int,
          colour: tuple[int, int, int]) -> None:
    street[max(0, top):max(0, top + height), max(0, left):max(0, left + width)] = colour


def sounds() -> NDArray[np.float64]:
    """The sound of the street, float64 (LENGTH_S * RATE_HZ,) in -1..1."""
    random = np.random.default_rng(7)
    time_s = np.arange(LENGTH_S * RATE_HZ) / RATE_HZ
    street = 0.03 * _hum(random, len(time_s))
    street += _between(time_s, *SIREN_S, fade_s=2.0) * siren(time_s)
    street += _between(time_s, *HAMMER_S, fade_s=0.2) * _hammering(time_s, random)
    return np.clip(_echo(street, random), -1, 1)


def siren(time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """A siren that wails between 500 and 1,600 Hz and back every four seconds, with overtones."""
    pitch_hz = 500 + 1100 * (0.5 - 0.5 * np.cos(2 * np.pi * time_s / 4))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    return np.asarray(0.13 * sum(share * np.sin(order * phase) for order, share in ((1, 1.0), (2, 0.4), (3, 0.3))))


def _hum(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Far traffic: noise that falls off above 60 Hz, of standard deviation 1."""
    spectrum = np.fft.rfft(random.normal(0, 1, count))
    hum = np.fft.irfft(spectrum / np.maximum(np.fft.rfftfreq(count, 1 / RATE_HZ), 60.0), count)
    return np.asarray(hum / hum.std())


def _hammering(time_s: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """Twelve blows a second, each a burst of noise that dies away."""
    since_blow_s = time_s % (1 / 12)
    return np.asarray(0.4 * random.normal(0, 0.5, len(time_s)) * np.exp(-since_blow_s * 60))


def _between(time_s: NDArray[np.float64], start_s: float, end_s: float, fade_s: float) -> NDArray[np.float64]:
    """1 from start to end, fading in and out; 0 outside."""
    return np.clip(np.minimum(time_s - start_s, end_s - time_s) / fade_s, 0, 1)


def _echo(sound: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """The walls give some of it back, dying away within half a second."""
    delay_s = np.arange(RATE_HZ // 2) / RATE_HZ
    walls = 0.03 * random.normal(0, 1, len(delay_s)) * np.exp(-8 * delay_s)
    walls[0] = 1.0
    size = 1 << (len(sound) + len(walls)).bit_length()
    return np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(walls, size), size)[:len(sound)]
