"""The event loop is never held for long: the processor time of its longest callback under each hostile case.

One callback that takes long makes every client of every registry wait. Upstreams that attack are registries of their
own in one engine, which runs as a process with a meter on its loop.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from tests.engine.gapmeter import worst
from tests.fakes.content import digest_of
from tests.fakes.evil import ATTACKS, LARGE, EvilRegistries
from tests.fakes.http import request
from tests.fakes.rude import RUDE, head, say
from tests.soak.engine import WatchedEngine

GAP = 50.0
GAP_LARGE = 100.0
"""Milliseconds of processor time; the second where documents of more than a mebibyte are read."""
MEMORY = 200.0
"""MiB that the engine may have resident at most."""
ASKED = ("manifests/latest", f"blobs/{digest_of(b'')}", "tags/list", f"referrers/{digest_of(b'')}")
TRIES = 3
NOMINAL = 0.05
"""Seconds that `_slowness` takes on a machine that is as fast as the bounds are for."""


def _slowness() -> float:
    """How many times slower than that this machine is just now; at least 1."""
    before = time.thread_time()
    sum(number * number for number in range(700_000))
    return max(1.0, (time.thread_time() - before) / NOMINAL)


class Metered:
    """An engine whose loop is measured."""

    def __init__(self, engine: WatchedEngine, gaps: Path) -> None:
        self._engine = engine
        self._gaps = gaps
        self.ports: dict[str, int] = {}

    async def find_ports(self) -> None:
        """Learn which port is for which attack."""
        status = await self._engine.status()
        self.ports = {str(one["registry"]): one["port"] for one in status["listeners"]}

    async def check(self, attack: Callable[[], Awaitable[object]], bound: float) -> None:
        """Under an attack the longest callback and the memory are within the bounds, and nothing complains.

        What is too long is so each time; what the machine adds, when others use it, is not.
        """
        for _ in range(TRIES):
            self._gaps.write_text("", encoding="utf-8")
            await attack()
            took, what = worst(self._gaps)
            if took <= bound * _slowness():
                break

        assert took <= bound * _slowness(), what
        assert self._engine.peak_memory() <= MEMORY
        assert self._engine.mistakes() == 0


def named(attack: str) -> str:
    """The registry that does it."""
    return f"{attack}.test"


@asynccontextmanager
async def metered(folder: Path, attacks: dict[str, str]) -> AsyncIterator[Metered]:
    """Start an engine in front of attacking upstreams (attack to URL)."""
    gaps = folder / "gaps"
    engine = WatchedEngine(folder / "store", {named(attack): url for attack, url in attacks.items()}, meter=gaps)
    async with engine.running():
        found = Metered(engine, gaps)
        await found.find_ports()
        yield found


async def ask(engine: Metered, *attacks: str) -> None:
    """Ask for one of each kind at the registries that do it, twice, all at once."""
    ports = [engine.ports[named(attack)] for attack in attacks]
    await asyncio.gather(*(say(port, head(f"/v2/x/y/{one}")) for port in ports for one in ASKED for _ in range(2)))


async def test_upstreams(tmp_path: Path) -> None:
    """Whatever upstreams send, all at once, no callback takes long, memory is bounded, and the engine answers."""
    with EvilRegistries() as evil:
        async with metered(tmp_path, evil.urls) as engine:
            await engine.check(partial(ask, engine, *(ATTACKS.keys() - LARGE)), GAP)
            for attack in sorted(LARGE):
                await engine.check(partial(ask, engine, attack), GAP_LARGE)
            assert (await request(engine.ports[named("circle")], "GET", "/healthz")).status == 200


async def test_clients(tmp_path: Path) -> None:
    """Whatever clients do with a large manifest that is held, no callback takes long and memory is bounded."""
    with EvilRegistries() as evil:
        async with metered(tmp_path, {"large-manifest": evil.urls["large-manifest"]}) as engine:
            port, path = engine.ports[named("large-manifest")], "/v2/x/y/manifests/latest"
            await say(port, head(path))

            async def attack() -> None:
                await asyncio.gather(*(rude(port, path) for rude in RUDE.values()))

            await engine.check(attack, GAP_LARGE)
            assert (await request(port, "GET", "/healthz")).status == 200
