"""Waiting without an event loop, as a port: for commands that only look after another process and should start fast."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Waiting(Protocol):
    """Seconds, as floats."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        ...


class SystemWaiting:
    """The machine's own time."""

    def monotonic(self) -> float:
        """Seconds since boot."""
        return time.monotonic()

    def pause(self, seconds: float) -> None:
        """Block this thread; a signal still gets through."""
        threading.Event().wait(seconds)
