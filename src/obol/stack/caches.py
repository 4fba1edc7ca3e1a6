"""The caches of a stack, and the way of its nodes to them: one class for each way.

Nodes on this machine's own network reach the builtin engine on loopback. For nodes in Docker it is tried whether they
reach it at the gateway of their network. Where they do not, containers serve in its place, and go on to do so until the
person asks for the builtin engine by name. Both serve the same ports, so starting one stops the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from obol.caches.containers.engine import ContainersEngine
from obol.caches.containers.plan import PUSH_PORT, push_registry
from obol.caches.docker.gateway import Reached, loopback_ports
from obol.caches.docker.network import ensure_network, remove_network
from obol.caches.reachable import addresses_of
from obol.errors import ObolError, PortTaken
from obol.registry.control.api import Listener
from obol.registry.store.layout import remove_store
from obol.rendering.names import LOOPBACK
from obol.rendering.registries import Mirror
from obol.workloads import k3s

if TYPE_CHECKING:
    from obol.backends.ports import Step
    from obol.caches.builtin.process import BuiltinEngine, Started
    from obol.caches.containers.engine import ContainerSeen, ContainersStarted
    from obol.caches.containers.plan import RegistryContainer
    from obol.caches.docker.gateway import GatewayMirrors
    from obol.caches.reachable import Substitute
    from obol.config.background import CachePlans
    from obol.machine.docker.cli import Docker
    from obol.machine.docker.values import Network

PUSHED = Mirror(f"localhost:{PUSH_PORT}", f"http://{LOOPBACK}:{PUSH_PORT}")
"""Development mode: where a node on this machine looks for what was pushed to a registry on that port."""


@dataclass(frozen=True, slots=True)
class Wired:
    """How nodes reach the caches."""

    mirrors: tuple[Mirror, ...] = ()
    """None: nodes pull directly."""
    loopback: Mapping[str, int] = field(default_factory=dict)
    """By registry: the port on loopback at which this machine's own Docker reaches the caches."""
    by_builtin: bool = True
    """False: containers serve, and the builtin engine does not run any more."""
    own_addresses: frozenset[str] = frozenset()
    """Addresses of this machine among the mirrors at which only nodes of this stack ask."""


class Caches(Protocol):
    """The caches of a stack, of either engine. Methods raise ObolError unless they say otherwise."""

    @property
    def label(self) -> str:
        """What the step is called that starts them."""
        ...

    @property
    def private(self) -> bool:
        """Whether each `up` is to have ports of its own on loopback."""
        ...

    @property
    def store(self) -> Path:
        """Where the builtin engine keeps what it holds."""
        ...

    async def start(self) -> Started | None:
        """Start what is not running; None where this engine has no control socket."""
        ...

    async def wire(self, started: Started | None, step: Step) -> Wired:
        """Make the caches reachable for nodes, and say where."""
        ...

    async def containers(self) -> tuple[ContainerSeen, ...]:
        """Look at the cache containers that are there. Never raises."""
        ...

    async def remove(self) -> tuple[str, ...]:
        """Stop the caches and remove all that they hold; a sentence for each thing that is left."""
        ...


@dataclass(frozen=True, slots=True)
class HostCaches:
    """The builtin engine for what pulls images in this machine's own network, and reaches it on loopback."""

    engine: BuiltinEngine
    store: Path
    label: str = "Starting the registry caches"
    push: tuple[Mirror, ...] = ()
    """Registries that a person can push to, which are not the engine's."""
    private: bool = False
    """Each `up` has ports of its own, for pulls that learn where to ask when they begin."""
    apart: str = ""
    """An address of loopback at which only nodes of a stack ask, for nodes that learn it once; "" for none."""

    async def start(self) -> Started:
        """Start the engine, if it does not run."""
        return await asyncio.to_thread(self.engine.start)

    async def wire(self, started: Started | None, step: Step) -> Wired:
        """Say where the engine serves which registry."""
        if started is None:
            return Wired()
        served = addresses_of(started.status.listeners)
        if self.apart:
            served = {registry: await self._apart(registry, base) for registry, base in served.items()}
        step.tell(moved(started.substitutes))
        cached = [Mirror(registry, base) for registry, base in served.items()]
        return Wired((*cached, *self.push), own_addresses=frozenset({self.apart} if self.apart else ()))

    async def _apart(self, registry: str, base: str) -> str:
        """Have a registry served at the address of the nodes, too, on the same port; where nodes ask for it then."""
        port = urlsplit(base).port or 0
        with contextlib.suppress(PortTaken):  # also where the engine listens on all addresses, this one included
            await asyncio.to_thread(self.engine.listen, Listener(registry, self.apart, port))
            return f"http://{self.apart}:{port}"
        return base

    async def containers(self) -> tuple[ContainerSeen, ...]:
        """There are none."""
        return ()

    async def remove(self) -> tuple[str, ...]:
        """Stop the engine, and remove its store."""
        await asyncio.to_thread(self.engine.stop)
        left = await asyncio.to_thread(remove_store, self.store)
        return tuple(f"{path} is not obol's, and stays." for path in left)


class DockerCaches:
    """The caches of one Docker, for nodes that are containers of it."""

    private = False
    """Nodes learn once where to ask, at ports that all of them share; each is known by its own address."""

    def __init__(self, docker: Docker, builtin: BuiltinEngine, gateway: GatewayMirrors, plans: CachePlans) -> None:
        self._docker = docker
        self._builtin = builtin
        self._gateway = gateway
        self._plan = plans.containers
        self._engine = plans.engine
        self._development = plans.development
        self._discarded: tuple[str, ...] = ()
        """Containers that had to make way for the builtin engine."""
        self.store = plans.builtin.store

    @property
    def label(self) -> str:
        """What the step is called that starts them."""
        push = ", and the registry to push to (development mode)" if self._development else ""
        return f"Starting the registry caches{push}"

    async def start(self) -> Started | None:
        """Start the builtin engine, if it is to serve."""
        if await self._by_containers():
            return None
        if self._engine == "builtin":
            # Both serve the same ports, and containers that are there are what serves: Docker starts them by itself.
            self._discarded = await self.containers_engine().discard()
        return await asyncio.to_thread(self._builtin.start)

    async def wire(self, started: Started | None, step: Step) -> Wired:
        """Have nodes reach the caches. Raises NoAddressPool besides."""
        network = await ensure_network(self._docker)
        if started is None:
            return await self._wire_containers(network, step)
        offer = await self._gateway.offer(network)
        found = await self._gateway.try_from_inside(offer, k3s.NODE_IMAGE, step)
        if self._discarded:
            stays = f"What they hold stays in {self._plan.root}."
            step.note(f"The builtin engine serves now: {', '.join(self._discarded)} removed. {stays}")
        step.tell(moved(await self._named(started.substitutes)))
        if isinstance(found, Reached):
            step.tell(moved(offer.substitutes, f" of {network.gateway}"))
            pushed: tuple[Mirror, ...] = ()
            if self._development:  # it has a registry to push to beside the builtin engine
                pushed = (await self._start_containers((push_registry(),), network, offer.loopback, step)).mirrors
            return Wired((*offer.mirrors, *pushed), offer.loopback)
        why = _sentence(str(found))
        if self._engine == "builtin" or found.imageless:
            step.note(f"{why} Images are pulled directly.")
            return Wired()
        step.note(f"{why} Containers serve instead; `--cache-engine builtin` tries it again.")
        return await self._wire_containers(network, step, said=True)

    async def remove(self) -> tuple[str, ...]:
        """Remove both engines and what they hold, and the network unless a cluster is on it."""
        left = [*await HostCaches(self._builtin, self.store).remove()]
        left += await self.containers_engine().remove(content=True)
        await remove_network(self._docker)
        await asyncio.to_thread(shutil.rmtree, self._plan.gateway_memory, ignore_errors=True)
        return tuple(left)

    async def containers(self) -> tuple[ContainerSeen, ...]:
        """Look at the cache containers that are there; none where Docker does not answer."""
        with contextlib.suppress(ObolError):
            seen = await self.containers_engine(self._all).status()
            return tuple(one for one in seen if one.state != "absent")
        return ()

    async def _by_containers(self) -> bool:
        """Whether containers are to serve: on request, or because they are there and the person asked for neither.

        Containers that are there were chosen before: a person who asks for the other engine has them removed.
        """
        if self._engine != "auto":
            return self._engine == "containers"
        runs = await asyncio.to_thread(self._builtin.status) is not None
        try:
            there = [one for one in await self.containers_engine().status() if one.state != "absent"]
        except ObolError:
            if runs:
                return False
            raise
        if any(one.ours and one.state == "running" for one in there):
            return True  # nodes know of them, also where the builtin engine was started beside them
        return not runs and any(one.ours or one.state == "running" for one in there)

    async def _named(self, substitutes: Sequence[Substitute]) -> Sequence[Substitute]:
        """Name the container that has a wanted port, where it is one: its process is Docker's proxy."""
        found = []
        for one in substitutes:
            holders = () if one.free or not one.wanted else await self._docker.publishing(one.wanted)
            found.append(replace(one, holder=f"container {holders[0].name}") if holders else one)
        return found

    async def _wire_containers(self, network: Network, step: Step, *, said: bool = False) -> Wired:
        """Have containers serve, and the builtin engine end; `said`: the person knows why."""
        running = await asyncio.to_thread(self._builtin.status)
        if running is not None:
            await self.containers_engine(loopback=loopback_ports(running.status)).fetch_image()
            await asyncio.to_thread(self._builtin.stop)
            if not said:
                back = "what it holds stays, and `obol stack up --cache-engine builtin` has it serve again"
                step.note(f"Containers serve the caches; the builtin engine has been stopped: {back}.")
        started = await self._start_containers(self._all, network, {}, step)
        return Wired(started.mirrors, started.loopback, by_builtin=False)

    async def _start_containers(
        self, caches: tuple[RegistryContainer, ...], network: Network, loopback: Mapping[str, int], step: Step
    ) -> ContainersStarted:
        started = await self.containers_engine(caches, loopback).start(network)
        step.tell(_sentence(str(one)) for one in started.left_out)
        step.tell(moved(started.substitutes))
        step.tell(map(_sentence, started.notes))
        return started

    @property
    def _all(self) -> tuple[RegistryContainer, ...]:
        """The caches, and in development mode the registry to push into, last in order."""
        return (*self._plan.caches, *((push_registry(),) if self._development else ()))

    def containers_engine(
        self, caches: tuple[RegistryContainer, ...] | None = None, loopback: Mapping[str, int] | None = None
    ) -> ContainersEngine:
        """The containers of these caches, or those of the plan; by `loopback` Docker finds their image in a cache."""
        wanted = self._plan.caches if caches is None else caches
        return ContainersEngine(self._docker, replace(self._plan, caches=wanted, loopback=dict(loopback or {})))


def moved(substitutes: Iterable[Substitute], address: str = "") -> tuple[str, ...]:
    """Tell of each cache that is on another port than the usual one (` of ADDRESS`): a sentence each."""
    return tuple(_moved(one, address) for one in substitutes if one.wanted)


def _moved(one: Substitute, address: str) -> str:
    if one.free:
        again = "was taken, and is free again: `obol cache stop` and `obol stack up` bring it back"
        return f"The cache of {one.registry} is on port {one.port}; {one.wanted} {again}."
    by = f" by {one.holder}" if one.holder else ""
    return f"Port {one.wanted}{address} is taken{by}: the cache of {one.registry} is on {one.port}."


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].removesuffix('.')}."
