import asyncio
import random

import pytest

from obol.machine.tasks import spawn
from obol.registry.upstream.ports import Unavailable
from obol.registry.upstream.slots import Share, SlotPool, UpstreamSlots

SOON = 0.01
NONE = Share(0, 0)
LENT = Share(2, 3)


def firsts(per_upstream: int, overall: int) -> SlotPool:
    """A pool where no transfer has several."""
    return SlotPool(several=NONE, firsts=Share(per_upstream, overall), lent=LENT)


async def waiting(slots: UpstreamSlots, within: float = 1.0) -> asyncio.Task[None]:
    """A transfer that waits for its first connection."""
    task = spawn(slots.first(within), name="transfer")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


async def test_a_free_connection_is_given_at_once() -> None:
    """Up to the upstream's share nobody waits; one more transfer does, and gives up in time."""
    slots = firsts(per_upstream=2, overall=10).of("a")

    await slots.first(SOON)
    await slots.first(SOON)

    with pytest.raises(Unavailable, match="too many blobs"):
        await slots.first(SOON)


async def test_all_upstreams_together_have_a_limit() -> None:
    """One upstream's connections count against what another may have."""
    pool = firsts(per_upstream=2, overall=3)
    first, second = pool.of("a"), pool.of("b")
    await first.first(SOON)
    await first.first(SOON)
    await second.first(SOON)

    with pytest.raises(Unavailable):
        await second.first(SOON)

    first.release()
    await second.first(SOON)


async def test_those_who_wait_are_served_in_order() -> None:
    """A connection that comes back goes to the transfer that waited longest."""
    slots = firsts(1, 1).of("a")
    await slots.first(SOON)
    one, two = await waiting(slots), await waiting(slots)

    slots.release()
    await one
    assert not two.done()

    slots.release()
    await two


async def test_a_first_connection_does_not_wait_for_those_of_fills_with_several() -> None:
    """A transfer gets more up to one limit, and gives back what others have beyond it, who get their first anyhow."""
    slots = SlotPool(several=Share(3, 3), firsts=Share(5, 5), lent=LENT).of("a")
    await slots.first(SOON)
    assert slots.more()
    assert slots.more()
    assert not slots.more()
    assert not slots.crowded()

    await slots.first(0)
    assert slots.crowded()
    slots.release()

    assert not slots.crowded()
    assert not slots.more()
    slots.release()
    assert slots.more()


async def test_all_fills_with_several_have_a_limit() -> None:
    """What one upstream's transfers have in several connections counts against another's."""
    pool = SlotPool(several=Share(2, 3), firsts=Share(9, 9), lent=LENT)
    first, second = pool.of("a"), pool.of("b")
    assert first.more()
    assert first.more()

    assert second.more()
    assert not second.more()
    assert not second.crowded()


async def test_a_crowd_at_one_upstream_takes_nothing_from_another() -> None:
    """However many blobs one upstream is asked for, transfers of another have several connections."""
    pool = SlotPool(several=Share(2, 4), firsts=Share(5, 9), lent=LENT)
    crowd, other = pool.of("a"), pool.of("b")
    for _ in range(5):
        await crowd.first(0)

    assert crowd.crowded()
    assert other.more()
    assert other.more()
    assert not other.more()
    assert not other.crowded()


async def test_a_newcomer_does_not_overtake() -> None:
    """Between a connection's return and the waiting transfer's next turn nobody takes it."""
    slots = firsts(1, 1).of("a")
    await slots.first(SOON)
    late = await waiting(slots)

    slots.release()
    with pytest.raises(Unavailable):
        await slots.first(0)

    await late


async def test_a_full_upstream_does_not_hold_up_another() -> None:
    """Who waits for one upstream's share is no reason for another upstream's transfers to wait."""
    pool = firsts(per_upstream=1, overall=3)
    busy, idle = pool.of("a"), pool.of("b")
    await busy.first(SOON)
    late = await waiting(busy)

    await idle.first(SOON)
    idle.release()
    assert not late.done()

    busy.release()
    await late


async def test_a_connection_goes_to_the_first_who_can_use_it() -> None:
    """Where the longest waiting transfer's upstream is at its limit, the next one gets the connection."""
    pool = firsts(per_upstream=1, overall=2)
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
    slots = firsts(1, 1).of("a")
    await slots.first(SOON)
    gone, next_one = await waiting(slots), await waiting(slots)

    gone.cancel()
    await asyncio.sleep(0)
    slots.release()

    await next_one
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_a_connection_given_to_a_fill_that_is_cancelled_is_not_lost() -> None:
    """The turn came and the transfer was cancelled in the same moment: the next in the queue has the connection."""
    slots = firsts(1, 1).of("a")
    await slots.first(SOON)
    gone, next_one = await waiting(slots), await waiting(slots)

    slots.release()
    gone.cancel()

    await next_one
    with pytest.raises(asyncio.CancelledError):
        await gone
    slots.release()
    await slots.first(0)


async def test_a_fill_that_gave_up_is_in_nobodys_way() -> None:
    """A connection that comes back while a transfer stops waiting goes to the next that asks, at once."""
    slots = firsts(1, 1).of("a")
    await slots.first(SOON)
    gone = await waiting(slots)

    gone.cancel()
    slots.release()
    await slots.first(0)

    with pytest.raises(asyncio.CancelledError):
        await gone


@pytest.mark.parametrize("seed", range(20))
async def test_connections_are_never_lost_or_made_up(seed: int) -> None:
    """Transfers that come, take more, give back, are cancelled or time out leave the pool as full as it was."""
    chance = random.Random(seed)
    pool = SlotPool(several=Share(2, 3), firsts=Share(3, 5), lent=LENT)
    scopes = [pool.of("a"), pool.of("b")]
    used = 0

    async def transfer(slots: UpstreamSlots) -> None:
        nonlocal used
        try:
            await slots.first(chance.choice([0, 0.001, 1.0]))
        except Unavailable:
            return
        mine = 1
        used += 1
        try:
            for _ in range(chance.randrange(4)):
                if chance.random() < 0.5 and slots.more():
                    mine, used = mine + 1, used + 1
                assert used <= 5
                await asyncio.sleep(0)
        finally:
            for _ in range(mine):
                used -= 1
                slots.release()

    transfers = [spawn(transfer(chance.choice(scopes)), name="transfer") for _ in range(30)]
    for task in transfers:
        if chance.random() < 0.3:
            task.cancel()
        if chance.random() < 0.5:
            await asyncio.sleep(0)
    results = await asyncio.gather(*transfers, return_exceptions=True)

    assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)
    assert [scopes[0].more(), scopes[0].more(), scopes[1].more(), scopes[1].more()] == [True, True, True, False]


async def test_what_stands_still_holds_nobody_up() -> None:
    """The slot of a quiet connection goes to whoever waits, and is taken back when it brings bytes again."""
    slots = firsts(1, 1).of("a")
    await slots.first(SOON)
    late = await waiting(slots)

    assert slots.lend()
    await late
    slots.reclaim()

    assert slots.crowded()
    slots.release()
    with pytest.raises(Unavailable):
        await slots.first(0)
    slots.release()
    await slots.first(0)


async def test_lending_has_a_limit() -> None:
    """So many connections that stand still are there at most; further ones keep their slots."""
    pool = firsts(per_upstream=1, overall=2)
    one, other = pool.of("a"), pool.of("b")
    for _ in range(LENT.per_upstream):
        await one.first(0)
        assert one.lend()

    await one.first(0)
    assert not one.lend()
    await other.first(0)
    assert other.lend()
    await other.first(0)
    assert not other.lend()
