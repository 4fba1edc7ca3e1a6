"""The caches as commands use them: the background process, and the way to bring images into it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from obol.caches.builtin.process import BuiltinEngine

if TYPE_CHECKING:
    from obol.caches.builtin.plan import BuiltinPlan
    from obol.caches.containers.engine import CacheContainers, ContainersStarted
    from obol.caches.containers.plan import ContainersPlan
    from obol.caches.warming import Warming
    from obol.client.platforms import Selection
    from obol.client.ports import Limits


def builtin_cache(plan: BuiltinPlan) -> BuiltinEngine:
    """The builtin engine as a background process."""
    return BuiltinEngine(plan)


def cache_containers(root: Path) -> CacheContainers:
    """The cache containers over a cache root."""
    from obol.caches.containers.engine import CacheContainers  # noqa: PLC0415 - loads Docker, which few who ask have use for
    from obol.machine.commands import SystemRunner  # noqa: PLC0415
    from obol.machine.docker.cli import Docker  # noqa: PLC0415

    return CacheContainers(Docker(SystemRunner()), root)


async def start_containers(plan: ContainersPlan) -> ContainersStarted:
    """Make the containers of a plan answer. Raises DependencyMissing, DockerFailed."""
    from obol.caches.containers.engine import ContainersEngine  # noqa: PLC0415
    from obol.caches.docker.network import ensure_network  # noqa: PLC0415
    from obol.machine.commands import SystemRunner  # noqa: PLC0415
    from obol.machine.docker.cli import Docker  # noqa: PLC0415

    docker = Docker(SystemRunner())
    return await ContainersEngine(docker, plan).start(await ensure_network(docker))


def warming(cache: BuiltinEngine, platforms: Selection, limits: Limits) -> Warming:
    """The way to bring images into a cache."""
    from obol.caches.warming import Warming  # noqa: PLC0415 - loads the HTTP client, which `cache status` has no use for
    from obol.machine.clock import SystemClock  # noqa: PLC0415 - loads the HTTP client, which `cache status` has no use for

    return Warming(cache, platforms, limits, SystemClock())
