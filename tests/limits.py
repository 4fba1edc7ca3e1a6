"""How long tests wait. Every limit of real time in tests/ is scaled here: none fails because the machine is busy.

The factor is `OBOL_TEST_PATIENCE`. Where it is not set, conftest measures how busy the machine is, and sets it. A limit
that only ends what hangs may be long at no cost. A limit that a test waits for (the engine's, made short) grows as
well, and so does what the test allows for it: the two stay in proportion.
"""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from functools import cache
from pathlib import Path

from obol.registry.settings import TimeLimits

VARIABLE = "OBOL_TEST_PATIENCE"
MOST = 8.0
"""The largest factor that is chosen without being asked for."""
_SAMPLES = 20
_POLL = 0.002
_STAT = Path("/proc/stat")


@cache
def factor() -> float:
    """By how much the limits are longer than on an idle machine."""
    return float(os.environ.get(VARIABLE) or 1)


def scaled(seconds: float) -> float:
    """A limit for this machine, from that for an idle one."""
    return seconds * factor()


def short_limits(*, trickle_bytes: int = TimeLimits().trickle_bytes, **seconds: float) -> TimeLimits:
    """The limits of the engine, of which some are made short enough to be waited for."""
    return TimeLimits(trickle_bytes=trickle_bytes, **{name: scaled(limit) for name, limit in seconds.items()})


def measured() -> float:
    """The factor that suits what other programs do on this machine just now: 1 if it is idle, 2.5 if all is taken."""
    return min(MOST, 1 + round(1.5 * _others() / (os.cpu_count() or 1), 1))


def _others() -> float:
    """How many programs run or wait for a processor, on average over a moment, without this one."""
    if not _STAT.exists():
        return os.getloadavg()[0]
    running = 0
    for _ in range(_SAMPLES):
        running += int(_STAT.read_text().partition("procs_running ")[2].partition("\n")[0])
        time.sleep(0.01)  # noqa: TID251 - the machine is watched, not a clock of ours
    return max(0.0, running / _SAMPLES - 1)


async def eventually(
    probe: Callable[[], object], *, seconds: float = 10.0, story: Callable[[], object] = lambda: "it never came"
) -> None:
    """Ask again and again until a function, or the coroutine that it returns, gives something true.

    The test fails with the story when it takes too long.
    """
    deadline = time.monotonic() + scaled(seconds)
    while True:
        found = probe()
        if await found if isinstance(found, Coroutine) else found:
            return
        assert time.monotonic() < deadline, story()
        await asyncio.sleep(_POLL)


def wait_until(
    probe: Callable[[], object], *, seconds: float = 60.0, story: Callable[[], object] = lambda: "it never came"
) -> None:
    """The same, where there is no event loop."""
    asyncio.run(eventually(probe, seconds=seconds, story=story))
