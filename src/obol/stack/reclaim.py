"""Docker networks that were leaked, and how to free them without taking one from a cluster that needs it.

k3d makes a network for each cluster, and leaves it behind where a cache is on it: Docker has room for about thirty.
Clusters of this product share one network, but those of earlier versions, of all users of this Docker, do not.

A network is freed only if nothing needs it. Docker lists on a network the containers that run, so a stopped cluster is
found by its containers, of which each knows its networks in whichever state it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from obol.errors import ObolError
from obol.machine.docker.errors import DockerFailed

if TYPE_CHECKING:
    from obol.machine.docker.cli import Docker
    from obol.machine.docker.values import Container, Network

PREFIX = "k3d-obol-stack-"

_NODE = re.compile(r"-serverlb$|-(?:server|agent)-[0-9]+$")
_CACHE = re.compile(r"k3d-obol-[a-z0-9-]+\.localhost")
_CLUSTER, _ROLE, _WANTED = "k3d.cluster", "k3d.role", "k3d.cluster.network"


@dataclass(frozen=True, slots=True)
class NeededNetwork:
    """A cluster, running or stopped, is on the network."""

    by: str
    """One of its containers."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """Containers of others are on it, and they are not ours to disconnect."""

    containers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Leaked:
    """No container needs it. These caches of ours are to be taken off it first."""

    caches: tuple[str, ...]


Verdict = NeededNetwork | Foreign | Leaked


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """What became of the networks."""

    freed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    """For a person who wants to know more: a sentence for each that is not needed by a cluster, and yet still there."""


def judge(network: Network, containers: Sequence[Container]) -> Verdict:
    """Decide about one network; `containers` are all that Docker has, in whichever state."""
    others = [container for container in containers if not _is_cache(container)]
    for container in others:
        if container.labels.get(_WANTED) == network.name:
            return NeededNetwork(container.name)
    known = {container.id for container in containers}
    # An endpoint of a container that was not there when the others were listed is left alone.
    foreign = [name for id_, name in network.attached.items() if id_ not in known]
    for container in filter(lambda one: _is_on(one, network), others):
        if container.labels.get(_CLUSTER):
            return NeededNetwork(container.name)
        foreign.append(container.name)
    for name in filter(is_node, foreign):
        return NeededNetwork(name)
    if foreign:
        return Foreign(tuple(sorted(foreign)))
    return Leaked(tuple(sorted(one.name for one in containers if _is_on(one, network))))


def _is_on(container: Container, network: Network) -> bool:
    """By name too: until its first start a container does not know the ID."""
    return network.id in container.networks.values() or network.name in container.networks


def is_node(name: str) -> bool:
    """Whether a container is part of a cluster, by the name that k3d gives to its parts."""
    return _NODE.search(name) is not None


def _is_cache(container: Container) -> bool:
    """Ours, or the original system's: no other registry that a person made with k3d."""
    return container.labels.get(_ROLE) == "registry" and _CACHE.fullmatch(container.name) is not None


class LeakedNetworks:
    """The networks of one Docker, for all who use it."""

    def __init__(self, docker: Docker, *, verbose: bool = False) -> None:
        """`verbose`: say what is left as well, and why."""
        self._docker = docker
        self._verbose = verbose

    async def reclaim(self) -> tuple[str, ...]:
        """Free what no container needs; a line for the person if that was anything. Never raises an ObolError."""
        found = await self.free()
        left = found.left if self._verbose else ()
        if not (number := len(found.freed)):
            return left
        count = "a Docker network that was" if number == 1 else f"{number} Docker networks that were"
        return (f"Removed {count} left behind by former clusters.", *left)

    async def free(self) -> Reclaimed:
        """Free what no container needs. What fails leaves things as they are, and is no error."""
        try:
            networks = [one for one in await self._docker.networks(name=f"^{PREFIX}") if one.name.startswith(PREFIX)]
            containers = await self._docker.containers() if networks else ()
        except ObolError as problem:
            return Reclaimed(left=(f"obol could not look at Docker's networks: {problem}.",))
        freed, left = [], []
        for network in networks:
            match judge(network, containers):
                case NeededNetwork():
                    continue
                case Foreign(containers=names):
                    left.append(f"The Docker network {network.name} is left: {_listed(names)} on it.")
                case Leaked(caches=names):
                    if why := await self._remove(network, names):
                        left.append(f"The Docker network {network.name} is left: {why}.")
                    else:
                        freed.append(network.name)
        return Reclaimed(tuple(freed), tuple(left))

    async def _remove(self, network: Network, caches: Iterable[str]) -> str:
        """Say why it could not be removed, "" if it was."""
        try:
            for cache in caches:
                with suppress(DockerFailed):  # it has gone by itself; or the removal will tell
                    await self._docker.disconnect(network.id, cache)
            # By its ID: another network may have got the name meanwhile. Docker refuses where a container has come.
            await self._docker.remove_network(network.id)
        except ObolError as problem:
            return str(problem)
        return ""


def _listed(names: Sequence[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]} are"
