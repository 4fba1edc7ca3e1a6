import asyncio
import time

import pytest

from obol.machine.clock import Clock, SystemClock
from tests.limits import scaled


def test_monotonic_never_goes_back() -> None:
    """Of two readings, the later is not the smaller."""
    clock: Clock = SystemClock()

    first, second = clock.monotonic(), clock.monotonic()

    assert first <= second


def test_wall_is_unix_time() -> None:
    """Wall time is the system's own, in seconds since 1970."""
    before = time.time()

    assert before <= SystemClock().wall() <= time.time()


async def test_sleep_waits_on_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sleeping is left to the running loop, so that other tasks go on meanwhile."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)

    await SystemClock().sleep(3600.0)

    assert waited == [3600.0]


def test_pause_lets_time_pass() -> None:
    """After a pause it is later, by about as much."""
    waiting = SystemClock()
    before = waiting.monotonic()

    waiting.pause(0.01)

    assert 0.01 <= waiting.monotonic() - before < scaled(1)
