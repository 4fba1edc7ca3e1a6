"""Large answers of an upstream are in memory one at a time.

Each is bounded, but many clients may ask for many of them at once, and to read one takes several times its length. So
whoever reads one beyond a length that no usual manifest has waits for its turn, and has it until the work in which the
answer is used ends: `during` marks that work. An upstream that takes its time holds up nobody but itself.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

T = TypeVar("T")

LARGE = 128 * 1024
"""Bytes of an answer that needs no turn. Manifests of images have a tenth of it."""


class _Turn:
    def __init__(self, free: asyncio.Lock) -> None:
        self._free = free
        self._taken = False

    async def take(self) -> None:
        if not self._taken:
            await self._free.acquire()
            self._taken = True

    def end(self) -> None:
        if self._taken:
            self._taken = False
            self._free.release()


_current: ContextVar[_Turn | None] = ContextVar("turn", default=None)


class Turns:
    """The turns of one engine."""

    def __init__(self) -> None:
        self._free: dict[str, asyncio.Lock] = {}

    @asynccontextmanager
    async def during(self, registry: str) -> AsyncIterator[None]:
        """Do work in which one answer of a registry is in memory; its turn, if it needs one, ends with the work."""
        turn = _Turn(self._free.setdefault(registry, asyncio.Lock()))
        token = _current.set(turn)
        try:
            yield
        finally:
            _current.reset(token)
            turn.end()

    async def take(self, registry: str, work: Coroutine[Any, Any, T]) -> T:
        """The outcome of such work."""
        async with self.during(registry):
            return await work


async def take_turn() -> None:
    """Wait until a large answer may be read; at once where the work has its turn, or is not limited."""
    turn = _current.get()
    if turn is not None:
        await turn.take()
