"""What keeps evidence, built of the settings."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from operators.backends.base import Backend
from operators.backends.load import load as load_backend
from operators.clock import Clock, seconds_to_ns
from operators.cloudevent import Links, no_links
from operators.evidence.settings import EvidenceSettings
from operators.evidence.store import Store
from operators.models.bundle import Bundle
from operators.records import Event
from pipeline.evidence.curves import Scorer
from pipeline.evidence.footage import Footage
from pipeline.evidence.keeper import EvidenceKeeper
from pipeline.evidence.links import signer_of
from pipeline.evidence.making import PARTS, REASONS, Maker
from pipeline.evidence.server import EvidenceServer
from pipeline.metrics.evidence import Making
from pipeline.metrics.metrics import Metrics
from pipeline.settings import LookoutSettings
from pipeline.topics.base import Log

_log = logging.getLogger(__name__)

BATCH, THREADS = 16, 1  # of the fusion graph: all of a clip's steps are there, and other stages come first


@dataclass(frozen=True)
class Kept:
    """The operator of the stage `evidence`, and where it puts what it makes."""

    keeper: EvidenceKeeper
    store: Store


def links_of(settings: LookoutSettings, secrets: Path | None) -> Links:
    """What makes the links in alerts; see `signer_of`.

    Raises:
        SettingsError: there is no secret to sign them with.
    """
    serve = settings.evidence and settings.evidence.serve
    return signer_of(serve, secrets).links if serve else no_links


def begin_evidence(settings: LookoutSettings, bundle: Bundle, log: Log, clock: Clock, metrics: Metrics,
                   secrets: Path | None, stack: ExitStack) -> Kept | None:
    """Build what keeps evidence, and serve it where that is wanted until `stack` is left; None: it is not kept.

    Raises:
        SettingsError: the place cannot be, there is no secret to sign links with, or the port cannot be had.
    """
    wanted = settings.evidence
    if wanted is None:
        return None
    kept = _kept(settings, wanted, bundle, log, clock, metrics.on_making)
    metrics.expect_evidence(PARTS, REASONS)
    if wanted.serve:
        signer = signer_of(wanted.serve, secrets)
        stack.enter_context(EvidenceServer(wanted.serve, kept.store, signer, clock))
        _log.info("evidence on port %d of %s", wanted.serve.port, wanted.serve.host)
    return kept


def _kept(settings: LookoutSettings, wanted: EvidenceSettings, bundle: Bundle, log: Log, clock: Clock,
          on_making: Callable[[Making], None]) -> Kept:
    """Build them; the model is loaded when the first event is told."""
    manifest = bundle.manifest
    window_ns = manifest.window_steps * seconds_to_ns(manifest.step_s)

    def engine() -> Backend:
        return load_backend(bundle, manifest.fusion, batch=BATCH, backend=settings.fuse.backend, threads=THREADS)

    def follow(event: Event) -> Footage:
        return Footage(log, event, wanted, window_ns)

    store = Store(wanted)
    maker = Maker(store, Scorer(bundle, engine), manifest.sample_rate_hz)
    return Kept(EvidenceKeeper(store, maker, follow, clock=clock, on_making=on_making), store)
