"""Running something that must tidy up whatever ends it.

An interrupt cancels the work once and then waits for it: one that comes while it tidies up, as an impatient person
sends it, changes nothing. `asyncio.run` alone would let the second one through, and does not know SIGTERM.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any, TypeVar

from obol.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_until_interrupted(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `work` on a new loop, and raise Interrupted where a signal ended it before its time."""
    return asyncio.run(_watched(work))


async def _watched(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    loop = asyncio.get_running_loop()
    ours = asyncio.current_task()
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if ours is not None and not interrupted:
            interrupted = True
            ours.cancel()

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, for one, means it
            loop.add_signal_handler(number, interrupt)
    try:
        return await work()
    except BaseException as problem:
        if not interrupted:
            raise
        raise Interrupted("interrupted", why="nothing is left behind") from problem
