"""Run by test_damage.py: captures the files named on standard input, and answers with a line of JSON for each."""

from __future__ import annotations

import sys
import threading
from dataclasses import asdict

import msgspec

from operators.capture.camera import Camera, CameraSettings
from operators.clock import SystemClock
from operators.errors import SourceError

for line in sys.stdin:
    camera = Camera(CameraSettings(source=f"damaged={line.strip()}"), clock=SystemClock(), stop=threading.Event())
    segments, error = [], None
    try:
        for segment in camera.segments():
            segments.append(segment)
    except SourceError as caught:
        error = type(caught).__name__
    whole = all(a.end_ns == b.start_ns for a, b in zip(segments, segments[1:], strict=False))
    longest_s = max((segment.duration_ns for segment in segments), default=0) / 1e9
    answer = {"segments": len(segments), "longest_s": longest_s, "whole": whole, "error": error,
              "status": asdict(camera.status)}
    print(msgspec.json.encode(answer).decode(), flush=True)
