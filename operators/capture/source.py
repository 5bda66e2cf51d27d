"""What the user calls a camera: `[NAME=]SOURCE`, and how to speak of it without its credentials."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from operators.errors import SettingsError

SourceKind = Literal["file", "rtsp", "http", "v4l2"]

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
KIND_OF_SCHEME: dict[str, SourceKind] = {"rtsp": "rtsp", "rtsps": "rtsp", "http": "http", "https": "http"}

# Up to the last @, since passwords are often not escaped; also where no scheme stands before.
_USERINFO = re.compile(r"(?:(?<=://)[^\s'\"]*|[^\s/:@'\"=]+:[^\s/@'\"]+)@")
_SECRET_PARAMETER = re.compile(
    r"(?i)((?:^|[?&;#])[\w.\-\[\]]*"
    r"(?:token|key|pass|pwd|secret|auth|sig|credential|session|user|login|jwt|sas)[\w.\-\[\]]*=)[^&;#\s'\"]+"
)
_HIDDEN = "***"


class Source(msgspec.Struct, frozen=True):
    """Where a camera's media comes from. Its `url` may hold credentials: print `safe` instead."""

    name: str
    kind: SourceKind
    url: str  # a URL, a path, or a device

    @property
    def live(self) -> bool:
        """Whether the source goes on without waiting for us."""
        return self.kind != "file"

    @property
    def safe(self) -> str:
        """The source as it may be shown to anybody."""
        return redact(self.url)

    def __repr__(self) -> str:
        return f"Source({self.name}={self.safe})"


def parse(text: str) -> Source:
    """Read `[NAME=]SOURCE`; without a name one is made of the file's or the host's name.

    Raises:
        SettingsError: an unknown scheme, an unreadable file, a device that is not there, a bad name.
    """
    name, url = _split_name(text.strip())
    kind = _kind_of(url)
    if kind == "file":
        _check_file(url)
    name = _default_name(kind, url) if name is None else name
    if not NAME.fullmatch(name):
        message = f"camera name {redact(name)!r}: 1 to 64 of A-Z a-z 0-9 _ . - are allowed"
        raise SettingsError(message)
    return Source(name, kind, url)


def redact(text: str) -> str:
    """`text` with the credentials of every URL in it replaced by ***."""
    return _SECRET_PARAMETER.sub(rf"\1{_HIDDEN}", _USERINFO.sub(f"{_HIDDEN}@", text))


def _split_name(text: str) -> tuple[str | None, str]:
    """`NAME=SOURCE` in two; an equals sign inside a URL or path is part of it."""
    name, equals, url = text.partition("=")
    if not equals or "/" in name or ":" in name or Path(text).exists():
        return None, text
    return name, url


def _kind_of(url: str) -> SourceKind:
    if not url:
        message = "source is empty: a file, rtsp(s)://, http(s):// or v4l2:/dev/videoN is wanted"
        raise SettingsError(message)
    if url.startswith("v4l2:"):
        if not re.fullmatch(r"v4l2:/dev/[\w/.-]+", url):
            message = f"source {redact(url)!r}: write v4l2:/dev/videoN"
            raise SettingsError(message)
        return "v4l2"
    scheme, separator, _ = url.partition("://")
    if not separator:
        return "file"
    kind = KIND_OF_SCHEME.get(scheme.lower())
    if kind is None:
        message = f"source {redact(url)!r}: unknown scheme; a file, rtsp(s)://, http(s):// or v4l2: is wanted"
        raise SettingsError(message)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:
        message = f"source {redact(url)!r}: no valid host and port"
        raise SettingsError(message)
    return kind


def _check_file(url: str) -> None:
    path = Path(url)
    try:
        if not path.is_file():
            message = f"source {redact(url)!r}: " + ("not a file" if path.exists() else "no such file")
            raise SettingsError(message)
        with path.open("rb"):
            pass
    except OSError as error:
        message = f"source {redact(url)!r}: cannot be read: {error.strerror}"
        raise SettingsError(message) from None


def _default_name(kind: SourceKind, url: str) -> str:
    if kind == "file":
        name = Path(url).stem
    elif kind == "v4l2":
        name = url.rpartition("/")[2]
    else:
        name = urlsplit(url).hostname or "camera"
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-")[:64] or "camera"
