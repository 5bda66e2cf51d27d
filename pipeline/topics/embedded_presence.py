"""Who has the log open: a locked file for each opening, which the kernel lets go when its process dies.

So a killed process's share of the work moves on at once, without waiting for a timeout.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

_SUFFIX = ".alive"


class Presence:
    """The sign of life of one opening of the log, held from creation to `close` or the process's end.

    Create it while `opening` holds the folder, so that nobody sees the file before it is locked.
    """

    def __init__(self, folder: Path) -> None:
        self.name = uuid4().hex
        self._path = folder / (self.name + _SUFFIX)
        self._file = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def close(self) -> None:
        """Be gone for everybody."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)

    def disown(self) -> None:
        """In a forked child: let go of the inherited file, so that only the parent holds the lock."""
        os.close(self._file)


def is_present(folder: Path, name: str) -> bool:
    """Whether the opening called `name` is still held by a living process."""
    path = folder / (name + _SUFFIX)
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


@contextmanager
def opening(folder: Path) -> Iterator[None]:
    """Hold the folder while a log is opened in it, and clear away what dead processes left."""
    file = os.open(folder / "opening.lock", os.O_CREAT | os.O_RDWR, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        for path in folder.glob("*" + _SUFFIX):
            if not is_present(folder, path.stem):
                path.unlink(missing_ok=True)
        yield
    finally:
        os.close(file)
