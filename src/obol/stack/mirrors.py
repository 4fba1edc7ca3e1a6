"""The caches of a stack, and the way of its nodes to them: one class for each way."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from obol.caches.containerplan import PUSH_PORT
from obol.caches.reachable import addresses_of
from obol.caches.removal import remove_store
from obol.rendering.loopback import LOOPBACK
from obol.rendering.registries import Mirror
from obol.stack.lifecycle import Wired

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from obol.caches.base import CacheEngine, Started, Substitute
    from obol.caches.containers import ContainerSeen


PUSHED = Mirror(f"localhost:{PUSH_PORT}", f"http://{LOOPBACK}:{PUSH_PORT}")
"""Development mode: where a node on this machine looks for what was pushed to a registry on that port."""


@dataclass(frozen=True, slots=True)
class HostCaches:
    """The builtin engine for what pulls images in this machine's own network: it is reached on loopback."""

    engine: CacheEngine
    store: Path
    label: str = "Starting the registry caches"
    push: tuple[Mirror, ...] = ()
    """Registries that one can push to, which are not the engine's."""

    async def start(self) -> Started:
        """Start it, if it does not run. Raises ObolError."""
        return await asyncio.to_thread(self.engine.start)

    async def wire(self, started: Started | None) -> Wired:
        """Say where it serves which registry."""
        if started is None:
            return Wired(())
        cached = [Mirror(registry, base) for registry, base in addresses_of(started.status.listeners).items()]
        return Wired((*cached, *self.push), moved(started.substitutes))

    async def containers(self) -> tuple[ContainerSeen, ...]:
        """There are none."""
        return ()

    async def remove(self) -> tuple[str, ...]:
        """Stop it and remove its store. Raises ObolError."""
        await asyncio.to_thread(self.engine.stop)
        left = await asyncio.to_thread(remove_store, self.store)
        return tuple(f"{path} is not ours and stays." for path in left)


def moved(substitutes: Iterable[Substitute]) -> tuple[str, ...]:
    """Tell of each cache that is on another port than the usual one: a line each."""
    return tuple(_moved(one) for one in substitutes if one.wanted)


def _moved(one: Substitute) -> str:
    if one.free:
        again = "was taken, and is free again: `obol cache stop` and `obol stack up` bring it back"
        return f"The cache of {one.registry} is on port {one.port}; {one.wanted} {again}."
    by = f" by {one.holder}" if one.holder else ""
    return f"Port {one.wanted} is taken{by}: the cache of {one.registry} is on {one.port}."


class NoNetworks:
    """Where no network can have been leaked."""

    async def reclaim(self) -> tuple[str, ...]:
        """There is nothing to free."""
        return ()
