import asyncio
from contextlib import suppress

import pytest

from obol.oci.errors import UPSTREAM_BROKEN, OciError
from obol.oci.references import Digest
from obol.registry.transfers import transfer as transfer_module
from obol.registry.transfers.transfer import GRACE, Transfer, TransferEnvironment, Watch
from tests.fakes.clock import FakeClock
from tests.fakes.store import MemoryPartial
from tests.fakes.upstream import FakeSlots
from tests.limits import eventually
from tests.unit.registry.world import DATA, DIGEST, FILL, LIMITS, WHOLE, World, new_transfer, one_blob, take, world

SHORT = Digest.of(b"data")


async def test_the_watch_looks_again_and_again(
    environment: TransferEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once started it looks at the transfers that run by then, until it is closed."""
    monkeypatch.setattr(transfer_module, "LOOK_EVERY", 0.001)
    running: list[Transfer] = []
    looks = 0

    def transfers() -> list[Transfer]:
        nonlocal looks
        looks += 1
        return running

    watch = Watch(transfers, LIMITS.standstill)
    watch.start()
    running.append(transfer := new_transfer(environment, SHORT, 100))
    await transfer.slots.first(1.0)
    assert isinstance(environment.clock, FakeClock)
    environment.clock.advance(3.0)

    slots = transfer.origin.slots
    assert isinstance(slots, FakeSlots)
    await eventually(lambda: slots.lent == 1 and looks > 1)
    await watch.close()
    seen = looks
    await asyncio.sleep(0.005)

    assert looks == seen


def look_after(w: World, seconds: float) -> None:
    """Let time pass without any byte, and the watch look at what runs."""
    w.clock.advance(seconds)
    w.engine.blobs._watch.look()


async def test_a_transfer_that_nothing_advances_is_ended() -> None:
    """A wakeup that never comes ends in a cut for the clients; the slot is free, and the next client gets the rest."""
    one, blob = one_blob()
    async with world(one) as w:
        client = await w.client(blob, 3000)

        look_after(w, LIMITS.standstill - 1)
        await asyncio.sleep(0)
        assert not client.done()
        look_after(w, 1)
        assert not (await client).complete
        await w.idle()

        counts = w.scope.counters.transfers
        assert (one.connections.taken, one.connections.lent) == (0, 0)
        assert (counts.stalled, counts.failed) == (1, 1)
        blob.let_go()
        assert await take(await w.blob(DIGEST)) == WHOLE
        assert blob.sent < len(DATA) + 2 * FILL.segment


async def test_a_transfer_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where even the end hangs, clients and slots are let go, and no second transfer writes the same file meanwhile."""
    one, blob = one_blob()
    entered, hanging = asyncio.Event(), asyncio.Event()

    async def hang(*_: object, durable: bool = False) -> None:
        if not durable:
            return
        entered.set()
        with suppress(asyncio.CancelledError):
            await hanging.wait()
        await hanging.wait()

    async with world(one) as w:
        client = await w.client(blob, 3000)
        monkeypatch.setattr(MemoryPartial, "checkpoint", hang)

        look_after(w, LIMITS.standstill)
        await eventually(entered.is_set)
        look_after(w, GRACE)
        assert not (await client).complete
        assert one.connections.taken == 0
        with pytest.raises(OciError) as refusal:
            await w.blob(DIGEST)
        hanging.set()

        assert refusal.value.kind is UPSTREAM_BROKEN
        await w.idle()
        monkeypatch.undo()
        blob.let_go()
        assert await take(await w.blob(DIGEST)) == WHOLE


async def test_what_no_client_wants_makes_room() -> None:
    """Where others wait for a connection, a transfer ends that is quiet and has no follower; one that has any stays."""
    one, blob = one_blob()
    async with world(one) as w:
        client = await w.client(blob, 3000)
        one.connections.wanted_by_others = True
        look_after(w, 30.0)
        await asyncio.sleep(0)
        assert w.engine.transfers == 1

        client.cancel()
        await asyncio.gather(client, return_exceptions=True)
        look_after(w, 0.5)
        await asyncio.sleep(0)
        assert w.engine.transfers == 1
        look_after(w, 0.5)
        await w.idle()

        assert (one.connections.taken, w.scope.counters.transfers.stalled) == (0, 0)
        blob.let_go()
        assert await take(await w.blob(DIGEST)) == WHOLE
