"""`lookout run`: some stages of the topology in one process on a Kafka cluster, until it is told to stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from operators.clock import Clock, SystemClock
from operators.errors import LookoutError, SettingsError
from operators.models.bundle import load as load_bundle
from operators.notify.outbox import Delivery, Outbox
from operators.notify.rules import check_rules
from pipeline.background import in_background
from pipeline.cluster.capture_stage import CaptureStage
from pipeline.evidence.begin import begin_evidence, links_of
from pipeline.health import beating, begin_health
from pipeline.metrics.metrics import Metrics
from pipeline.settings import LookoutSettings
from pipeline.sinks import made_sinks, sink_names
from pipeline.topics.kafka_log import KafkaLog
from pipeline.topology import CAPTURE, DELIVER, EVIDENCE, OPTIONAL, STAGES, Parts
from pipeline.tracing.base import Tracing
from pipeline.tracing.begin import begin_tracing
from pipeline.watch import stopped_by_signals
from pipeline.watcher import Watchers
from pipeline.workers.worker import Worker

log = logging.getLogger(__name__)

TICK_S = 0.5  # how often a running process looks whether it is to stop
STAGE_NAMES = (CAPTURE, *(stage.lane.stage for stage in STAGES))
NAMES = (*STAGE_NAMES, *(stage.lane.stage for stage in OPTIONAL))


@dataclass(frozen=True)
class _Stage:
    """A stage that is about to run."""

    name: str
    run: Callable[[threading.Event], None]
    beat_ns: Callable[[], int]
    tick: Callable[[], None] = lambda: None  # looks at what does not announce itself


def kafka_log(settings: LookoutSettings) -> KafkaLog:
    """The log on the cluster that the settings name.

    Raises:
        SettingsError: they name none.
    """
    if settings.kafka is None:
        message = "which cluster? give --kafka HOST:PORT, or `kafka:` in --config"
        raise SettingsError(message)
    return KafkaLog(settings.kafka)


def run_stages(names: Sequence[str], settings: LookoutSettings, data: Path,
               stop: threading.Event | None = None) -> list[str]:
    """Run until SIGINT, SIGTERM or `stop`, or until a stage fails; returns what failed, a line each.

    Args:
        names: of `NAMES`.
        settings: those of the whole topology; only what these stages want of them is used.
        data: a folder for secrets that are made here, and for media of live cameras that is not sent yet.
        stop: for a caller that wants to end the run itself.

    Raises:
        SettingsError, BundleError, LogError: nothing can be done as it is.
    """
    clock, stop, metrics = SystemClock(), stop or threading.Event(), Metrics()
    check_names(names)
    with ExitStack() as stack:
        log_ = kafka_log(settings)
        stack.callback(log_.close)
        tracing = begin_tracing(settings.traces, clock)
        stack.callback(tracing.close)
        stages = _built(names, settings, log_, data, clock, metrics, tracing, stack)
        if health := begin_health(metrics, settings.metrics.host, settings.metrics.port, stack):
            for stage in stages:
                health.must_live(stage.name, beating(stage.beat_ns, clock))
        with stopped_by_signals(stop):
            return _run(stages, stop)


def check_names(names: Sequence[str]) -> None:
    """Refuse stages that there are not.

    Raises:
        SettingsError: one is unknown; names those that are known.
    """
    if unknown := [name for name in names if name not in NAMES]:
        message = f"there is no stage {unknown[0]!r}: there are {', '.join(NAMES)}"
        raise SettingsError(message)


def _run(stages: Sequence[_Stage], stop: threading.Event) -> list[str]:
    running: dict[Future[None], str] = {}
    for stage in stages:
        log.info("%s: at work", stage.name)
        running[in_background(stage.name, stage.run, stop)[1]] = stage.name
    while not stop.is_set() and not wait(running, TICK_S, FIRST_COMPLETED).done:
        for stage in stages:
            stage.tick()
    stop.set()
    failed = []
    for result, name in running.items():
        if error := result.exception():
            log.error("%s ended: %s", name, error, exc_info=None if isinstance(error, LookoutError) else error)
            failed.append(f"{name}: {error}")
    return failed


def _built(names: Sequence[str], settings: LookoutSettings, log_: KafkaLog, data: Path, clock: Clock,
           metrics: Metrics, tracing: Tracing, stack: ExitStack) -> list[_Stage]:
    watcher = Watchers([metrics])
    built = []
    if CAPTURE in names:
        capture = CaptureStage(log_, settings.log, data / "spool", clock, watcher, tracing)
        built.append(_Stage(CAPTURE, capture.run, capture.beat_ns, lambda: metrics.on_cameras(capture.statuses())))
    stages = [stage for stage in (*STAGES, *OPTIONAL) if stage.lane.stage in names]
    if stages:
        bundle = load_bundle(settings.model)
        check_rules(settings.rules, bundle.label_names, sink_names(settings))
        outbox = _outbox(settings, data, clock, metrics, tracing) if DELIVER in names else Outbox([])
        kept = begin_evidence(settings, bundle, log_, clock, metrics, None, stack) if EVIDENCE in names else None
        parts = Parts(settings, bundle, clock, outbox, kept.keeper if kept else None, tracing,
                      on_fallback=lambda engine, _: metrics.on_fallback(engine), on_engine=metrics.on_engine)
        ticks: dict[str, Callable[[], None]] = {DELIVER: lambda: metrics.on_pending(outbox.pending)}
        if kept:
            ticks[EVIDENCE] = lambda: metrics.on_evidence(kept.keeper.pending, kept.store.kept_bytes)
        for stage in stages:
            name = stage.lane.stage
            worker = Worker(stage.lane, stage.build(parts), log_, clock, watcher, tracing)
            built.append(_Stage(name, worker.run, worker.beat_ns, ticks.get(name, lambda: None)))
        metrics.expect(stages=[stage.lane.stage for stage in stages])
    return built


def _outbox(settings: LookoutSettings, data: Path, clock: Clock, metrics: Metrics, tracing: Tracing) -> Outbox:
    def on_delivery(delivery: Delivery) -> None:
        metrics.on_delivery(delivery)
        tracing.on_delivery(delivery)

    sinks = made_sinks(settings, data, clock, links_of(settings, None))
    metrics.expect(endpoints=[sink.name for sink in sinks])
    return Outbox(sinks, clock=clock, on_delivery=on_delivery)
