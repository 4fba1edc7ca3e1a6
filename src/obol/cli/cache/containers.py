"""What the verbs of `obol cache` do where containers are the caches, or stand beside the builtin engine.

Docker is asked only where a cache root has traces of containers: all others are spared the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from obol.caches.traces import has_traces
from obol.cli.cache.view import container_result
from obol.cli.results.cache import CacheContainer, CacheStatusResult, StartResult
from obol.cli.stack import building
from obol.cli.terminal.present import Table, counted, size, tilde
from obol.cli.verb import run
from obol.config.paths import locate
from obol.errors import EngineNotRunning, NotThere, ObolError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from pathlib import Path

    from obol.caches.containers.engine import ContainerSeen, ContainersStarted
    from obol.caches.containers.existing import CacheContainers
    from obol.caches.containers.plan import ContainersPlan
    from obol.cli.terminal.present import Speaker
    from obol.config.paths import Invocation
    from obol.registry.control.api import Listener

T = TypeVar("T")

_PATIENCE = 5.0
"""Seconds that somebody who only asks waits for Docker."""

SWITCH = "obol stack up --cache-engine builtin"


def containers_of(root: Path) -> CacheContainers:
    """The cache containers over a cache root."""
    from obol.wiring.caches import cache_containers

    return cache_containers(root)


def bring_up(say: Speaker, plan: ContainersPlan) -> ContainersStarted:
    """Start the containers of a plan. Raises ObolError."""
    from obol.wiring.caches import start_containers

    return run(say, start_containers(plan))


def look(say: Speaker, around: Invocation, store: str | None) -> tuple[ContainerSeen, ...]:
    """The cache containers that are there, stopped ones too; none for a store that somebody named, which has none."""
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
    import asyncio

    async with asyncio.timeout(_PATIENCE):
        return await work


def stop(say: Speaker, around: Invocation, store: str | None) -> tuple[str, ...]:
    """Stop the cache containers; names those that ran. Raises ObolError where that is not known."""
    root = locate(around).cache_root
    if store is not None or not has_traces(root):
        return ()
    return run(say, containers_of(root).stop())


def start(say: Speaker, around: Invocation) -> None:
    """Start the caches that are containers, as the settings ask for them. Raises ObolError."""
    from obol.stack.caches import moved

    done = bring_up(say, building.cache_plans(say, around).containers)
    if not done.serving:
        first = done.left_out[0].problem if done.left_out else ObolError("nothing was asked for")
        raise EngineNotRunning("no cache container answers", why=str(first), hint=first.hint)
    containers = tuple(CacheContainer(one.cache.name, one.cache.registry, "running", one.port) for one in done.serving)
    already = all(one.deed == "found" for one in done.serving)
    verb = "runs already" if already else "has started"
    result = StartResult(already, done.notes, "containers", None, done.substitutes, containers)
    say.result(result, lambda: [f"{one.name} {verb} (127.0.0.1:{one.port})." for one in containers])
    for line in (*map(str, done.left_out), *moved(done.substitutes), *done.notes):
        say.warn(f"warning: {line}")


def show(say: Speaker, store: Path, there: Sequence[ContainerSeen]) -> None:
    """Show the containers, where they are all that there is."""
    running = any(one.cache.upstream and one.state == "running" for one in there)
    containers = tuple(map(container_result, there))
    result = CacheStatusResult(running, "containers" if running else None, str(store), None, (), containers)
    say.result(result, lambda: parts(there, str(store.parent)))
    if not all(one.state == "running" for one in there):
        say.note("Start them: obol cache start")


def code(there: Sequence[ContainerSeen]) -> int:
    """The exit code of `status --exit-code`: 0 where all caches serve, 4 where none runs, and 1 between."""
    states = {one.state for one in there if one.cache.upstream}
    if states <= {"stopped"}:
        return NotThere.exit_code
    return 0 if states == {"running"} else ObolError.exit_code


def logs(say: Speaker, around: Invocation, lines: int) -> tuple[str, ...]:
    """The last lines of each container. Raises ObolError."""
    return run(say, containers_of(locate(around).cache_root).logs(lines))


def make_way(say: Speaker, around: Invocation, there: Sequence[ContainerSeen]) -> None:
    """Have containers go where the builtin engine is asked for by name, as `up` does: both serve the same ports."""
    from obol.config.stack import cache_engine

    if cache_engine(around.environ) == "builtin" and any(one.cache.upstream for one in there):
        root = locate(around).cache_root
        names = run(say, containers_of(root).discard())
        say.warn(f"The builtin engine serves now: {', '.join(names)} removed. What they hold stays in {root}.")


def serve(there: Sequence[ContainerSeen], environ: Mapping[str, str], builtin: Callable[[], bool]) -> bool:
    """Whether containers are the caches: they were asked for, or are there and the builtin engine does not run."""
    from obol.config.stack import cache_engine

    wish = cache_engine(environ)
    if wish != "auto":
        return wish == "containers"
    return any(one.cache.upstream for one in there) and not builtin()


def instead(there: Sequence[ContainerSeen], planned: Sequence[Listener]) -> tuple[Listener, ...]:
    """Where the caches are that are containers, beside those that the builtin engine would have."""
    from obol.registry.control.api import Listener
    from obol.rendering.loopback import LOOPBACK

    ports = {one.cache.registry: one.port for one in there if one.cache.upstream and one.port}
    serving = (Listener(registry, LOOPBACK, port) for registry, port in ports.items())
    return (*serving, *(one for one in planned if one.registry not in ports))


def refuse(there: Sequence[ContainerSeen], what: str, instead: str = "") -> None:
    """Raise ObolError where containers are the caches, which cannot do what a verb is for."""
    caches = [one.cache.name for one in there if one.cache.upstream]
    if caches:
        raise ObolError(
            what,
            why=f"the caches are containers ({', '.join(caches)})",
            hint=f"{f'{instead}; ' if instead else ''}`{SWITCH}` has the builtin engine serve, which can",
        )


def parts(there: Sequence[ContainerSeen], root: str) -> list[str | Table]:
    """How the containers are, for people."""
    caches = [one for one in there if one.cache.upstream]
    answer = sum(one.state == "running" for one in caches)
    known = [one.content for one in there if one.content is not None]
    content = f"{counted(sum(one.count for one in known), 'blob')}, {size(sum(one.size for one in known))}"
    about = (
        ("Engine", f"containers, {answer} of {len(caches)} running" if caches else "no caches, a registry to push to"),
        ("Store", tilde(root)),
        ("Content", content if len(known) == len(there) else f"{content}, and what is not ours to count"),
    )
    return [*(f"{title:<9}{text}" for title, text in about), "", table(there)]


def table(there: Sequence[ContainerSeen]) -> Table:
    """A row for each container."""
    rows = tuple(
        (
            one.cache.registry,
            one.cache.name,
            f"{'127.0.0.1'}:{one.port}" if one.port else "",
            one.state
            if one.port in {0, one.cache.port} or not one.cache.port
            else f"{one.state}, not on {one.cache.port}",
            "?" if one.content is None else size(one.content.size),
        )
        for one in there
    )
    return Table(("Registry", "Container", "Address", "State", ">Holds"), rows)
