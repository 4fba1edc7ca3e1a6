from __future__ import annotations

import asyncio
import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from obol.caches.builtin.process import BuiltinEngine, Started
from obol.demo.processes import plan_cache, running_cache
from obol.errors import EngineUnresponsive
from obol.registry.control.api import EngineStatus, Listener
from tests.fakes.control import status_body


@dataclass
class FakeEngine(BuiltinEngine):
    """An engine whose start may take its time or fail."""

    problem: EngineUnresponsive | None = None
    begun: threading.Event = field(default_factory=threading.Event)
    may_start: threading.Event = field(default_factory=threading.Event)
    stops: int = 0

    def start(self) -> Started:
        self.begun.set()
        assert self.may_start.wait(1.5)
        if self.problem:
            raise self.problem
        return Started(msgspec.json.decode(status_body(Path("/s"), ports={"ghcr.io": 7}), type=EngineStatus), False)

    def stop(self) -> bool:
        self.stops += 1
        raise EngineUnresponsive("it has ended already")


@dataclass
class Killed:
    """Takes signals."""

    calls: list[tuple[int, int]] = field(default_factory=list)

    def __call__(self, pid: int, number: int) -> None:
        self.calls.append((pid, number))
        raise ProcessLookupError


def test_plan(tmp_path: Path) -> None:
    """The engine has a port and the upstream for each registry, and nothing of the person's settings or proxies."""
    environ = {"PATH": "/bin", "OBOL_CACHE_OFFLINE": "true", "HTTP_PROXY": "http://p", "https_proxy": "http://p"}

    plan = plan_cache(tmp_path, ["ghcr.io", "quay.io"], "http://127.0.0.1:9", environ)

    assert plan.store == tmp_path / "store"
    assert plan.listeners == (Listener("ghcr.io", "127.0.0.1", 0), Listener("quay.io", "127.0.0.1", 0))
    assert plan.arguments == (
        "--tag-ttl=0",
        "--upstream=ghcr.io=http://127.0.0.1:9",
        "--upstream=quay.io=http://127.0.0.1:9",
    )
    assert plan.child_environment() == {"PATH": "/bin", "OBOL_CONFIG_DIR": str(tmp_path / "config")}


async def test_running() -> None:
    """The engine is there for the block, and is killed by its id after it; that it is gone by then is fine."""
    engine, killed = FakeEngine(), Killed()
    engine.may_start.set()

    async with running_cache(engine, killed) as registries:
        assert registries == {"ghcr.io": "http://127.0.0.1:7"}
        assert killed.calls == []

    assert killed.calls == [(4711, signal.SIGKILL)]
    assert engine.stops == 1


async def test_it_does_not_start() -> None:
    """An engine that does not start is an error, after whatever it left was stopped."""
    engine, killed = FakeEngine(EngineUnresponsive("the cache engine did not start")), Killed()
    engine.may_start.set()

    with pytest.raises(EngineUnresponsive, match="did not start"):
        async with running_cache(engine, killed):
            raise AssertionError

    assert (killed.calls, engine.stops) == ([], 1)


async def test_interrupted_while_it_starts() -> None:
    """An interrupt in the middle of a start waits for the process, so as to end it."""
    engine, killed = FakeEngine(), Killed()

    async def use() -> None:
        async with running_cache(engine, killed):
            raise AssertionError

    async with asyncio.TaskGroup() as group:
        task = group.create_task(use())
        await asyncio.to_thread(engine.begun.wait, 1.5)
        task.cancel()
        await asyncio.sleep(0)
        engine.may_start.set()

    assert task.cancelled()
    assert killed.calls == [(4711, signal.SIGKILL)]
