"""The cache containers that are there, for commands that know the cache root and nothing else.

Which registries they are of is read from where they keep their content: a directory of the root for each. So no
settings have to be loaded, and containers of the original system, which have no label of ours, are known too.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from obol.caches.containers.container import is_over
from obol.caches.containers.engine import ContainersEngine
from obol.caches.containers.plan import STORAGE, UPSTREAM, CacheContainer, ContainersPlan, published_port
from obol.caches.substitutes import recall
from obol.caches.traces import has_traces
from obol.registry.control.api import Amount

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from obol.caches.containers.engine import ContainerSeen
    from obol.machine.docker.cli import Docker

_ROLE = ("app=k3d", "k3d.role=registry")
_MOST = 200_000
"""So many files are counted of one directory; who has more waits no longer for a number."""
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

    def _engine(self, caches: list[CacheContainer]) -> ContainersEngine:
        return self._build(self._docker, ContainersPlan(self._root, tuple(caches)))

    async def _found(self) -> list[CacheContainer]:
        moved = recall(ContainersPlan(self._root, ()).memory)
        found = []
        for container in await self._docker.containers(labels=_ROLE):
            registry = PurePosixPath(container.mounts.get(STORAGE, "")).name.replace("_", ":")
            known = moved.get(registry)
            port = known.wanted if known else published_port(container)
            cache = CacheContainer(registry, container.environment.get(UPSTREAM, ""), port)
            if is_over(self._root, container) and cache.name == container.name:
                found.append(cache)
        return sorted(found, key=lambda cache: cache.name)

    def _content(self, cache: CacheContainer) -> Amount | None:
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
