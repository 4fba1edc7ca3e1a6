"""A cache engine for one demonstration: a background process as users have it, over a store that is thrown away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from obol.caches.builtin.plan import BuiltinPlan
from obol.errors import ObolError
from obol.registry.control.api import Listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping
    from pathlib import Path

    from obol.caches.builtin.process import BuiltinEngine

_LOOPBACK = "127.0.0.1"


def plan_cache(folder: Path, registries: Iterable[str], upstream: str, environ: Mapping[str, str]) -> BuiltinPlan:
    """Plan an engine below `folder`, on free ports, whose upstream for each registry is at `upstream`.

    Tags are never trusted without asking: a demonstration takes seconds, but shows what happens a day later. Of the
    environment, neither settings nor proxies count: they are about the real upstreams.
    """
    registries = tuple(registries)
    return BuiltinPlan(
        store=folder / "store",
        listeners=tuple(Listener(registry, _LOOPBACK, 0) for registry in registries),
        arguments=("--tag-ttl=0", *(f"--upstream={registry}={upstream}" for registry in registries)),
        environ={name: value for name, value in environ.items() if not _about_upstreams(name.upper())},
        config=folder / "config",
    )


def _about_upstreams(name: str) -> bool:
    return name.startswith("OBOL_") or name.endswith("_PROXY")


@asynccontextmanager
async def running_cache(
    engine: BuiltinEngine, kill: Callable[[int, int], None] = os.kill
) -> AsyncIterator[Mapping[str, str]]:
    """Start an engine; gives the base URL for each registry. Its process is gone at the end of the block.

    It is killed, not asked to end: transfers under way would be given time, for a store that nobody wants any more.
    Raises EngineUnresponsive where it does not start.
    """
    # Cancelling cannot stop the thread that starts the process, so we wait for it: the process must not be overlooked.
    starting = asyncio.get_running_loop().run_in_executor(None, engine.start)
    try:
        started = await asyncio.shield(starting)
        yield {one.registry: f"http://{one.address}:{one.port}" for one in started.status.listeners}
    finally:
        await asyncio.wait([starting])
        if starting.exception() is None:
            with contextlib.suppress(ProcessLookupError):
                kill(starting.result().status.pid, signal.SIGKILL)
        with contextlib.suppress(ObolError):  # whatever is the matter with it has been told by then
            await asyncio.to_thread(engine.stop)
