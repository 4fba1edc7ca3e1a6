"""The caches of a stack, and the way of its nodes to them: one class for each way."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obol.caches.containers.plan import PUSH_PORT
from obol.caches.ports import Listener
from obol.caches.reachable import addresses_of
from obol.caches.removal import remove_store
from obol.errors import PortTaken
from obol.rendering.loopback import LOOPBACK
from obol.rendering.registries import Mirror
from obol.stack.parts import Wired

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from obol.backends.ports import Watch
    from obol.caches.containers.engine import ContainerSeen
    from obol.caches.ports import CacheEngine, Started, Substitute


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
    private: bool = False
    """Each `up` has ports of its own, for pulls that are told where to ask when they begin."""
    apart: str = ""
    """An address of loopback at which only the nodes of a stack ask, for nodes that are told once; "" for none."""

    async def start(self) -> Started:
        """Start it, if it does not run. Raises ObolError."""
        return await asyncio.to_thread(self.engine.start)

    async def wire(self, started: Started | None, watch: Watch | None = None) -> Wired:
        """Say where it serves which registry, and what is not as one would expect."""
        del watch  # there is nothing to wait for
        if started is None:
            return Wired(())
        standing = addresses_of(started.status.listeners)
        served = await self._apart(standing) if self.apart else standing
        cached = [Mirror(registry, base) for registry, base in served.items()]
        own = frozenset({self.apart} if self.apart else ())
        return Wired((*cached, *self.push), moved(started.substitutes), own_addresses=own)

    async def _apart(self, standing: Mapping[str, str]) -> dict[str, str]:
        """Have the registries served at the address of the nodes, too, on the same ports; where each is asked then."""
        served = {}
        for registry, base in standing.items():
            port = urlsplit(base).port or 0
            with contextlib.suppress(PortTaken):  # also where the engine listens on all addresses, this one included
                await asyncio.to_thread(self.engine.listen, Listener(registry, self.apart, port))
                base = f"http://{self.apart}:{port}"  # noqa: PLW2901 - the same thing, at its better address
            served[registry] = base
        return served

    async def containers(self) -> tuple[ContainerSeen, ...]:
        """There are none."""
        return ()

    async def remove(self) -> tuple[str, ...]:
        """Stop it and remove its store. Raises ObolError."""
        await asyncio.to_thread(self.engine.stop)
        left = await asyncio.to_thread(remove_store, self.store)
        return tuple(f"{path} is not obol's, and stays." for path in left)


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
