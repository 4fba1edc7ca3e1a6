"""Looking at a thing again and again until it is as it should be, or the time is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obol.machine.clock import Clock


class Polling:
    """A loop whose body runs at once and then `every` so many seconds, until `within` seconds are over.

    `async for` sleeps between two looks, `for` blocks the thread. The body leaves the loop when it has seen enough;
    what stands after the loop is for a time that is over. Each look is given the seconds that have passed.
    """

    def __init__(self, clock: Clock, *, every: float, within: float) -> None:
        self._clock = clock
        self._every = every
        self._within = within
        self._began = clock.monotonic()
        self._looked = False

    def __aiter__(self) -> Polling:
        return self

    async def __anext__(self) -> float:
        if self._looked:
            if self._passed() >= self._within:
                raise StopAsyncIteration
            await self._clock.sleep(self._every)
        self._looked = True
        return self._passed()

    def __iter__(self) -> Polling:
        return self

    def __next__(self) -> float:
        if self._looked:
            if self._passed() >= self._within:
                raise StopIteration
            self._clock.pause(self._every)
        self._looked = True
        return self._passed()

    def _passed(self) -> float:
        return self._clock.monotonic() - self._began
