"""`lookout watch`: checks what the user gave, builds the whole topology, runs it, and says how it went."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console

from operators.capture.probe import check_source
from operators.capture.source import parse
from operators.clock import NS_PER_S, Clock, SystemClock
from operators.errors import SettingsError
from operators.evidence.store import Store
from operators.models.bundle import Bundle
from operators.models.bundle import load as load_bundle
from operators.notify.outbox import Delivery, Outbox
from operators.notify.rules import check_rules
from pipeline.board import Board
from pipeline.event_lines import EventLines
from pipeline.evidence.begin import Kept, begin_evidence, links_of
from pipeline.health import beating, begin_health
from pipeline.local import Local, OneAtATime, Outcome
from pipeline.metrics.metrics import Metrics
from pipeline.settings import LookoutSettings
from pipeline.sinks import check_sinks, made_sinks
from pipeline.topics.embedded_log import EmbeddedLog
from pipeline.topology import Parts, topics
from pipeline.tracing.begin import begin_tracing
from pipeline.view import PlainView, TerminalView
from pipeline.watcher import Watcher, Watchers


@dataclass(frozen=True)
class WatchOptions:
    """What the command line adds to the settings."""

    data: Path
    json: bool = False  # events on standard output, everything else on standard error
    drawn: bool = True  # a live table where there is a terminal
    events: Path | None = None  # and in this file
    extra: tuple[Watcher, ...] = ()  # also told of everything


@dataclass(frozen=True)
class Report:
    """What a run did."""

    outcome: Outcome
    board: Board
    deliveries: Counter[str]
    wall_s: float

    @property
    def exit_code(self) -> int:
        """0, or 1 if something failed on the way."""
        return 1 if self.outcome.failed else 0

    def lines(self) -> list[str]:
        """The summary, for people."""
        totals, cameras = self.board.totals(), len(self.board.rows())
        media_s, heard_s = totals.media_ns / NS_PER_S, totals.heard_ns / NS_PER_S
        events = ", ".join(f"{label} {count}" for label, count in sorted(totals.events.items())) or "none"
        lines = [
            f"watched {cameras} camera{'s' * (cameras != 1)}: {media_s:.1f} s of media in {self.wall_s:.1f} s "
            f"({media_s / max(self.wall_s, 1e-9):.1f} x real time), {totals.frames} pictures, {heard_s:.1f} s of sound",
            f"events: {events}",
            f"alerts: {totals.alerts} made, {self.deliveries['delivered']} delivered, "
            f"{self.outcome.undelivered} waiting for the next run",
        ]
        if totals.dead:
            lines.append(f"dead letters: {totals.dead}")
        return lines + [f"failed: {reason}" for reason in self.outcome.failed]


def watch(settings: LookoutSettings, options: WatchOptions, console: Console,
          stop: threading.Event | None = None) -> Report:
    """Run until every file has ended, or until SIGINT, SIGTERM or `stop`.

    Raises:
        SettingsError, BundleError: what the user gave is wrong; nothing has been written.
    """
    clock, stop = SystemClock(), stop or threading.Event()
    bundle = load_bundle(settings.model)
    _check(settings, options, bundle, clock)
    board, metrics = Board(clock), Metrics()
    deliveries: Counter[str] = Counter()

    def on_delivery(delivery: Delivery) -> None:
        deliveries[delivery.result] += 1
        metrics.on_delivery(delivery)
        tracing.on_delivery(delivery)

    started_ns, built = clock.monotonic_ns(), threading.Event()
    with ExitStack() as stack:
        tracing = begin_tracing(settings.traces, clock)
        stack.callback(tracing.close)
        health = begin_health(metrics, settings.metrics.host, settings.metrics.port, stack)
        if health:
            health.must_be_ready("model", lambda: None if built.is_set() else "not loaded yet")
        stack.enter_context(OneAtATime(options.data))
        log_ = EmbeddedLog(options.data)
        stack.callback(log_.close)
        log_.ensure(topics(settings.log))
        kept = begin_evidence(settings, bundle, log_, clock, metrics, options.data / "secrets", stack)
        sinks = made_sinks(settings, options.data, clock, links_of(settings, options.data / "secrets"))
        outbox = Outbox(sinks, clock=clock, on_delivery=on_delivery)
        lines = [EventLines(log_, path) for path, wanted in ((None, options.json), (options.events, options.events))
                 if wanted]
        live = options.drawn and console.is_terminal and not options.json
        watcher = Watchers((board, metrics, *options.extra, *([] if live else [PlainView()])))
        parts = Parts(settings, bundle, clock, outbox, kept.keeper if kept else None, tracing,
                      on_fallback=lambda engine, _: metrics.on_fallback(engine), on_engine=metrics.on_engine)
        local = Local(parts, log_, watcher, stop, lines)
        metrics.expect(stages=local.beats, endpoints=[sink.name for sink in sinks])
        built.set()
        if health:
            for name, beat in local.beats.items():
                health.must_live(name, beating(beat, clock))
        if live:
            stack.enter_context(TerminalView(board, console))
        with stopped_by_signals(stop):
            outcome = local.run(lambda: _tick(local, board, metrics, outbox, kept))
    return Report(outcome, board, deliveries, (clock.monotonic_ns() - started_ns) / NS_PER_S)


def _check(settings: LookoutSettings, options: WatchOptions, bundle: Bundle, clock: Clock) -> None:
    """Refuse what cannot work before anything is written."""
    if options.events and not (options.events.parent.is_dir() and os.access(options.events.parent, os.W_OK)):
        message = f"--events {options.events}: no such folder, or it cannot be written"
        raise SettingsError(message)
    if not settings.cameras:
        message = "nothing to watch: give a SOURCE, or cameras in --config"
        raise SettingsError(message)
    counts = Counter(parse(camera.source).name for camera in settings.cameras)
    if twice := sorted(name for name, count in counts.items() if count > 1):
        message = f"cameras: the name {twice[0]!r} is given twice; write NAME=SOURCE"
        raise SettingsError(message)
    for camera in settings.cameras:
        check_source(camera, clock)
    check_rules(settings.rules, bundle.label_names, check_sinks(settings))
    if settings.evidence:
        Store(settings.evidence)


def _tick(local: Local, board: Board, metrics: Metrics, outbox: Outbox, kept: Kept | None) -> None:
    """Look at what does not announce itself."""
    statuses = {capture.camera.name: capture.camera.status for capture in local.captures}
    for name, status in statuses.items():
        board.on_status(name, status)
    metrics.on_cameras(statuses)
    metrics.on_pending(outbox.pending)
    if kept:
        metrics.on_evidence(kept.keeper.pending, kept.store.kept_bytes)


@contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM end gracefully; a second one ends at once, as if killed, and loses nothing either."""
    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            sys.exit(128 + number)
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
