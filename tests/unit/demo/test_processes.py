import asyncio
import signal
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from obol.caches.builtin.process import BuiltinEngine, Started
from obol.demo import processes
from obol.demo.origin import Order
from obol.demo.processes import origin_process, plan_cache, running_cache
from obol.errors import EngineUnresponsive, ObolError
from obol.registry.control.api import EngineStatus, Listener
from tests.fakes.control import status_body

ORDER = Order("images", 1_000_000, 1e9, 1e9, 0.0)


def play(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Let the process be a short program instead."""
    program = "\n".join(
        ("import sys, signal", "hear = sys.stdin.readline", "say = lambda t: print(t, flush=True)", *lines)
    )
    # Without what takes long to load.
    monkeypatch.setattr(processes, "_COMMAND", (sys.executable, "-I", "-S", "-c", program))


async def test_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told its order, tells how far it is, then its port, and what it has sent whenever it is asked."""
    play(
        monkeypatch,
        "hear()",
        """say('{"type":"made","size":5}'); say('{"type":"made","size":9}'); say('{"type":"ready","port":7}')""",
        """hear(); say('{"type":"sent","size":40}')""",
        "hear()",
    )
    told: list[int] = []

    async with origin_process() as origin:
        await origin.begin(ORDER, told.append)

        assert (told, origin.port) == ([5, 9], 7)
        assert await origin.sent() == 40
        await origin.stop()
        assert await origin.sent() == 40


async def test_it_fails_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ends instead of saying something is an error which tells its exit code."""
    play(monkeypatch, "sys.exit(3)")

    async with origin_process() as origin:
        with pytest.raises(ObolError, match="ended with code 3"):
            await origin.begin(ORDER, print)


async def test_it_begins_oddly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A count is no answer to an order."""
    play(monkeypatch, "hear()", """say('{"type":"sent","size":4}')""", "hear()")

    async with origin_process() as origin:
        with pytest.raises(ObolError, match="it said BytesSent"):
            await origin.begin(ORDER, print)


async def test_it_counts_oddly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port is no answer to how much was sent."""
    play(monkeypatch, "hear()", """say('{"type":"ready","port":7}')""", """hear(); say('{"type":"ready","port":7}')""")

    async with origin_process() as origin:
        await origin.begin(ORDER, print)
        with pytest.raises(ObolError, match="it said OriginReady"):
            await origin.sent()


async def test_it_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is silent for too long is an error, and is ended all the same."""
    monkeypatch.setattr(processes, "ANSWERS_WITHIN", 0.05)
    play(monkeypatch, "hear(); hear()")

    with pytest.raises(ObolError, match="has said nothing for"):
        async with origin_process() as origin:
            await origin.begin(ORDER, print)


async def test_it_does_not_want_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that does not end by itself is killed."""
    monkeypatch.setattr(processes, "_ENDS_WITHIN", 0.05)
    play(
        monkeypatch,
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        """hear(); say('{"type":"ready","port":7}')""",
        "hear(); signal.pause()",
    )

    async with origin_process() as origin:
        await origin.begin(ORDER, print)

        await origin.stop()

        assert origin._process.returncode == -9


async def test_it_is_gone_after_a_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends the block, the process has ended after it."""
    play(monkeypatch, "hear(); signal.pause()")
    started = asyncio.Event()
    found = []

    async def begin() -> None:
        async with origin_process() as origin:
            found.append(origin._process)
            started.set()
            await origin.begin(ORDER, print)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(begin())
        await started.wait()
        task.cancel()

    assert [process.returncode for process in found] == [-9]


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
