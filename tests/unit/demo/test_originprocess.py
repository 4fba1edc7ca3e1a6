from __future__ import annotations

import asyncio
import sys

import pytest

from obol.demo import processes
from obol.demo.origin import Order
from obol.demo.processes import origin_process
from obol.errors import ObolError

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
