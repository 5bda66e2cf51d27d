"""How log lines are written: in plain text or as JSON, and a line that repeats itself is counted, not repeated."""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Number
from typing import Literal

import msgspec
from rich.console import Console
from rich.logging import RichHandler
from typing_extensions import override

from operators.clock import NS_PER_S, Clock, SystemClock, rfc3339, seconds_to_ns

Form = Literal["plain", "json"]
LogFormat = Literal["auto", "plain", "json"]
FORMAT_HELP = "plain lines, JSON, or as it suits where they go"

FIELDS = ("camera", "stage", "segment", "trace_id", "span_id")  # what a line may say of what it is about
PLAIN = "%(asctime)s %(levelname)s %(message)s%(again)s"
OURS = ("operators", "pipeline")
BURST, PERIOD_S = 5, 60.0  # a line may come so often in that time
MAX_KINDS = 1000  # of lines that are remembered

_about: ContextVar[dict[str, str]] = ContextVar("about", default={})  # noqa: B039 - replaced, never changed


@contextmanager
def about(**fields: str) -> Iterator[None]:
    """Every line that this thread logs meanwhile says so; names are of FIELDS. Others come as `extra` of a line."""
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def log_to_stream(form: Form) -> None:
    """Log to standard error, from INFO on what is ours, from WARNING on what libraries say."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else logging.Formatter(PLAIN))
    _begin(handler, logging.INFO)


def log_beside(console: Console) -> None:
    """Log above what is drawn on a terminal, from WARNING on."""
    handler = RichHandler(console=console, show_path=False, markup=False, rich_tracebacks=False)
    handler.setFormatter(logging.Formatter("%(message)s%(again)s"))
    _begin(handler, logging.WARNING)


def form_for_machines(wanted: LogFormat) -> Form:
    """The form for a process that nobody watches, as a rule: JSON, unless somebody does."""
    if wanted != "auto":
        return wanted
    return "plain" if sys.stderr.isatty() else "json"


def form_for_people(wanted: LogFormat) -> Form:
    """The form for a process that somebody watches, as a rule."""
    return "plain" if wanted == "auto" else wanted


def _begin(handler: logging.Handler, level: int) -> None:
    handler.addFilter(Repeats())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for package in OURS:
        logging.getLogger(package).setLevel(level)


class Repeats(logging.Filter):
    """Lets a line pass BURST times in PERIOD_S; the next one after that says how many were left out.

    Lines repeat each other if they differ in nothing but numbers, where a text given as it is, such as a
    camera's name, counts with its digits.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__()
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._kinds: OrderedDict[tuple[str, ...], _Kind] = OrderedDict()

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            kind = self._kinds.setdefault(_key(record), _Kind(now_ns))
            self._kinds.move_to_end(_key(record))
            if len(self._kinds) > MAX_KINDS:
                self._kinds.popitem(last=False)
            if now_ns - kind.since_ns >= seconds_to_ns(PERIOD_S):
                kind.since_ns, kind.passed = now_ns, 0
            if kind.passed >= BURST:
                kind.held += 1
                return False
            kind.passed += 1
            vars(record)["repeated"] = kind.held
            vars(record)["again"] = f" (left out before: {kind.held} like it)" if kind.held else ""
            kind.held = 0
        return True


class _Kind:
    """Lines that repeat each other."""

    def __init__(self, since_ns: int) -> None:
        self.since_ns = since_ns
        self.passed = self.held = 0


def _key(record: logging.LogRecord) -> tuple[str, ...]:
    given = record.args if isinstance(record.args, tuple) else (record.args,)
    said = [text if isinstance(text, str) else re.sub(r"\d+", "0", str(text)) for text in given
            if not isinstance(text, Number)]
    return (record.name, record.levelname, str(record.msg), *said, *_fields(record).values())


def _fields(record: logging.LogRecord) -> dict[str, str]:
    """What the line is about, as far as it repeats itself: not the segment and its trace."""
    return {name: value for name, value in everything_about(record).items() if name in {"camera", "stage"}}


def everything_about(record: logging.LogRecord) -> dict[str, str]:
    """What the line says of what it is about, in the order of FIELDS."""
    known = _about.get()
    found = {name: getattr(record, name, known.get(name)) for name in FIELDS}
    return {name: str(value) for name, value in found.items() if value is not None}


class JsonLines(logging.Formatter):
    """A JSON object a line."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": rfc3339(round(record.created * NS_PER_S)), "level": record.levelname.lower(),
            "logger": record.name, "message": record.getMessage(), **everything_about(record)}
        if repeated := getattr(record, "repeated", 0):
            line["repeated"] = repeated
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()
