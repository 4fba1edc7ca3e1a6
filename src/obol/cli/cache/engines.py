"""The cache engines of this machine, as the verbs of `obol cache` meet them: the builtin one, and containers.

Docker is asked only if the cache root has traces of containers, because all others would wait for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from obol.caches.builtin.plan import BuiltinPlan
from obol.caches.reachable import has_traces
from obol.cli.later import later
from obol.cli.results.cache import CacheContainer, StartResult
from obol.cli.verb import run
from obol.config.paths import Invocation, locate
from obol.config.sources import store_directory
from obol.config.stack import cache_engine
from obol.errors import EngineNotRunning, ObolError
from obol.wiring import caches

if TYPE_CHECKING:
    import asyncio

    from obol.caches.builtin.process import BuiltinEngine
    from obol.caches.containers.engine import CacheContainers, ContainerSeen, ContainersStarted
    from obol.caches.containers.plan import ContainersPlan
    from obol.cli.terminal.present import Speaker
    from obol.config import background, settings
    from obol.config.sources import CacheFlags
    from obol.stack import caches as stackcaches
    from obol.wiring import containers as wired
else:
    asyncio = later("asyncio")
    background = later("obol.config.background")
    settings = later("obol.config.settings")
    stackcaches = later("obol.stack.caches")
    wired = later("obol.wiring.containers")

T = TypeVar("T")

_PATIENCE = 5.0
"""Seconds that a verb which only asks waits for Docker."""

SWITCH = "obol stack up --cache-engine builtin"


def engine_for(plan: BuiltinPlan) -> BuiltinEngine:
    """The builtin engine that a plan describes."""
    return caches.builtin_cache(plan)


def planned(around: Invocation, flags: CacheFlags, warn: Callable[[str], None] | None = None) -> BuiltinPlan:
    """Plan by all settings what is to run in the background; `warn` gets what is odd in them. Raises SettingsError."""
    directories = locate(around)
    loaded = settings.load_cache_settings(flags, around, directories)
    if warn is not None:
        for warning in loaded.warnings:
            warn(f"warning: {warning}")
    return background.background_plan(loaded, flags, around, directories)


def asking_plan(store: str | None) -> BuiltinPlan:
    """What it takes to ask the engine of a store; no other setting is looked at."""
    around = Invocation.of_process()
    return BuiltinPlan(store_directory(store, around, locate(around)))


def builtin_runs(store: str | None) -> bool:
    """Whether the builtin engine runs."""
    return engine_for(asking_plan(store)).status() is not None


def serving_containers(say: Speaker, store: str | None) -> tuple[ContainerSeen, ...]:
    """The containers that are the caches; none if the builtin engine is, or if there are no caches."""
    there = look(say, Invocation.of_process(), store)
    return there if any(one.cache.upstream for one in there) and not builtin_runs(store) else ()


def containers_serve(there: Sequence[ContainerSeen], around: Invocation, store: str | None) -> bool:
    """Whether containers are the caches: they were asked for, or they exist and the builtin engine does not run."""
    wish = cache_engine(around.environ)
    if wish != "auto":
        return wish == "containers"
    return any(one.cache.upstream for one in there) and not builtin_runs(store)


def containers_of(root: Path) -> CacheContainers:
    """The cache containers over a cache root."""
    return wired.cache_containers(root)


def bring_up(say: Speaker, plan: ContainersPlan) -> ContainersStarted:
    """Start the containers of a plan. Raises ObolError."""
    return run(say, wired.start_containers(plan))


def start_containers(say: Speaker, around: Invocation, flags: CacheFlags) -> None:
    """Start the caches that are containers, as the settings ask for them. Raises ObolError."""
    loaded = settings.load_cache_settings(flags, around, locate(around))
    for warning in loaded.warnings:
        say.warn(f"warning: {warning}")
    done = bring_up(say, background.containers_plan(loaded, around, locate(around)))
    if not done.serving:
        first = done.left_out[0].problem if done.left_out else ObolError("nothing was asked for")
        raise EngineNotRunning("no cache container answers", why=str(first), hint=first.hint)
    containers = tuple(CacheContainer(one.cache.name, one.cache.registry, "running", one.port) for one in done.serving)
    already = all(one.deed == "found" for one in done.serving)
    verb = "runs already" if already else "has started"
    result = StartResult(already, done.notes, "containers", None, done.substitutes, containers)
    say.result(result, lambda: [f"{one.name} {verb} (127.0.0.1:{one.port})." for one in containers])
    for line in (*map(str, done.left_out), *stackcaches.moved(done.substitutes), *done.notes):
        say.warn(f"warning: {line}")


def make_way(say: Speaker, around: Invocation, there: Sequence[ContainerSeen]) -> None:
    """Remove the containers if the builtin engine is asked for by name, as `up` does: both serve the same ports."""
    if cache_engine(around.environ) == "builtin" and any(one.cache.upstream for one in there):
        root = locate(around).cache_root
        names = run(say, containers_of(root).discard())
        say.warn(f"The builtin engine serves now: {', '.join(names)} removed. What they hold stays in {root}.")


def look(say: Speaker, around: Invocation, store: str | None) -> tuple[ContainerSeen, ...]:
    """The cache containers that are there, stopped ones too; none for a store that --store names, which has none."""
    root = locate(around).cache_root
    if store is not None or not has_traces(root):
        return ()
    try:
        return run(say, _in_time(containers_of(root).look()))
    except ObolError as problem:
        say.warn(f"Whether there are cache containers is not known: {problem}.")
    except TimeoutError:
        say.warn(
            f"Whether there are cache containers is not known: Docker did not answer within {_PATIENCE:g} seconds."
        )
    return ()


async def _in_time(work: Coroutine[object, object, T]) -> T:
    async with asyncio.timeout(_PATIENCE):
        return await work


def stop_containers(say: Speaker, around: Invocation, store: str | None) -> tuple[str, ...]:
    """Stop the cache containers; names those that ran. Raises ObolError where that is not known."""
    root = locate(around).cache_root
    if store is not None or not has_traces(root):
        return ()
    return run(say, containers_of(root).stop())


def container_logs(say: Speaker, around: Invocation, lines: int) -> tuple[str, ...]:
    """The last lines of each container. Raises ObolError."""
    return run(say, containers_of(locate(around).cache_root).logs(lines))


def refuse(there: Sequence[ContainerSeen], what: str, instead: str = "") -> None:
    """Raise ObolError where containers are the caches, which cannot do what a verb is for."""
    caches = [one.cache.name for one in there if one.cache.upstream]
    if caches:
        raise ObolError(
            what,
            why=f"the caches are containers ({', '.join(caches)})",
            hint=f"{f'{instead}; ' if instead else ''}`{SWITCH}` has the builtin engine serve, which can",
        )
