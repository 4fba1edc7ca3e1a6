"""What the engine writes down: one event a line, for people or as JSON, on standard error.

Events carry values, never text that was put together from what others sent; control characters are escaped in both
styles, so a name cannot forge a line. Nothing secret is ever a value: no Authorization, no query of a presigned URL.
Tracebacks are plain ones, because those that show local variables show secrets.

A line that cannot be written is lost. The log mostly lies on the disk that the store fills, and what is done must not
fail because it cannot be told.
"""

from __future__ import annotations

import io
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from types import ModuleType

    from structlog.typing import EventDict, Processor

    from obol.machine.clock import Clock

LONGEST_PAUSE = 60.0
"""Seconds between two warnings of a kind that goes on and on."""
INNERMOST = 4
"""Places that are told of an exception."""


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Let a module that is not loaded yet be absent meanwhile."""
    loaded = name in sys.modules
    if not loaded:
        sys.modules[name] = cast("ModuleType", None)  # so says the reference of `import`: not to be found
    try:
        yield
    finally:
        if not loaded:
            del sys.modules[name]


# structlog loads rich where it is installed, for tracebacks that we do not show: 3 MiB, and a twentieth of the start.
with _hidden("rich"):
    import structlog


class _Lossy(io.TextIOBase):
    """Writes to another stream what that takes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def get() -> structlog.typing.FilteringBoundLogger:
    """The logger of the engine: `get().info("blob fetched", digest=…)`."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger


def configure(style: str, level: int = logging.INFO) -> None:
    """Write events of `level` and above to standard error: style `human`, or `json` with a line of JSON each.

    What the libraries log goes the same way from WARNING on.
    """
    render: list[Processor] = [structlog.processors.JSONRenderer()]
    if style != "json":
        plain = structlog.dev.plain_traceback
        colors = sys.stderr.isatty()
        render = [_escaped, structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=24, exception_formatter=plain)]
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    stream = cast("TextIO", _Lossy(sys.stderr))
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    stripped = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=[stripped, *render], foreign_pre_chain=shared))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


class LibraryHandler(logging.Handler):
    """Tells that a library complained: its name, and the place of an exception; not its words.

    Libraries put into their messages and tracebacks what a client or an upstream sent.
    """

    def __init__(self, seldom: Seldom) -> None:
        super().__init__(logging.WARNING)
        self._seldom = seldom

    def emit(self, record: logging.LogRecord) -> None:
        """What logging calls."""
        problem = record.exc_info[1] if record.exc_info else None
        if problem is None:
            self._seldom.warning("library warning", library=record.name, where=f"{record.filename}:{record.lineno}")
        else:
            self._seldom.failure("library failed", problem)


def hide_words_of_libraries(seldom: Seldom) -> None:
    """From now on tell only where libraries complain, and that seldom: for a program that others send requests to."""
    logging.basicConfig(handlers=[LibraryHandler(seldom)], level=logging.WARNING, force=True)


def _escaped(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Show what does not print as escapes. A traceback keeps its lines, set in so that none looks like an event."""
    for name, value in event.items():
        if name == "exception":
            event[name] = "\n".join(f"  {_printable(line)}" for line in str(value).split("\n"))
        elif isinstance(value, str):
            event[name] = _printable(value)
    return event


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


SPARING_BURST = 200.0
SPARING_PAUSE = 60.0
"""Lines of one event at once, and the seconds after which one more may be told: half a mebibyte in a day."""


class Seldom:
    """Warnings about what others can cause as often as they like: the first one at once, then few, with a count.

    Between two lines of one kind lies a second, and twice as long each time while they go on, up to `LONGEST_PAUSE`.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: dict[tuple[str, str], _LastWarning] = {}

    def warning(self, event: str, *, registry: str = "", **about: object) -> None:
        """Tell it, or count it for the next line: each event of each registry by itself. There are few of both."""
        now = self._clock.monotonic()
        told = self._told.get((event, registry))
        if told is not None and now < told.at + told.pause:
            told.left_out += 1
            return
        goes_on = told is not None and now < told.at + told.pause + LONGEST_PAUSE
        pause = min(2 * told.pause, LONGEST_PAUSE) if told is not None and goes_on else 1.0
        if told is not None and told.left_out:
            about["left_out"] = told.left_out
        if registry:
            about["registry"] = registry
        self._told[event, registry] = _LastWarning(now, pause)
        get().warning(event, **about)

    def failure(self, event: str, problem: BaseException) -> None:
        """Tell where an unexpected exception came from; not its text, where bytes of a request may be."""
        self.warning(event, problem=type(problem).__name__, where=_where(problem))


class Sparing:
    """Lines about what goes on all the time: all of a burst, then few, with a count of those left out.

    A whole image, or a cold cluster, is told line by line; who makes us do the same thing for hours fills no disk.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._left: dict[str, float] = {}
        self._at: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def info(self, event: str, **about: object) -> None:
        """Tell it, or count it for the next line of this event."""
        if self._may(event, about):
            get().info(event, **about)

    def warning(self, event: str, **about: object) -> None:
        """Tell it, or count it for the next line of this event."""
        if self._may(event, about):
            get().warning(event, **about)

    def _may(self, event: str, about: dict[str, object]) -> bool:
        now = self._clock.monotonic()
        back = (now - self._at.get(event, now)) / SPARING_PAUSE
        left = min(SPARING_BURST, self._left.get(event, SPARING_BURST) + max(0.0, back))
        self._at[event] = now
        self._left[event] = left - 1 if left >= 1 else left
        if left < 1:
            self._left_out[event] = self._left_out.get(event, 0) + 1
            return False
        if count := self._left_out.pop(event, 0):
            about["left_out"] = count
        return True


@dataclass(slots=True)
class _LastWarning:
    at: float
    pause: float
    left_out: int = 0


def _where(problem: BaseException) -> str:
    """The innermost places that an exception passed, outermost first: `module.py:12 function`."""
    frames = traceback.extract_tb(problem.__traceback__)[-INNERMOST:]
    return " > ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames)
