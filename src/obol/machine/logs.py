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
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from structlog.typing import EventDict, Processor


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
