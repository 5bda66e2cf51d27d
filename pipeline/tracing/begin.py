"""Which tracing there is."""

from __future__ import annotations

from operators.clock import Clock
from operators.errors import SettingsError
from pipeline.tracing.base import TracesSettings, Tracing


def begin_tracing(settings: TracesSettings, clock: Clock) -> Tracing:
    """Follow segments where the settings want it.

    Raises:
        SettingsError: they do, and OpenTelemetry is not installed.
    """
    if settings.endpoint is None:
        return Tracing()
    try:
        from pipeline.tracing.otel import OtelTracing  # noqa: PLC0415 - an extra
    except ImportError as error:
        message = f"traces.endpoint: pip install 'lookout[traces]' first ({error.name} is missing)"
        raise SettingsError(message) from error
    return OtelTracing(settings, clock)
