"""Has the cache engine run for as long as an `up` depends on it: one that dies is started again, on the same ports.

Nodes ask for an image again by themselves, and reach the new one; where it cannot be started again, they go to the
registries directly. Either is said in one line, and `up` goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from obol.errors import EngineUnresponsive, ObolError
from obol.machine.polling import Polling

if TYPE_CHECKING:
    from obol.caches.builtin.process import BuiltinEngine, Running
    from obol.machine.clock import Clock
    from obol.registry.control.api import EngineStatus

LOOK_EVERY = 1.0
"""Seconds between two looks at the engine, each a question on its control socket."""
SETTLES_WITHIN = 5.0
"""Seconds in which an engine that does not answer is looked at again: one that was killed holds its store until the
kernel has taken down all of it, when its clients have seen their connections break already."""
SETTLES_EVERY = 0.1
MOST_DEATHS = 3
"""An engine that has died so often is left alone."""


class Keeper:
    """Looks after one engine; `tell` takes a sentence for the person."""

    def __init__(self, engine: BuiltinEngine, running: EngineStatus, clock: Clock, tell: Callable[[str], None]) -> None:
        self._engine = engine
        self._pid = running.pid
        self._clock = clock
        self._tell = tell
        self._deaths = 0
        self._given_up = False
        self._one_at_a_time = asyncio.Lock()

    async def keep(self, restored: Callable[[], Awaitable[None]]) -> None:
        """Look again and again, until cancelled; `restored` is called when another engine runs."""
        while not self._given_up:
            await self._clock.sleep(LOOK_EVERY)
            await self.look(restored)

    async def look(self, restored: Callable[[], Awaitable[None]]) -> bool:
        """Start the engine if it does not run; tells whether it died at any time since it has been looked after."""
        async with self._one_at_a_time:
            if not self._given_up:
                await self._look(restored)
            return bool(self._deaths)

    async def _look(self, restored: Callable[[], Awaitable[None]]) -> None:
        running: Running | None = None
        async for _ in Polling(self._clock, every=SETTLES_EVERY, within=SETTLES_WITHIN):
            try:
                running = await asyncio.to_thread(self._engine.status)
            except EngineUnresponsive:  # busy, starting or ending
                continue
            except ObolError:
                pass
            break
        else:
            return  # busy: the next look tells
        if running is not None and running.status.pid == self._pid:
            return
        self._deaths += 1
        what = f"The cache engine (process {self._pid}) ended while the stack came up"
        try:
            if self._deaths > MOST_DEATHS:
                raise EngineUnresponsive("it ends again and again")
            started = await asyncio.to_thread(self._engine.start)
        except ObolError as problem:
            self._given_up = True
            why = str(problem).removesuffix(".")
            self._tell(f"{what} and cannot be started again ({why}): images are pulled directly.")
            return
        self._pid = started.status.pid
        await restored()
        self._tell(f"{what}: it was started again (process {self._pid}), and pulls go on through it.")
