import asyncio

import pytest

from obol.machine.tasks import spawn
from obol.registry.upstream.reading import LargeAnswers, take_turn
from tests.limits import scaled


async def test_one_at_a_time() -> None:
    """Of many pieces of work with a large answer one has its turn at a time, and all get theirs."""
    turns, inside, most, done = LargeAnswers(), 0, 0, 0

    async def work() -> None:
        nonlocal inside, most, done
        async with turns.during("ghcr.io"):
            await take_turn()
            await take_turn()
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1
            done += 1

    await asyncio.gather(*(work() for _ in range(20)))

    assert (most, done) == (1, 20)


async def test_small_ones_do_not_wait() -> None:
    """Small answers, and those of another registry, wait for no turn; work that is cancelled gives its turn back."""
    turns, gate = LargeAnswers(), asyncio.Event()

    async def hold() -> None:
        async with turns.during("ghcr.io"):
            await take_turn()
            await gate.wait()

    holding = spawn(hold(), name="hold")
    await asyncio.sleep(0)
    async with asyncio.timeout(scaled(1)), turns.during("quay.io"):
        await take_turn()
    async with turns.during("ghcr.io"):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await take_turn()
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)

    async with asyncio.timeout(scaled(1)), turns.during("ghcr.io"):
        await take_turn()


async def test_whole_ones_wait_for_each_other() -> None:
    """An answer that is whole waits for those of every registry, and one that still arrives for those of its own."""
    turns, gate = LargeAnswers(), asyncio.Event()

    async def hold() -> None:
        async with turns.during("ghcr.io"):
            await take_turn()
            await take_turn(whole=True)
            await gate.wait()

    holding = spawn(hold(), name="hold")
    await asyncio.sleep(0)
    async with turns.during("quay.io"):
        async with asyncio.timeout(scaled(1)):
            await take_turn()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await take_turn(whole=True)
    gate.set()
    await holding

    async with asyncio.timeout(scaled(1)), turns.during("quay.io"):
        await take_turn(whole=True)


async def test_not_limited() -> None:
    """Who did not say that the work is limited does not wait."""
    await take_turn()
