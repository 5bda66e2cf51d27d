"""Looking at a file before anything else is begun."""

from __future__ import annotations

from operators.capture.camera_settings import CameraSettings
from operators.capture.reader import Reader
from operators.capture.source import parse, redact
from operators.clock import Clock
from operators.errors import SettingsError, SourceError


def check_source(settings: CameraSettings, clock: Clock) -> None:
    """Refuse a file that is no media; a live camera may be out of reach now and there later, so it is not asked.

    Raises:
        SettingsError: the file cannot be opened, or holds nothing that Lookout can see or hear.
    """
    source = parse(settings.source)
    if source.live:
        return
    try:
        Reader(source, settings, clock).close()
    except SourceError as error:
        message = redact(f"camera {source.name} ({source.safe}): {error}")
        raise SettingsError(message) from error
