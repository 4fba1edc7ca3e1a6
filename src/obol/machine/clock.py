"""Time as a port, so that tests can own it.

Everything that compares moments uses `monotonic`; `wall` is only for what people read and for what outlives a process.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Seconds, as floats."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...

    def wall(self) -> float:
        """Seconds since 1970; may jump."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait, and let other tasks run."""
        ...

    def pause(self, seconds: float) -> None:
        """Block this thread: for commands that only look after another process and run no event loop."""
        ...


class SystemClock:
    """The machine's own clock."""

    def monotonic(self) -> float:
        """Seconds since boot."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since 1970."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait on the running loop."""
        import asyncio  # noqa: PLC0415 - what only pauses should start fast

        await asyncio.sleep(seconds)

    def pause(self, seconds: float) -> None:
        """Block this thread; a signal still gets through."""
        threading.Event().wait(seconds)
