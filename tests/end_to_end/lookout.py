"""The command itself, as a subprocess, with the tiny bundle and a scene whose events can be foretold."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BIN = Path(sys.executable).parent / "lookout"
ROUND_S = 20.0  # after which the scene begins anew
BRIGHT_S = ((4.0, 7.0), (14.0, 16.0))  # when the scene's picture is white
LOUD_S = ((9.0, 11.0), (14.5, 17.0))  # and when a tone sounds


def draw(time_s: float, picture: NDArray[np.uint8]) -> None:
    """White while bright, else dark, but for a clock in the corner: a picture that stays the same is frozen."""
    picture[:] = 250 if any(start <= time_s % ROUND_S < end for start, end in BRIGHT_S) else 20
    picture[:12, :16] = int(time_s) * 97 % 256


def tone(time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """A loud tone at its times, else nearly nothing."""
    loud = np.zeros_like(time_s)
    for start, end in LOUD_S:
        loud[(time_s % ROUND_S >= start) & (time_s % ROUND_S < end)] = 0.6
    return np.asarray((loud + 0.001) * np.sin(2 * np.pi * 440 * time_s))


def make_scene(media: Callable[..., Path], seconds: float = ROUND_S) -> Path:
    """The scene as a file."""
    return media("scene.mp4", seconds=seconds, fps=10, gop=10, audio_codec="aac", draw=draw, tone=tone)


def command(*arguments: object) -> list[str]:
    """`lookout …` of this environment."""
    return [str(BIN), *map(str, arguments)]


def run(*arguments: object, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=timeout_s, check=False)


def lines(text: str) -> list[dict[str, Any]]:
    """The JSON lines of an output."""
    return [json.loads(line) for line in text.splitlines()]


def summary(events: list[dict[str, Any]]) -> list[tuple[str, str, float, float | None]]:
    """Kind, label, start and end of each event, for comparing with what was drawn."""
    return [(event["type"].rpartition(".")[2], event["subject"], event["data"]["media_start_s"],
             event["data"]["media_end_s"]) for event in events]
