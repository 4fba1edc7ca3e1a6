"""The engine in this process, for `obol cache serve` and `obol registry`."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from obol.caches.builtin import log
from obol.machine.clock import SystemClock
from obol.wiring import engine

if TYPE_CHECKING:
    from obol.registry.settings import EngineSettings


def serve(
    settings: EngineSettings,
    log_format: str,
    warnings: Iterable[str] = (),
    *,
    log_level: int = logging.INFO,
    log_file: Path | None = None,
) -> int:
    """Serve until a signal or the control socket ends it, and keep a `log_file` small; gives the exit code."""
    for warning in warnings:
        # As the engine logs, so that a log of JSON lines stays one.
        line = json.dumps({"level": "warning", "event": warning}) if log_format == "json" else f"warning: {warning}"
        sys.stderr.write(f"{line}\n")
    if log_file is not None:
        threading.Thread(target=log.keep_small, args=(log_file, SystemClock()), name="log", daemon=True).start()
    return engine.serve(settings, log_format=log_format, log_level=log_level)
