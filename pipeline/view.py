"""What `lookout watch` shows: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
from datetime import datetime

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from operators.clock import NS_PER_S
from operators.records import SILENT_DBFS, Event
from pipeline.board import Board, CameraRow
from pipeline.watcher import TravellingRecord, Watcher

log = logging.getLogger(__name__)

SIGNS = {"open": "●", "update": "·", "close": "○"}
STYLES = {"open": "bold red", "update": "dim", "close": "green"}
METER_FLOOR_DBFS = -60.0
METER = "▁▂▃▄▅▆▇█"
REFRESHES_PER_S = 4


class TerminalView:
    """A line for every camera, and the newest events below; draws over itself."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._live = Live(console=console, refresh_per_second=REFRESHES_PER_S, get_renderable=self.draw)

    def __enter__(self) -> TerminalView:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def draw(self) -> RenderableType:
        """The table and the events as they are now."""
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column, right in (("camera", False), ("since", False), ("frames/s", True), ("sound", False),
                              ("skew", True), ("lag", True), ("now", False)):
            table.add_column(column, justify="right" if right else "left")
        for row in self._board.rows():
            table.add_row(row.name, self._since(row), f"{row.frames_per_s:.1f}", _sound(row), _skew(row),
                          f"{row.waiting}", Text(" ".join(row.open_events), STYLES["open"]))
        lines = [Text(describe(event), STYLES[event.kind]) for event in list(self._board.recent)]
        return Group(table, Text(), *lines)

    def _since(self, row: CameraRow) -> Text:
        status = row.status
        if status is None or status.connected_since_ns is None:
            return Text(status.state if status else "starting", "yellow")
        since = datetime.fromtimestamp(status.connected_since_ns / NS_PER_S).astimezone()
        return Text(f"{since:%H:%M:%S}", "dim" if status.state == "ended" else "green")


class PlainView(Watcher):
    """A log line for every event that opens or closes."""

    @override
    def on_output(self, stage: str, record: TravellingRecord) -> None:
        if isinstance(record, Event) and record.kind != "update":
            log.info("%s", describe(record))


def describe(event: Event) -> str:
    """One line about an event."""
    where = event.end_ns if event.end_ns is not None else event.start_ns
    media_ns = event.media_start_ns if event.end_ns is None else event.media_end_ns
    moment = f"{datetime.fromtimestamp(where / NS_PER_S).astimezone():%H:%M:%S}"
    at = moment if media_ns is None else f"{media_ns / NS_PER_S:8.2f} s"
    lasted = f" after {(event.end_ns - event.start_ns) / NS_PER_S:.1f} s" if event.end_ns is not None else ""
    feeling = f", sentiment {event.sentiment.label}" if event.sentiment else ""
    return (f"{at}  {SIGNS[event.kind]} {event.camera}: {event.label} {event.kind}{lasted}, "
            f"peak {event.peak_score:.2f} (seen {event.senses.visual:.0%}, heard {event.senses.acoustic:.0%}){feeling}")


def _sound(row: CameraRow) -> Text:
    if row.level_dbfs is None:
        return Text("none", "dim")
    if row.level_dbfs <= SILENT_DBFS:
        return Text("silent", "yellow")
    filled = max(0.0, min(1.0, 1 - row.level_dbfs / METER_FLOOR_DBFS))
    return Text(f"{METER[round(filled * (len(METER) - 1))]} {row.level_dbfs:4.0f} dB", "cyan")


def _skew(row: CameraRow) -> str:
    return "–" if row.skew_ns is None else f"{row.skew_ns / 1e6:+.0f} ms"
