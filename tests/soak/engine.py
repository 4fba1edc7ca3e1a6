"""The engine as a process that is watched from outside: its memory, its open files, and what it complained of."""

import asyncio
import os
import re
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import msgspec

from tests.engine.processes import EngineProcess

_MISTAKE = re.compile(
    r"^\s*Traceback|Task was destroyed|was never (?:retrieved|awaited)|(?:request|connection|library) failed",
    re.MULTILINE,
)

MEMORY_BOUND_MIB = 150.0


class Held(msgspec.Struct, frozen=True):
    """Number of objects and their bytes."""

    count: int
    size: int


class EngineCounts(msgspec.Struct, frozen=True):
    """What the scenarios need of the engine's status."""

    fills: int
    content: Held
    partials: Held


class WatchedEngine(EngineProcess):
    """`obol cache serve` over a store, with its log beside the store; `meter`: see `tests.engine.gapmeter`."""

    def __init__(self, store: Path, upstreams: Mapping[str, str], *options: str, meter: Path | None = None) -> None:
        super().__init__(store, dict(upstreams), *options)
        self._meter = meter
        if meter is not None:
            self._argv[self._argv.index("obol")] = "tests.engine.gapmeter"
        self._log = store.parent / f"{store.name}.log"

    async def _port(self) -> int:
        try:
            return await super()._port()
        except RuntimeError as problem:
            said = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
            raise RuntimeError(f"{problem}: {' / '.join(said[-3:])}") from problem

    async def _spawn(self) -> asyncio.subprocess.Process:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OBOL_")}
        environment["OBOL_CONFIG_DIR"] = str(self._store.parent / "config")
        if self._meter is not None:
            environment["GAP_FILE"] = str(self._meter)
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *self._argv,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=log,
            )

    async def killed_while_starting(self, after: float) -> None:
        """Start, and kill -9 after so many seconds, wherever it has got to."""
        self._process = await self._spawn()
        try:
            await asyncio.sleep(after)
        finally:
            self.kill()
            await self._process.wait()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def told(self) -> EngineCounts:
        connector = aiohttp.UnixConnector(path=str(self._store / "control.sock"))
        async with aiohttp.ClientSession(connector=connector) as session, session.get("http://x/status") as reply:
            return msgspec.json.decode(await reply.read(), type=EngineCounts)

    async def idle(self, within: float) -> bool:
        """Wait until no blob is being fetched; False when that takes too long."""
        for _ in range(int(within * 10)):
            if (await self.told()).fills == 0:
                return True
            await asyncio.sleep(0.1)
        return False

    def memory(self) -> float:
        return _memory(self.pid, "VmRSS")

    def peak_memory(self) -> float:
        """MiB that it had resident at most."""
        return _memory(self.pid, "VmHWM")

    def open_files(self) -> int:
        """Descriptors, sockets included."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def log_size(self) -> int:
        return self._log.stat().st_size if self._log.exists() else 0

    def mistakes(self) -> int:
        """Failures of ours, and complaints of the interpreter and the libraries, in the log."""
        if not self._log.exists():
            return 0
        return len(_MISTAKE.findall(self._log.read_text(encoding="utf-8", errors="replace")))


def _memory(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(name)
