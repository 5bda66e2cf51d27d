"""Threads whose end can be waited for, and tells how it was."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

Running = tuple[threading.Thread, "Future[None]"]


def in_background(name: str, target: Callable[..., None], *arguments: object) -> Running:
    """Start `target` in a thread of its own; how it ended stands in the future."""
    result: Future[None] = Future()

    def body() -> None:
        try:
            target(*arguments)
        except BaseException as error:  # handed to the thread that waits for this one
            result.set_exception(error)
        else:
            result.set_result(None)

    thread = threading.Thread(target=body, name=name, daemon=True)
    thread.start()
    return thread, result
