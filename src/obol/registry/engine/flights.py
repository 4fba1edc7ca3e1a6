"""One piece of work for everybody who wants it at the same time.

The work is a task of its own: a client that goes away cancels its waiting, never the work.
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


class Flights(Generic[K, T]):
    """At most one running piece of work per key."""

    def __init__(self) -> None:
        self._running: dict[K, asyncio.Task[T | _Failed]] = {}

    async def join(self, key: K, work: Callable[[], Coroutine[Any, Any, T]], *, within: float | None = None) -> T:
        """The result of the work that runs under `key`, started here if none does.

        Raises what the work raised, and TimeoutError when it takes longer than `within` seconds; it then goes on.
        """
        task = self._running.get(key)
        if task is None:
            task = spawn(_caught(work()), name="flight")
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key, None))
        async with asyncio.timeout(within):
            outcome = await asyncio.shield(task)
        if isinstance(outcome, _Failed):
            raise outcome.problem
        return outcome

    def __len__(self) -> int:
        return len(self._running)

    async def close(self) -> None:
        """Cancel what runs and wait for it."""
        tasks = tuple(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _caught(work: Coroutine[Any, Any, T]) -> T | _Failed:
    try:
        return await work
    except Exception as problem:  # noqa: BLE001 - raised again for everybody who waits
        return _Failed(problem)
