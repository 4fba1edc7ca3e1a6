"""Cache containers as commands use them, on this machine's Docker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from obol.caches.containers.engine import CacheContainers, ContainersEngine
from obol.caches.docker.network import ensure_network
from obol.machine.commands import SystemRunner
from obol.machine.docker.cli import Docker

if TYPE_CHECKING:
    from obol.caches.containers.engine import ContainersStarted
    from obol.caches.containers.plan import ContainersPlan


def cache_containers(root: Path) -> CacheContainers:
    """The cache containers over a cache root."""
    return CacheContainers(Docker(SystemRunner()), root)


async def start_containers(plan: ContainersPlan) -> ContainersStarted:
    """Make the containers of a plan answer. Raises DependencyMissing, DockerFailed."""
    docker = Docker(SystemRunner())
    return await ContainersEngine(docker, plan).start(await ensure_network(docker))
