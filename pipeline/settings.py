"""All settings in one tree, read from a YAML file; `${NAME}` in a value stands for an environment variable.

    cameras:
      - name: lobby
        source: rtsp://${CAMERA_LOGIN}@10.0.0.5/stream1
    rules:
      - {name: violence, labels: [fight, gun_shot], min_score: 0.7, sinks: [guard]}
    webhooks:
      - {name: guard, url: "https://guard.example/alerts", secret_env: GUARD_SECRET}
    sinks:
      - {kind: apprise, name: chat, url_env: CHAT_URL}
      - {kind: alertmanager, name: ops, url: "http://alertmanager:9093", allow: [alertmanager]}

An unknown key, or a value out of its bounds, is an error that names it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml
from msgspec import Meta

from operators.base import Settings
from operators.capture.camera import CameraSettings
from operators.decode.decoder import DecodeSettings
from operators.encode.encoder import EncodeSettings
from operators.errors import SettingsError
from operators.evidence.settings import EvidenceSettings
from operators.fuse.fuser import FuseSettings
from operators.health.settings import HealthSettings
from operators.notify.alertmanager import AlertmanagerSettings
from operators.notify.apprise_sink import AppriseSettings
from operators.notify.rules import RuleSettings
from operators.notify.stdout import StdoutSettings
from operators.notify.webhook import WebhookSettings
from pipeline.topic_sink import TopicSettings
from pipeline.topics.kafka_settings import KafkaSettings
from pipeline.tracing.base import TracesSettings

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


SPOOL_BYTES = 256 * 2**20  # a quarter of an hour at 2 Mbit/s


class LogSettings(Settings, frozen=True, kw_only=True):
    """What the log keeps, how far a file may run ahead, and what is kept while the log is out of reach."""

    partitions: Annotated[int, Meta(ge=1, le=1024, description="per topic; fixed once the log exists")] = 8
    segments_retention_s: Annotated[float, Meta(ge=60, description="media older than this may go")] = 3600.0
    segments_retention_bytes: Annotated[int, Meta(ge=2**20, description="media kept, all cameras")] = 4 * 2**30
    events_retention_s: Annotated[float, Meta(ge=60, description="events and alerts older than this may go")] = (
        30 * 86400.0)
    max_segments_ahead: Annotated[int, Meta(ge=1, le=10_000, description=(
        "a file source waits while this many of its segments are not decoded"))] = 64
    spool_bytes: Annotated[int, Meta(ge=2**20, description=(
        "media that each live camera keeps on disk while a cluster is out of reach; the oldest beyond it goes"))] = (
        SPOOL_BYTES)


SinkSettings = AlertmanagerSettings | AppriseSettings | StdoutSettings | TopicSettings


class MetricsSettings(Settings, frozen=True, kw_only=True):
    """Where /metrics, /healthz and /readyz are served."""

    host: Annotated[str, Meta(min_length=1, description="address to listen on")] = "127.0.0.1"
    port: Annotated[Annotated[int, Meta(ge=0, le=65535)] | None, Meta(
        description="null: not served; 0: any free port")] = None


class LookoutSettings(Settings, frozen=True, kw_only=True):
    """The whole configuration file."""

    cameras: Annotated[tuple[CameraSettings, ...], Meta(description="what to watch")] = ()
    model: Annotated[str, Meta(min_length=1, description="folder of a model bundle, or `starter`")] = "starter"
    decode: DecodeSettings = DecodeSettings()
    encode: EncodeSettings = EncodeSettings()
    fuse: FuseSettings = FuseSettings()
    health: HealthSettings = HealthSettings()
    rules: Annotated[tuple[RuleSettings, ...], Meta(description="which events become alerts; none: all alertable")] = ()
    webhooks: Annotated[tuple[WebhookSettings, ...], Meta(description="who is told")] = ()
    sinks: Annotated[tuple[SinkSettings, ...], Meta(description="who is told besides, by `kind`")] = ()
    evidence: Annotated[EvidenceSettings | None, Meta(description="of what is told; null: none is kept")] = None
    log: LogSettings = LogSettings()
    kafka: Annotated[KafkaSettings | None, Meta(description="the cluster that `lookout run` works on")] = None
    metrics: MetricsSettings = MetricsSettings()
    traces: TracesSettings = TracesSettings()


def load(path: Path, environment: Mapping[str, str] = os.environ) -> LookoutSettings:
    """Read a configuration file.

    Raises:
        SettingsError: it cannot be read, a key is unknown, a value out of bounds, a variable not set.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        message = f"config {path}: {' '.join(str(error).split())}"
        raise SettingsError(message) from error
    try:
        return msgspec.convert({} if tree is None else filled_in(tree, "$", environment), LookoutSettings)
    except (msgspec.ValidationError, SettingsError) as error:
        message = f"config {path}: {error}"
        raise SettingsError(message) from error


def filled_in(value: Any, where: str, environment: Mapping[str, str]) -> Any:
    """`value` with every `${NAME}` replaced; `where` it stands is for messages.

    Raises:
        SettingsError: a variable is not set.
    """
    if isinstance(value, dict):
        return {key: filled_in(item, f"{where}.{key}", environment) for key, item in value.items()}
    if isinstance(value, list):
        return [filled_in(item, f"{where}[{i}]", environment) for i, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        if match[1] not in environment:
            message = f"environment variable {match[1]} is not set - at `{where}`"
            raise SettingsError(message)
        return environment[match[1]]

    return VARIABLE.sub(replace, value)
