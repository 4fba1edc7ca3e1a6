import asyncio

import pytest

from obol.machine.flights import Flights
from obol.machine.tasks import spawn


class Work:
    """Something that takes until it is let go; counts how often it ran."""

    def __init__(self, problem: Exception | None = None) -> None:
        self.started = 0
        self.ended = 0
        self.go = asyncio.Event()
        self._problem = problem

    async def __call__(self) -> int:
        self.started += 1
        try:
            await self.go.wait()
        finally:
            self.ended += 1
        if self._problem is not None:
            raise self._problem
        return self.started


async def test_one_for_all() -> None:
    """However many ask at the same time, the work is done once and everybody has its result."""
    flights: Flights[str, int] = Flights(64)
    work = Work()

    waiting = [spawn(flights.join("key", work), name="client") for _ in range(50)]
    await asyncio.sleep(0)
    assert len(flights) == 1
    work.go.set()

    assert await asyncio.gather(*waiting) == [1] * 50
    assert len(flights) == 0


async def test_keys_are_apart() -> None:
    """Work under another key is other work."""
    flights: Flights[str, int] = Flights(64)
    work = Work()
    work.go.set()

    await asyncio.gather(flights.join("a", work), flights.join("b", work))

    assert work.started == 2


async def test_not_remembered() -> None:
    """Who asks after the work has ended starts it again: a flight is no cache."""
    flights: Flights[str, int] = Flights(64)
    work = Work()
    work.go.set()

    assert [await flights.join("key", work), await flights.join("key", work)] == [1, 2]


async def test_failure_is_everybodys() -> None:
    """What the work raises, everybody who waits is told; the next one tries anew."""
    flights: Flights[str, int] = Flights(64)
    work = Work(ValueError("broken"))

    waiting = [spawn(_outcome(flights, work), name="client") for _ in range(3)]
    await asyncio.sleep(0)
    work.go.set()

    assert await asyncio.gather(*waiting) == ["broken"] * 3
    assert await _outcome(flights, work) == "broken"
    assert work.started == 2


async def _outcome(flights: Flights[str, int], work: Work) -> str:
    with pytest.raises(ValueError, match=r".") as problem:
        await flights.join("key", work)
    return str(problem.value)


async def test_cancelled_client() -> None:
    """A client that goes away, the first one too, stops waiting and disturbs nobody."""
    flights: Flights[str, int] = Flights(64)
    work = Work()
    first = spawn(flights.join("key", work), name="first")
    second = spawn(flights.join("key", work), name="second")
    await asyncio.sleep(0)

    first.cancel()
    await asyncio.sleep(0)
    work.go.set()

    assert await second == 1
    assert first.cancelled()


async def test_too_late() -> None:
    """Who waits no longer than some time gives up then; the work goes on for others."""
    flights: Flights[str, int] = Flights(64)
    work = Work()

    with pytest.raises(TimeoutError):
        await flights.join("key", work, within=0.01)
    assert work.ended == 0
    work.go.set()

    assert await flights.join("key", work) == 1


async def test_close() -> None:
    """At the end what runs is cancelled, and has ended when `close` returns."""
    flights: Flights[str, int] = Flights(64)
    work = Work()
    client = spawn(flights.join("key", work), name="client")
    await asyncio.sleep(0.001)

    await flights.close()

    assert work.ended == 1
    with pytest.raises(asyncio.CancelledError):
        await client


async def test_work_that_nobody_waits_for_is_bounded() -> None:
    """What went on without its clients is given up when there is too much of it, the oldest first."""
    flights: Flights[int, int] = Flights(unattended=2)
    works = [Work() for _ in range(4)]
    attended = spawn(flights.join(0, works[0]), name="client")
    for key, work in enumerate(works[1:], 1):
        with pytest.raises(TimeoutError):
            await flights.join(key, work, within=0.001)
    await asyncio.sleep(0)

    assert [work.ended for work in works] == [0, 1, 0, 0]
    second = spawn(flights.join(2, works[2]), name="client")
    await asyncio.sleep(0)
    works[0].go.set()
    works[2].go.set()
    assert (await attended, await second) == (1, 1)
    again = spawn(flights.join(1, works[1]), name="client")
    works[1].go.set()
    assert await again == 2
    await flights.close()
