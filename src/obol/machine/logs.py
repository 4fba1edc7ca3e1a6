"""What the engine writes down: one event a line, for people or as JSON, on standard error.

Events carry values, never text that was put together from what others sent; both renderers escape control characters,
so a name cannot forge a line. Nothing secret is ever a value: no Authorization, no query of a presigned URL.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from structlog.typing import Processor


def get() -> structlog.typing.FilteringBoundLogger:
    """The logger of the engine: `get().info("blob fetched", digest=…)`."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger


def configure(style: str, level: int = logging.INFO) -> None:
    """Write events of `level` and above to standard error: style `human`, or `json` with a line of JSON each.

    What the libraries log goes the same way from WARNING on.
    """
    render: Processor
    if style == "json":
        render = structlog.processors.JSONRenderer()
    else:
        render = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=24)
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=render, foreign_pre_chain=shared))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
