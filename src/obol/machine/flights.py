"""One piece of work for all callers that want it at the same time.

The work is a task of its own: a client that goes away cancels its waiting, never the work. So what comes too late
for one client is there for the next. Work that no client waits for any more is bounded in number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from obol.machine.tasks import spawn

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Failed:
    problem: Exception


@dataclass(eq=False, slots=True)
class _Flight(Generic[T]):
    task: asyncio.Task[T | _Failed]
    waiting: int = 0


class Flights(Generic[K, T]):
    """At most one running piece of work per key, and `unattended` that no caller waits for: the oldest is given up."""

    def __init__(self, unattended: int) -> None:
        self._unattended = unattended
        self._running: dict[K, _Flight[T]] = {}

    async def join(self, key: K, work: Callable[[], Coroutine[Any, Any, T]], *, within: float | None = None) -> T:
        """The result of the work that runs under `key`, started here if none does.

        Raises what the work raised, and TimeoutError when it takes longer than `within` seconds; it then goes on.
        """
        flight = self._running.get(key) or self._start(key, work)
        flight.waiting += 1
        try:
            async with asyncio.timeout(within):
                outcome = await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._thin_out()
        if isinstance(outcome, _Failed):
            raise outcome.problem
        return outcome

    def _start(self, key: K, work: Callable[[], Coroutine[Any, Any, T]]) -> _Flight[T]:
        flight = self._running[key] = _Flight(spawn(_caught(work()), name="flight"))
        flight.task.add_done_callback(lambda _: self._forget(key, flight))
        return flight

    def _forget(self, key: K, flight: _Flight[T]) -> None:
        if self._running.get(key) is flight:
            del self._running[key]

    def _thin_out(self) -> None:
        alone = [(key, flight) for key, flight in self._running.items() if not flight.waiting]
        for key, flight in alone[: max(0, len(alone) - self._unattended)]:
            self._forget(key, flight)
            flight.task.cancel()

    def __len__(self) -> int:
        return len(self._running)

    async def close(self) -> None:
        """Cancel what runs and wait for it."""
        tasks = [flight.task for flight in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _caught(work: Coroutine[Any, Any, T]) -> T | _Failed:
    try:
        return await work
    except Exception as problem:  # noqa: BLE001 - raised again for all that wait
        return _Failed(problem)
