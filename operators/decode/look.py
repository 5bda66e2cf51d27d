"""What pictures tell of their camera: one a second is measured, in a fraction of a millisecond."""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray

from operators.clock import NS_PER_S
from operators.records import LAYOUT, Look

EVERY_NS = NS_PER_S
ROWS = 4 * LAYOUT[0]  # rows of a picture that are looked at, whatever its height
AREAS = 192  # a row's areas, about; six in every part of the layout
WIDE_AREAS = 4  # a fiftieth of a row
MOST = 80  # percent of a picture: its clock and a lamp may be beyond
LEAST = 20  # percent of a picture where there are no edges: what is to be seen there is noise
LUMA_FIRST = frozenset({"gray", "nv12", "yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"})

Rows = NDArray[np.uint8]


class Looker:
    """Looks at one camera's pictures: at the first one of every second."""

    def __init__(self) -> None:
        self._second = -1
        self._before: Rows | None = None

    def see(self, time_ns: int, frame: av.VideoFrame) -> Look | None:
        """Take the next picture; gives what it tells if its turn has come and it is large enough."""
        second = time_ns // EVERY_NS
        if second == self._second or frame.width < LAYOUT[1] or frame.height < LAYOUT[0]:
            return None
        self._second = second
        rows, before = rows_of(frame), self._before
        self._before = rows
        return measured(time_ns, frame, rows, before if before is not None and before.shape == rows.shape else None)


def rows_of(frame: av.VideoFrame) -> Rows:
    """`ROWS` rows of the picture's brightness, evenly spread: uint8 (ROWS, W)."""
    gray = frame if frame.format.name in LUMA_FIRST else frame.reformat(format="gray")
    plane = gray.planes[0]
    luma = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)  # type: ignore[call-overload]  # it is a buffer
    return np.asarray(luma[np.linspace(0, frame.height - 1, ROWS).astype(np.intp), :frame.width])


def measured(time_ns: int, frame: av.VideoFrame, rows: Rows, before: Rows | None) -> Look:
    """The look of a picture whose rows these are; `before`: the rows of the last one."""
    area_px = max(1, frame.width // AREAS)
    across = frame.width // area_px // LAYOUT[1] * LAYOUT[1]  # areas in a row
    rows = rows[:, :across * area_px]
    sums = rows[:, ::area_px].astype(np.uint16)
    for column in range(1, area_px):  # faster than a mean over so short an axis
        sums += rows[:, column::area_px]
    areas = sums.astype(np.float32) / np.float32(area_px)
    edges = np.zeros_like(areas)
    np.abs(areas[:, 1:] - areas[:, :-1], out=edges[:, 1:])
    edges[1:] += np.abs(areas[1:] - areas[:-1])
    fine = rows[::ROWS // LAYOUT[0]].astype(np.float32)  # a row of each part tells enough of what is so small
    grain, wide = np.zeros_like(fine), np.zeros_like(areas)
    np.abs(fine[:, 1:] - fine[:, :-1], out=grain[:, 1:])
    wide[:, WIDE_AREAS:] = areas[:, WIDE_AREAS:] - areas[:, :-WIDE_AREAS]
    change = None
    if before is not None:
        change = round(float(np.mean(np.abs(fine - before[::ROWS // LAYOUT[0], :fine.shape[1]]))), 4)
    layout = np.rint(16.0 * np.log2(1.0 + _parts(edges))).astype(np.uint8)  # at most 16 * 9
    return Look(time_ns=time_ns, width_px=frame.width, height_px=frame.height,
                luma=_most(_parts(areas)), grain=_most(_parts(grain)),
                detail=round(_edges(grain) / max(_edges(wide), 1e-3), 5),
                change=change, layout=layout.tobytes())


def _parts(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of `values` (a multiple of LAYOUT's rows and columns) in every part of the layout."""
    down, across = LAYOUT
    rows = values.reshape(down, -1, values.shape[1]).sum(axis=1)
    sums = np.add.reduceat(rows, np.arange(across) * (values.shape[1] // across), axis=1)
    return np.asarray(sums / (values.size / sums.size), np.float32)


def _most(parts: NDArray[np.float32]) -> float:
    """What most of the parts do not exceed."""
    most = parts.size * MOST // 100
    return round(float(np.partition(parts, most, axis=None)[most]), 3)


def _edges(steps: NDArray[np.float32]) -> float:
    """The mean power of the steps, less that of the noise."""
    parts = _parts(steps * steps)
    least = parts.size * LEAST // 100
    return float(parts.mean() - np.partition(parts, least, axis=None)[least])
