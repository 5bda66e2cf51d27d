"""What the user may say of cameras' health."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Literal

from msgspec import Meta

from operators.base import Settings
from operators.records import Condition

Ignored = Annotated[tuple[Condition, ...], Meta(description="conditions that are not watched for")]


class CameraHealthSettings(Settings, frozen=True, kw_only=True):
    """What is different for some cameras."""

    cameras: Annotated[tuple[str, ...], Meta(min_length=1, description="names or globs such as 'gate-*'")]
    ignore: Ignored = ()
    sound: Annotated[Literal["learnt", "always", "never"], Meta(description=(
        "whether it is missed: learnt: once the camera has been heard nearly all the time"))] = "learnt"


class HealthSettings(Settings, frozen=True, kw_only=True):
    """Which conditions of cameras become events, and when a camera counts as silent."""

    ignore: Ignored = ()
    cameras: Annotated[tuple[CameraHealthSettings, ...], Meta(description="the first line that matches counts")] = ()
    silent_after_s: Annotated[float, Meta(ge=2, le=3600, description=(
        "a live camera shows no video once nothing came from it for this long, while others go on"))] = 8.0
    all_silent_after_s: Annotated[float, Meta(ge=2, le=3600, description=(
        "the same where nothing comes from any of several, or since a restart: the stages before may be at fault"))] = (
        30.0)

    def of(self, camera: str) -> CameraHealthSettings:
        """What counts for one camera, `ignore` of all included."""
        known = next((line for line in self.cameras if any(fnmatchcase(camera, glob) for glob in line.cameras)), None)
        return CameraHealthSettings(cameras=(camera,), ignore=(*self.ignore, *(known.ignore if known else ())),
                                    sound=known.sound if known else "learnt")
