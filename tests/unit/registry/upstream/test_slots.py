from __future__ import annotations

import asyncio
import random

import pytest

from obol.machine.tasks import spawn
from obol.registry.upstream.base import Unavailable
from obol.registry.upstream.slots import SlotPool, UpstreamSlots

SOON = 0.01


async def waiting(slots: UpstreamSlots, within: float = 1.0) -> asyncio.Task[None]:
    """A fill that waits for its first connection."""
    task = spawn(slots.first(within), name="fill")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


async def test_a_free_connection_is_given_at_once() -> None:
    """Up to the upstream's share nobody waits; one more fill does, and gives up in time."""
    slots = SlotPool(per_upstream=2, overall=10).of("a")

    await slots.first(SOON)
    await slots.first(SOON)

    with pytest.raises(Unavailable, match="too many blobs"):
        await slots.first(SOON)


async def test_all_upstreams_together_have_a_limit() -> None:
    """One upstream's connections count against what another may have."""
    pool = SlotPool(per_upstream=2, overall=3)
    first, second = pool.of("a"), pool.of("b")
    await first.first(SOON)
    await first.first(SOON)
    await second.first(SOON)

    with pytest.raises(Unavailable):
        await second.first(SOON)

    first.release()
    await second.first(SOON)


async def test_those_who_wait_are_served_in_order() -> None:
    """A connection that comes back goes to the fill that waited longest."""
    slots = SlotPool(1, 1).of("a")
    await slots.first(SOON)
    one, two = await waiting(slots), await waiting(slots)

    slots.release()
    await one
    assert not two.done()

    slots.release()
    await two


async def test_a_second_connection_never_comes_before_anothers_first() -> None:
    """A fill gets more only while nobody waits, and is told when it should give one back."""
    slots = SlotPool(3, 3).of("a")
    await slots.first(SOON)
    assert slots.more()
    assert slots.more()
    assert not slots.more()
    assert not slots.crowded()

    late = await waiting(slots)
    assert slots.crowded()
    assert not slots.more()
    slots.release()

    assert not slots.more()
    await late
    assert not slots.crowded()


async def test_a_newcomer_does_not_overtake() -> None:
    """Between a connection's return and the waiting fill's next turn nobody takes it."""
    slots = SlotPool(1, 1).of("a")
    await slots.first(SOON)
    late = await waiting(slots)

    slots.release()
    with pytest.raises(Unavailable):
        await slots.first(0)

    await late


async def test_a_full_upstream_does_not_hold_up_another() -> None:
    """Who waits for one upstream's share is no reason for another upstream's fills to wait or give back."""
    pool = SlotPool(per_upstream=1, overall=3)
    busy, idle = pool.of("a"), pool.of("b")
    await busy.first(SOON)
    late = await waiting(busy)

    await idle.first(SOON)
    assert not idle.crowded()
    idle.release()
    assert not late.done()

    busy.release()
    await late


async def test_a_connection_goes_to_the_first_who_can_use_it() -> None:
    """Where the longest waiting fill's upstream is at its limit, the next one gets the connection."""
    pool = SlotPool(per_upstream=1, overall=2)
    first, second = pool.of("a"), pool.of("b")
    await first.first(SOON)
    await second.first(SOON)
    stuck, able = await waiting(first), await waiting(second)

    second.release()

    await able
    assert not stuck.done()
    first.release()
    await stuck


async def test_a_fill_that_is_cancelled_leaves_the_queue() -> None:
    """Its place goes to those behind it."""
    slots = SlotPool(1, 1).of("a")
    await slots.first(SOON)
    gone, next_one = await waiting(slots), await waiting(slots)

    gone.cancel()
    await asyncio.sleep(0)
    slots.release()

    await next_one
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_a_connection_given_to_a_fill_that_is_cancelled_is_not_lost() -> None:
    """The turn came and the fill was cancelled in the same moment: the next in the queue has the connection."""
    slots = SlotPool(1, 1).of("a")
    await slots.first(SOON)
    gone, next_one = await waiting(slots), await waiting(slots)

    slots.release()
    gone.cancel()

    await next_one
    with pytest.raises(asyncio.CancelledError):
        await gone
    slots.release()
    assert slots.more()


@pytest.mark.parametrize("seed", range(20))
async def test_connections_are_never_lost_or_made_up(seed: int) -> None:
    """Fills that come, take more, give back, are cancelled or time out leave the pool as full as it was."""
    chance = random.Random(seed)
    pool = SlotPool(per_upstream=2, overall=3)
    spaces = [pool.of("a"), pool.of("b")]
    used = 0

    async def fill(slots: UpstreamSlots) -> None:
        nonlocal used
        try:
            await slots.first(chance.choice([0, 0.001, 1.0]))
        except Unavailable:
            return
        used += 1
        try:
            assert used <= 3
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
        finally:
            used -= 1
            slots.release()

    fills = [spawn(fill(chance.choice(spaces)), name="fill") for _ in range(30)]
    for task in fills:
        if chance.random() < 0.3:
            task.cancel()
        if chance.random() < 0.5:
            await asyncio.sleep(0)
    results = await asyncio.gather(*fills, return_exceptions=True)

    assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)
    assert [spaces[0].more(), spaces[0].more(), spaces[1].more(), spaces[1].more()] == [True, True, True, False]
