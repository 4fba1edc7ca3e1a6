"""The log of the background process: what goes into it besides the engine's own lines, and how it is followed."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def follow(log: Path, lines: int) -> None:
    """Print lines as they are, whatever the output format: the engine's own may be JSON already."""
    from obol.caches.builtin import log as enginelog
    from obol.machine.clock import SystemClock

    sys.stdout.writelines(f"{line}\n" for line in enginelog.last_lines(log, lines))
    sys.stdout.flush()
    for piece in enginelog.follow(log, SystemClock()):
        sys.stdout.write(piece)
        sys.stdout.flush()


def warn_in_log(warning: str, log_format: str) -> None:
    """Warn where the engine will log, so that a log of JSON lines stays one."""
    import json

    line = json.dumps({"level": "warning", "event": warning}) if log_format == "json" else f"warning: {warning}"
    sys.stderr.write(f"{line}\n")


def keep_log_small(log_file: Path) -> None:
    """Cut the log, for as long as this process runs, before it grows large."""
    from obol.caches.builtin.log import keep_small
    from obol.machine.clock import SystemClock

    threading.Thread(target=keep_small, args=(log_file, SystemClock()), name="log", daemon=True).start()
