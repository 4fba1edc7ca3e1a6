"""The caches of clusters in Docker: which engine serves their nodes, and how these find it.

The builtin engine is tried first, from where the nodes will be. Where they cannot reach it, containers serve in its
place; these then go on to do so, until the builtin engine is asked for by name. Both serve the same ports, so whichever
is asked for by name makes the other one stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from obol.caches.containers.engine import ContainersEngine
from obol.caches.containers.plan import push_registry
from obol.caches.docker.gateway import Reached, loopback_ports
from obol.caches.docker.network import ensure_network, remove_network
from obol.errors import ObolError, noted
from obol.stack.mirrors import HostCaches, moved
from obol.stack.parts import Wired

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping, Sequence
    from pathlib import Path

    from obol.backends.ports import Watch
    from obol.caches.containers.engine import ContainerSeen, ContainersStarted
    from obol.caches.containers.plan import CacheContainer, ContainersPlan
    from obol.caches.docker.gateway import Offer, Unreached
    from obol.caches.ports import CacheEngine, EngineName, Started, Substitute
    from obol.machine.docker import Docker
    from obol.machine.dockervalues import Network


class Gateway(Protocol):
    """The way of nodes to the builtin engine: `caches.gateway`."""

    async def offer(self, network: Network) -> Offer:
        """Have the engine listen where nodes can find it. Raises ObolError."""
        ...

    async def try_from_inside(self, offer: Offer, image: str, watch: Watch | None = None) -> Reached | Unreached:
        """Try whether nodes get there; `watch` takes a line about what that has to wait for."""
        ...


class Containers(Protocol):
    """The caches that are containers: `caches.containers`."""

    async def start(self, network: Network) -> ContainersStarted:
        """Make all of them answer. Raises DependencyMissing."""
        ...

    async def fetch_image(self) -> None:
        """Have their image at hand. Raises DockerFailed."""
        ...

    async def status(self) -> tuple[ContainerSeen, ...]:
        """Look at all of them."""
        ...

    async def discard(self) -> tuple[str, ...]:
        """Remove the containers, and nothing that they hold; names them."""
        ...

    async def remove(self, *, content: bool) -> tuple[str, ...]:
        """Remove them; gives a sentence for each thing that is left."""
        ...


@dataclass(frozen=True, slots=True)
class DockerCaches:
    """The caches of one Docker."""

    docker: Docker
    builtin: CacheEngine
    gateway: Gateway
    plan: ContainersPlan
    store: Path
    """The builtin engine's."""
    engine: EngineName
    image: str
    """One with a `wget` that the cluster needs anyway: with it the way to the builtin engine is tried."""
    development: bool = False
    loopback: MutableMapping[str, int] = field(default_factory=dict)
    """By registry: where this machine's Docker finds the caches, as soon as they run."""
    build: Callable[[Docker, ContainersPlan], Containers] = ContainersEngine
    discarded: list[str] = field(default_factory=list)
    """Containers that had to make way for the builtin engine."""

    @property
    def private(self) -> bool:
        """Nodes are told once, of ports that all of them share; each is known by its own address."""
        return False

    @property
    def label(self) -> str:
        """What starting them is called."""
        push = ", and the registry to push to (development mode)" if self.development else ""
        return f"Starting the registry caches{push}"

    async def start(self) -> Started | None:
        """Start the builtin engine, if it is to serve. Raises ObolError."""
        if await self._by_containers():
            return None
        if self.engine == "builtin":
            # Both serve the same ports, and containers that are there are what serves: Docker starts them by itself.
            self.discarded.extend(await self._containers().discard())
        return await asyncio.to_thread(self.builtin.start)

    async def wire(self, started: Started | None, watch: Watch | None = None) -> Wired:
        """Have nodes reach the caches. Raises ObolError, NoAddressPool."""
        network = await ensure_network(self.docker)
        if started is None:
            return await self._wire_containers(network, ())
        offer = await self.gateway.offer(network)
        self.loopback.update(offer.loopback)
        found = await self.gateway.try_from_inside(offer, self.image, watch)
        notes = (*self._switched(), *moved(await self._named(started.substitutes)))
        if isinstance(found, Reached):
            with noted(notes):
                pushed = await self._push_registry(network)
            notes = (*notes, *_moved(offer.substitutes, network.gateway), *_told(pushed))
            return Wired((*offer.mirrors, *(pushed.mirrors if pushed else ())), notes)
        if self.engine == "builtin" or found.imageless:
            return Wired((), (*notes, f"{_sentence(str(found))} Images are pulled directly."))
        why = f"{_sentence(str(found))} Containers serve instead; `--cache-engine builtin` tries it again."
        with noted((why,)):
            return await self._wire_containers(network, (why,))

    async def remove(self) -> tuple[str, ...]:
        """Remove both engines and what they hold, and the network unless a cluster is on it. Raises ObolError."""
        left = [*await HostCaches(self.builtin, self.store).remove()]
        left += await self._containers().remove(content=True)
        await remove_network(self.docker)
        await asyncio.to_thread(shutil.rmtree, self.plan.gateway_memory, ignore_errors=True)
        return tuple(left)

    async def containers(self) -> tuple[ContainerSeen, ...]:
        """Look at the cache containers that are there; nothing where Docker cannot be asked."""
        with contextlib.suppress(ObolError):
            seen = await self._containers(self._all).status()
            return tuple(one for one in seen if one.state != "absent")
        return ()

    async def _by_containers(self) -> bool:
        """Whether containers are to serve: when asked for, or because they are there and nobody asked.

        That they are there is how it is known that they were chosen: whoever asks for the other engine has them go.
        """
        if self.engine != "auto":
            return self.engine == "containers"
        runs = await asyncio.to_thread(self.builtin.status) is not None
        try:
            there = [one for one in await self._containers().status() if one.state != "absent"]
        except ObolError:
            if runs:
                return False
            raise
        if any(one.ours and one.state == "running" for one in there):
            return True  # nodes are told of them, whatever else was started beside them
        return not runs and any(one.ours or one.state == "running" for one in there)

    async def _named(self, substitutes: Sequence[Substitute]) -> Sequence[Substitute]:
        """Name the container that has a wanted port, where it is one: its process is Docker's proxy."""
        found = []
        for one in substitutes:
            holders = () if one.free or not one.wanted else await self.docker.publishing(one.wanted)
            found.append(replace(one, holder=f"container {holders[0].name}") if holders else one)
        return found

    def _switched(self) -> tuple[str, ...]:
        if not self.discarded:
            return ()
        names = ", ".join(self.discarded)
        return (f"The builtin engine serves now: {names} removed. What they hold stays in {self.plan.root}.",)

    async def _wire_containers(self, network: Network, notes: tuple[str, ...]) -> Wired:
        running = await asyncio.to_thread(self.builtin.status)
        if running is not None:
            await self._containers(loopback=loopback_ports(running.status)).fetch_image()
            await asyncio.to_thread(self.builtin.stop)
            if not notes:
                back = "what it holds stays, and `obol stack up --cache-engine builtin` has it serve again"
                notes = (f"Containers serve the caches; the builtin engine has been stopped: {back}.",)
        started = await self._containers(self._all).start(network)
        self.loopback.clear()
        self.loopback.update(started.loopback)
        return Wired(started.mirrors, (*notes, *_told(started)), by_builtin=False)

    async def _push_registry(self, network: Network) -> ContainersStarted | None:
        """Development mode has a registry to push to beside the builtin engine."""
        if not self.development:
            return None
        return await self._containers((push_registry(),), self.loopback).start(network)

    @property
    def _all(self) -> tuple[CacheContainer, ...]:
        """The caches, and in development mode the registry to push into, last in order."""
        return (*self.plan.caches, *((push_registry(),) if self.development else ()))

    def _containers(
        self, caches: tuple[CacheContainer, ...] | None = None, loopback: Mapping[str, int] | None = None
    ) -> Containers:
        """The containers of these caches, those of the plan if not told; their image is found by `loopback`."""
        wanted = self.plan.caches if caches is None else caches
        return self.build(self.docker, replace(self.plan, caches=wanted, loopback=dict(loopback or {})))


def _told(started: ContainersStarted | None) -> tuple[str, ...]:
    if started is None:
        return ()
    left_out = (_sentence(str(one)) for one in started.left_out)
    notes = (_sentence(note) for note in started.notes)
    return (*left_out, *moved(started.substitutes), *notes)


def _moved(substitutes: Sequence[Substitute], address: str) -> tuple[str, ...]:
    return tuple(
        f"Port {one.wanted} of {address} is taken{f' by {one.holder}' if one.holder else ''}: "
        f"the cache of {one.registry} is on {one.port}."
        for one in substitutes
    )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].removesuffix('.')}."
