"""The two processes of a demonstration, seen from the one that started them: the origin, and the cache."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from obol.caches.builtin.plan import BuiltinPlan
from obol.demo.origin import BytesSent, ImagesMade, Order, OriginEvent, OriginReady
from obol.errors import ObolError
from obol.registry.control.api import Listener

if TYPE_CHECKING:
    from obol.caches.builtin.process import BuiltinEngine

ANSWERS_WITHIN = 60.0
"""Seconds for each thing that it has to say: a layer made, or a count."""
_ENDS_WITHIN = 3.0
_COMMAND = (sys.executable, "-m", "obol.demo.origin")
_LOOPBACK = "127.0.0.1"


class OriginProcess:
    """An origin that serves on `port`, until it is stopped."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.port = 0
        self._process = process
        self._stopped = False
        self._sent = 0

    async def begin(self, order: Order, made: Callable[[int], None]) -> None:
        """Have it make its images and serve them; `made` is told how many bytes of images there are so far.

        Raises ObolError.
        """
        await self._say(msgspec.json.encode(order))
        while True:
            match await self._hear():
                case ImagesMade(size):
                    made(size)
                case OriginReady(port):
                    self.port = port
                    return
                case BytesSent() as odd:
                    raise _failed(f"it said {odd}")

    async def sent(self) -> int:
        """How many bytes of bodies it has sent so far; of one that was stopped, what it said last. Raises ObolError."""
        if self._stopped:
            return self._sent
        await self._say(b"")
        match await self._hear():
            case BytesSent(size):
                self._sent = size
                return size
            case odd:
                raise _failed(f"it said {odd}")

    async def stop(self) -> None:
        """Have it end, its connections closed; nothing answers on its port then."""
        self._stopped = True
        if self._process.stdin:
            self._process.stdin.close()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ENDS_WITHIN):
                    await self._process.wait()
        finally:
            await self.kill()

    async def kill(self) -> None:
        """End it at once; safe to repeat."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def _say(self, line: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + b"\n")
        with contextlib.suppress(ConnectionError):  # it has ended; what it says is then missing too
            await self._process.stdin.drain()

    async def _hear(self) -> OriginEvent:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(ANSWERS_WITHIN):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise _failed(f"it has said nothing for {ANSWERS_WITHIN:g} seconds") from None
        if not line:
            raise _failed(f"its process ended with code {await self._process.wait()}")
        told: OriginEvent = msgspec.json.decode(line, type=OriginEvent)
        return told


@asynccontextmanager
async def origin_process() -> AsyncIterator[OriginProcess]:
    """Start a process that waits for its order; it is gone at the end of the block."""
    process = await asyncio.create_subprocess_exec(
        *_COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # an interrupt at the terminal is for us; we end it when we are done with it
    )
    origin = OriginProcess(process)
    try:
        yield origin
    finally:
        await origin.kill()


def _failed(why: str) -> ObolError:
    return ObolError("the demo's origin failed", why=why, hint="what it printed above may say more")


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

    It is killed, not asked to end: transfers under way would be given time, for a store that is thrown away.
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
        with contextlib.suppress(ObolError):  # what is the matter with it has been reported by then
            await asyncio.to_thread(engine.stop)
