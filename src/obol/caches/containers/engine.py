"""The cache engine that is a registry container for each upstream, on obol-net.

For hosts whose firewall keeps nodes from the builtin engine: from container to container nothing is in the way. Each
container stands for itself: one that cannot be had is left out, and nodes go to that registry directly. The bytes are
in a directory of the host, so a container may be thrown away and made anew at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from obol.caches.containers.container import (
    ContainerEnvironment,
    ContainerStart,
    ServingContainer,
    clear_directory,
    is_over,
    make_directory,
)
from obol.caches.containers.plan import (
    PREFIX,
    STORAGE,
    UPSTREAM,
    ContainersPlan,
    RegistryContainer,
    notes_on,
    published_port,
)
from obol.caches.reachable import Substitute, as_it_is, has_traces, recall, remember, settle
from obol.errors import ObolError, StoreUnusable
from obol.machine import ports
from obol.machine.clock import SystemClock
from obol.machine.probe import status_on_loopback
from obol.registry.control.api import Amount, Listener
from obol.rendering.names import LOOPBACK, loopback_name

if TYPE_CHECKING:
    from obol.machine.clock import Clock
    from obol.machine.docker.cli import Docker
    from obol.machine.docker.values import Container, Network
    from obol.machine.ports import PortProbe
    from obol.machine.probe import Probe
    from obol.rendering.registries import Mirror


_AT_REST = frozenset({"created", "exited", "dead"})

State = Literal["running", "stopped", "failing", "absent"]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A cache that is not used this time: nodes go to its registry directly."""

    cache: RegistryContainer
    problem: ObolError

    def __str__(self) -> str:
        """One line for a person."""
        hint = f" ({self.problem.hint})" if self.problem.hint else ""
        return f"{self.cache.registry} is pulled directly: {self.problem}{hint}"


@dataclass(frozen=True, slots=True)
class ContainersStarted:
    """What `start` has done, in the order of the plan."""

    serving: tuple[ServingContainer, ...]
    left_out: tuple[LeftOut, ...] = ()
    substitutes: tuple[Substitute, ...] = ()
    notes: tuple[str, ...] = ()
    """Where a container that ran before is not as we would make it: a sentence each."""

    @property
    def mirrors(self) -> tuple[Mirror, ...]:
        """The mirrors, for the configuration of nodes."""
        return tuple(serving.cache.mirror(serving.port) for serving in self.serving)

    @property
    def loopback(self) -> dict[str, int]:
        """The port of each registry on this machine."""
        return {serving.cache.registry: serving.port for serving in self.serving}


@dataclass(frozen=True, slots=True)
class ContainerSeen:
    """How one of them is."""

    cache: RegistryContainer
    state: State
    port: int = 0
    """Where it is published, if it is there."""
    ours: bool = True
    """Whether its content is in our cache root: names are shared by all who use this Docker."""
    content: Amount | None = None
    """What its directory holds; None where that was not counted."""


class ContainersEngine:
    """Caches that are containers, and outlive the clusters."""

    def __init__(
        self,
        docker: Docker,
        plan: ContainersPlan,
        *,
        clock: Clock | None = None,
        probe: PortProbe = ports,
        ask: Probe = status_on_loopback,
    ) -> None:
        self._docker = docker
        self._plan = plan
        self._environment = ContainerEnvironment(clock or SystemClock(), probe, ask)

    async def start(self, network: Network) -> ContainersStarted:
        """Make all of them answer on `network`; those that do already are left alone. Safe to repeat.

        Raises DependencyMissing (with DockerNotRunning and DockerForbidden); all else leaves out single ones.
        """
        found = list(zip(self._plan.caches, await self._look(self._plan.caches), strict=True))
        remembered = recall(self._plan.memory)
        settled = await self._settle([cache for cache, container in found if container is None], remembered)
        starting = ContainerStart(self._docker, self._plan, network, self._environment)
        results = await asyncio.gather(
            *(_one(starting, cache, container, settled.get(cache.registry)) for cache, container in found)
        )
        serving = tuple(result for result in results if isinstance(result, ServingContainer))
        substitutes = await self._named(_substitutes(serving, remembered | settled), settled)
        self._remember(remembered, substitutes)
        return ContainersStarted(
            serving,
            tuple(result for result in results if isinstance(result, LeftOut)),
            substitutes,
            await self._notes(serving),
        )

    async def fetch_image(self) -> None:
        """Have the image at hand before the builtin engine makes way, by which it can be had offline.

        Raises DockerFailed.
        """
        await self._docker.fetch(self._plan.image, through=loopback_name(self._plan.image, self._plan.loopback))

    async def status(self) -> tuple[ContainerSeen, ...]:
        """Look at all of them, and change nothing."""
        return tuple(await asyncio.gather(*(self._see(cache) for cache in self._plan.caches)))

    async def stop(self) -> bool:
        """Stop those over our cache root; False where none ran. The next `start` starts them again."""
        found = await self._look(self._plan.caches)
        running = [one for one in found if one and one.status not in _AT_REST and is_over(self._plan.root, one)]
        await asyncio.gather(*(self._docker.stop(container.name) for container in running))
        return bool(running)

    async def discard(self) -> tuple[str, ...]:
        """Remove the containers of the plan that are over our cache root, and nothing that they hold; names them."""
        ours = [one for one in await self._look(self._plan.caches) if one and is_over(self._plan.root, one)]
        await asyncio.gather(*(self._docker.remove_container(one.name, force=True) for one in ours))
        return tuple(one.name for one in ours)

    async def remove(self, *, content: bool) -> tuple[str, ...]:
        """Remove the containers over our cache root, and with `content` what they have stored.

        Gives a sentence for each thing that is left.
        """
        left = []
        directories = [self._plan.directory(cache) for cache in self._plan.caches]
        for container in await self._docker.containers(labels=("app=k3d", "k3d.role=registry")):
            source = container.mounts.get(STORAGE, "")
            if not container.name.startswith(PREFIX):
                continue
            if not is_over(self._plan.root, container):
                left.append(f"{container.name} is left: it keeps its content in {source or 'no directory of ours'}")
                continue
            directories.append(self._plan.root / PurePosixPath(source).name)
            await self._docker.remove_container(container.name, force=True)
        if content:
            directories.append(self._plan.memory)
            left += [await clear_directory(self._docker, path, self._plan.image) for path in dict.fromkeys(directories)]
        return tuple(filter(None, left))

    async def _settle(
        self, caches: Sequence[RegistryContainer], remembered: Mapping[str, Substitute]
    ) -> dict[str, Substitute]:
        """Choose ports for the containers that are to be made, where the wanted ones are taken."""
        wanted = [Listener(cache.registry, LOOPBACK, cache.port) for cache in caches]
        chosen = {}
        for substitute in settle(wanted, remembered, self._environment.probe):
            chosen[substitute.registry] = await self._with_holder(substitute)
        return chosen

    async def _named(self, found: Sequence[Substitute], fresh: Mapping[str, Substitute]) -> tuple[Substitute, ...]:
        """Look again who has the ports that are not ours: all but those that were looked at a moment ago."""
        return tuple(
            [
                one
                if (known := fresh.get(one.registry)) and known.port == one.port
                else await self._with_holder(as_it_is(one, (LOOPBACK,), self._environment.probe))
                for one in found
            ]
        )

    async def _with_holder(self, substitute: Substitute) -> Substitute:
        """Name the container that has the wanted port, where it is one: its process is Docker's proxy."""
        holders = () if substitute.free or not substitute.wanted else await self._docker.publishing(substitute.wanted)
        return replace(substitute, holder=f"container {holders[0].name}") if holders else substitute

    def _remember(self, remembered: Mapping[str, Substitute], substitutes: Sequence[Substitute]) -> None:
        """Write the ports down; those of registries that are left out this time stay remembered."""
        ours = {cache.registry for cache in self._plan.caches}
        kept = [*(known for registry, known in remembered.items() if registry not in ours), *substitutes]
        with contextlib.suppress(OSError, StoreUnusable):  # the containers know their ports themselves
            if kept:
                make_directory(self._plan.memory, self._plan.account)
            remember(self._plan.memory, kept)

    async def _notes(self, serving: Sequence[ServingContainer]) -> tuple[str, ...]:
        caches = [one.cache for one in serving]
        found = zip(caches, await self._look(caches), strict=True)
        return tuple(note for cache, container in found if container for note in notes_on(self._plan, cache, container))

    async def _look(self, caches: Sequence[RegistryContainer]) -> Sequence[Container | None]:
        """The containers of these caches, None for each that is not there."""
        return await asyncio.gather(*(self._docker.container(cache.name) for cache in caches))

    async def _see(self, cache: RegistryContainer) -> ContainerSeen:
        container = await self._docker.container(cache.name)
        if container is None:
            return ContainerSeen(cache, "absent")
        port, ours = published_port(container), is_over(self._plan.root, container)
        if container.status in _AT_REST:
            return ContainerSeen(cache, "stopped", port, ours)
        answering = container.status == "running" and await self._environment.answers(port)
        return ContainerSeen(cache, "running" if answering else "failing", port, ours)


async def _one(
    starting: ContainerStart, cache: RegistryContainer, found: Container | None, settled: Substitute | None
) -> ServingContainer | LeftOut:
    try:
        return await starting.bring_up(cache, found, settled.port if settled else cache.port)
    except ObolError as problem:
        return LeftOut(cache, problem)


def _substitutes(serving: Sequence[ServingContainer], known: Mapping[str, Substitute]) -> tuple[Substitute, ...]:
    """Those ports that are not the wanted ones, with who holds these, as far as known."""
    holders = {(name, substitute.port): substitute.holder for name, substitute in known.items()}
    return tuple(
        Substitute(one.cache.registry, one.cache.port, one.port, holders.get((one.cache.registry, one.port), ""))
        for one in serving
        if one.port != one.cache.port
    )


_ROLE = ("app=k3d", "k3d.role=registry")
_MOST = 200_000
"""So many files are counted of one directory; with more, a command gives no number rather than wait."""
_DIGEST = 64
"""Digits of a SHA-256: in our own image a blob's file is called by it, in others its directory is."""


class CacheContainers:
    """The cache containers over one cache root."""

    def __init__(
        self,
        docker: Docker,
        root: Path,
        build: Callable[[Docker, ContainersPlan], ContainersEngine] = ContainersEngine,
    ) -> None:
        self._docker = docker
        self._root = root
        self._build = build

    def traces(self) -> bool:
        """Whether there may be any: each has a directory. It spares those who have none a question to Docker."""
        return has_traces(self._root)

    async def look(self) -> tuple[ContainerSeen, ...]:
        """Look at all of them, with what they hold. Raises DependencyMissing, DockerFailed."""
        seen = await self._engine(await self._found()).status()
        return tuple([replace(one, content=await asyncio.to_thread(self._content, one.cache)) for one in seen])

    async def stop(self) -> tuple[str, ...]:
        """Stop the caches, and no registry to push to; names those that ran. Raises DependencyMissing, DockerFailed."""
        caches = [cache for cache in await self._found() if cache.upstream]
        running = [one.cache.name for one in await self._engine(caches).status() if one.state in {"running", "failing"}]
        await self._engine(caches).stop()
        return tuple(running)

    async def discard(self) -> tuple[str, ...]:
        """Remove the caches, and nothing that they hold; names them. Raises DependencyMissing, DockerFailed."""
        return await self._engine([cache for cache in await self._found() if cache.upstream]).discard()

    async def logs(self, lines: int) -> tuple[str, ...]:
        """The last lines of each, after the name of its registry. Raises DependencyMissing, DockerFailed."""
        told = []
        for cache in await self._found():
            said = await self._docker.logs(cache.name, lines=lines)
            told += [f"{cache.registry}: {line}" for line in said.splitlines()]
        return tuple(told)

    def _engine(self, caches: list[RegistryContainer]) -> ContainersEngine:
        return self._build(self._docker, ContainersPlan(self._root, tuple(caches)))

    async def _found(self) -> list[RegistryContainer]:
        moved = recall(ContainersPlan(self._root, ()).memory)
        found = []
        for container in await self._docker.containers(labels=_ROLE):
            registry = PurePosixPath(container.mounts.get(STORAGE, "")).name.replace("_", ":")
            known = moved.get(registry)
            port = known.wanted if known else published_port(container)
            cache = RegistryContainer(registry, container.environment.get(UPSTREAM, ""), port)
            if is_over(self._root, container) and cache.name == container.name:
                found.append(cache)
        return sorted(found, key=lambda cache: cache.name)

    def _content(self, cache: RegistryContainer) -> Amount | None:
        """Count its blobs and their bytes; None where these are too many, or not ours to read."""
        count = size = seen = 0
        problems: list[OSError] = []
        for where, _, names in os.walk(self._root / cache.directory, onerror=problems.append):
            blobs = "/blobs/" in f"{where}/"
            for name in names:
                seen += 1
                if seen > _MOST:
                    return None
                try:
                    size += os.lstat(f"{where}/{name}").st_size
                except OSError:  # it has gone
                    continue
                count += blobs and (name == "data" or len(name) == _DIGEST)
        denied = any(isinstance(problem, PermissionError) for problem in problems)
        return None if denied else Amount(count, size)
