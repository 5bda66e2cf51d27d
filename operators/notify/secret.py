"""The secrets that sign a webhook, one or two: from the environment, from a file, or made once and kept."""

from __future__ import annotations

import base64
import binascii
import logging
import os
import secrets
from pathlib import Path

from operators.errors import SettingsError

log = logging.getLogger(__name__)

PREFIX = "whsec_"  # how Standard Webhooks writes a symmetric secret: this and base64
MIN_BYTES, MAX_BYTES = 24, 64  # as Standard Webhooks bounds it
MAX_SECRETS = 2  # the new one and the old one, while receivers change over


def from_environment(field: str, variable: str) -> tuple[bytes, ...]:
    """The keys in an environment variable.

    Raises:
        SettingsError: it is not set or holds no secret; names `field` and the variable, never the value.
    """
    text = os.environ.get(variable)
    if text is None:
        message = f"{field}: the environment has no {variable}"
        raise SettingsError(message)
    return _keys(text, f"{field}: {variable}")


def from_file(field: str, path: Path) -> tuple[bytes, ...]:
    """The keys in a file.

    Raises:
        SettingsError: it cannot be read or holds no secret; names `field` and the file, never the value.
    """
    try:
        text = path.read_text("ascii")
    except OSError as error:
        message = f"{field}: {path}: {error.strerror}"
        raise SettingsError(message) from error
    except UnicodeDecodeError:
        text = ""
    return _keys(text, f"{field}: {path}")


def kept(field: str, path: Path) -> tuple[bytes, ...]:
    """The keys in `path`, which only the owner may read; one is made at random where there is none yet.

    Several processes may ask for the same one at once: all get the same ones.

    Raises:
        SettingsError: the file cannot be written, or holds something else.
    """
    if not path.exists():
        try:
            _make(path)
        except OSError as error:
            message = f"{field}: cannot keep a signing secret in {path}: {error.strerror}"
            raise SettingsError(message) from error
        log.info("%s: made a signing secret; receivers verify with the one in %s", field, path)
    return from_file(field, path)


def _make(path: Path) -> None:
    """Write aside and link: the name appears with its whole content, and only for the first process."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    text = PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        path.hardlink_to(aside)
    except FileExistsError:
        pass  # another process was first; its secret counts
    finally:
        aside.unlink()


def _keys(text: str, where: str) -> tuple[bytes, ...]:
    words = text.split()
    if not 1 <= len(words) <= MAX_SECRETS:
        message = f"{where}: not a signing secret, nor two with white space between"
        raise SettingsError(message)
    return tuple(_key(word, where) for word in words)


def _key(text: str, where: str) -> bytes:
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not MIN_BYTES <= len(key) <= MAX_BYTES:
        message = f"{where}: not a signing secret: {PREFIX} and the base64 of {MIN_BYTES} to {MAX_BYTES} bytes expected"
        raise SettingsError(message)
    return key
