"""The engine as a process, started by the command line as a user starts it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tests.fakes.store import hold_names
from tests.limits import scaled

STARTS_WITHIN = scaled(15)


class EngineProcess:
    """`obol cache serve` over a store; may be run again and again, one at a time."""

    def __init__(self, store: Path, upstreams: dict[str, str], *options: str) -> None:
        self._store = store
        self._argv = [sys.executable, "-m", "obol", "cache", "serve", f"--store={store}", *options]
        for registry, url in upstreams.items():
            self._argv += [f"--upstream={registry}={url}", f"--port={registry}=0"]
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Process id of the one that runs."""
        assert self._process is not None
        return self._process.pid

    async def _spawn(self) -> asyncio.subprocess.Process:
        """Start, with nothing of the caller's environment that is a setting."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OBOL_")}
        environment["OBOL_CONFIG_DIR"] = str(self._store.parent / "config")
        return await asyncio.create_subprocess_exec(
            *self._argv,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run_to_the_end(self) -> tuple[int, str]:
        """Run until it ends by itself: the exit code and what it said."""
        process = await self._spawn()
        async with asyncio.timeout(STARTS_WITHIN):
            _, said = await process.communicate()
        return process.returncode or 0, said.decode()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        """The port of the first listener, while it runs; killed at the end of the block if it still does."""
        self._process = await self._spawn()
        draining = asyncio.gather(self._process.stderr.read() if self._process.stderr else asyncio.sleep(0))
        try:
            yield await self._port()
            hold_names(self._store)
        finally:
            self.kill()
            await self._process.wait()
            await draining

    async def _port(self) -> int:
        async with asyncio.timeout(STARTS_WITHIN):
            while True:
                if self._process is not None and self._process.returncode is not None:
                    raise RuntimeError(f"the engine ended with {self._process.returncode}")
                try:
                    status = await self.status()
                    return int(status["listeners"][0]["port"])
                except (OSError, aiohttp.ClientError, IndexError):
                    await asyncio.sleep(0.02)

    async def status(self) -> dict[str, list[dict[str, int]]]:
        connector = aiohttp.UnixConnector(path=str(self._store / "control.sock"))
        async with aiohttp.ClientSession(connector=connector) as session, session.get("http://x/status") as reply:
            told: dict[str, list[dict[str, int]]] = await reply.json()
            return told

    def kill(self) -> None:
        """Kill -9, if it still runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STARTS_WITHIN):
            return await self._process.wait()
