"""What evidence of events is kept, where, for how long, and who is let in to see it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from operators.base import Settings

DAY_S = 86_400.0


class ServeSettings(Settings, frozen=True, kw_only=True):
    """Where browsers fetch evidence, by links that are signed and expire."""

    port: Annotated[int, Meta(ge=1, le=65535, description="to listen on")]
    host: Annotated[str, Meta(min_length=1, description="address to listen on")] = "127.0.0.1"
    base_url: Annotated[Annotated[str, Meta(pattern=r"^https?://[^\s?#@]+$")] | None, Meta(description=(
        "how browsers reach it; null: http://HOST:PORT"))] = None
    link_lifetime_s: Annotated[float, Meta(ge=60, le=3650 * DAY_S, description=(
        "a link works for so long after the event's media came"))] = 7 * DAY_S
    secret_env: Annotated[str | None, Meta(description=(
        "environment variable with the secret that signs links; with two of them the first signs"))] = None
    secret_file: Annotated[str | None, Meta(description=(
        "the same in a file; with neither, one is made and kept"))] = None


class EvidenceSettings(Settings, frozen=True, kw_only=True):
    """A clip, a snapshot and a picture that shows why, for every event that is told."""

    url: Annotated[str, Meta(min_length=1, description="folder, or any URL that fsspec knows, such as s3://bucket/evidence")]
    before_s: Annotated[float, Meta(ge=0, le=60, description="of the clip, before the event")] = 5.0
    after_s: Annotated[float, Meta(ge=0, le=60, description="and after it")] = 5.0
    longest_s: Annotated[float, Meta(ge=1, le=600, description="of an event that lasts longer, only so much")] = 120.0
    patience_s: Annotated[float, Meta(ge=1, le=3600, description=(
        "a camera of which nothing comes for so long is waited for no more"))] = 30.0
    keep_days: Annotated[float, Meta(gt=0, le=3650, description="older evidence goes")] = 30.0
    keep_bytes: Annotated[int, Meta(ge=2**20, description="beyond it, the oldest goes")] = 10 * 2**30
    serve: Annotated[ServeSettings | None, Meta(description="null: no links, and nothing is served")] = None
