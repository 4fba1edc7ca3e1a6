from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from obol.machine.tasks import spawn
from obol.oci.errors import UPSTREAM_BROKEN, OciError
from obol.registry.transfers import follower as following_module
from obol.registry.transfers import watch as watch_module
from obol.registry.transfers.watch import GRACE, Watch
from tests.fakes.content import blob as make_blob
from tests.fakes.store import MemoryPartial
from tests.fakes.upstream import FakeBlob, FakeUpstream
from tests.limits import eventually
from tests.unit.registry.transfers.test_follower import following, held
from tests.unit.registry.world import FILL, LIMITS, REPOSITORY, Got, World, take, world

LIMIT = 120.0
DIGEST, DATA = make_blob(9500, "layer")
WHOLE = Got(DATA, complete=True)


@dataclass(eq=False)
class FakeTransfer:
    """Something to watch, and what was done to it."""

    still: float = 0.0
    done: list[str] = field(default_factory=list)

    def lend(self) -> None:
        """Note it."""
        self.done.append("lend")

    def stood_still(self) -> float:
        """What the test says."""
        return self.still

    def end(self) -> None:
        """Note it."""
        self.done.append("end")

    def give_up(self) -> None:
        """Note it."""
        self.done.append("give up")


@pytest.mark.parametrize(
    ("still", "done"),
    [
        (0.0, ["lend"]),
        (LIMIT - 0.1, ["lend"]),
        (LIMIT, ["lend", "end"]),
        (LIMIT + GRACE, ["lend", "end", "give up"]),
    ],
)
def test_what_stands_still_is_ended(still: float, done: list[str]) -> None:
    """A transfer that nobody advances is ended at the limit, and given up where that does not help."""
    transfer = FakeTransfer(still)

    Watch(LIMIT).look([transfer])

    assert transfer.done == done


async def test_it_looks_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once started it looks at those that run by then, until it is closed."""
    monkeypatch.setattr(watch_module, "LOOK_EVERY", 0.001)
    running: set[FakeTransfer] = set()
    watch = Watch(LIMIT)
    watch.start(running)
    transfer = FakeTransfer()
    running.add(transfer)

    await eventually(lambda: len(transfer.done) > 1)
    await watch.close()
    seen = len(transfer.done)
    await asyncio.sleep(0.005)

    assert len(transfer.done) == seen


def holding() -> tuple[FakeUpstream, FakeBlob]:
    """An upstream with one blob, which stands still at byte 3000."""
    one = FakeUpstream()
    blob = one.add_blob(REPOSITORY, DIGEST, DATA)
    blob.hold(3000)
    return one, blob


def look_after(w: World, seconds: float) -> None:
    """Let time pass without any byte, and the watch look at what runs."""
    w.clock.advance(seconds)
    w.engine.blobs._watch.look(w.engine.blobs._downloads)


async def test_a_transfer_that_nobody_advances_is_ended() -> None:
    """A wakeup that never comes ends in a cut for the clients; the slot is free, and the next client gets the rest."""
    one, blob = holding()
    async with world(one) as w:
        client = spawn(take(await w.blob(DIGEST)), name="client")
        await eventually(lambda: blob.sent >= 3000)

        look_after(w, LIMITS.standstill - 1)
        await asyncio.sleep(0)
        assert not client.done()
        look_after(w, 1)
        assert not (await client).complete
        await w.idle()

        assert (one.connections.taken, one.connections.lent) == (0, 0)
        assert (w.scope.counters.fills_stalled, w.scope.counters.fills_failed) == (1, 1)
        blob.let_go()
        assert await take(await w.blob(DIGEST)) == WHOLE
        assert blob.sent < len(DATA) + 2 * FILL.segment


async def test_a_transfer_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where even the end hangs, clients and slots are let go, and no second transfer writes the same file meanwhile."""
    one, blob = holding()
    entered, hanging = asyncio.Event(), asyncio.Event()

    async def hang(*_: object, durable: bool = False) -> None:
        if not durable:
            return
        entered.set()
        with suppress(asyncio.CancelledError):
            await hanging.wait()
        await hanging.wait()

    async with world(one) as w:
        client = spawn(take(await w.blob(DIGEST)), name="client")
        await eventually(lambda: blob.sent >= 3000)
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


async def test_what_nobody_wants_makes_room() -> None:
    """Where others wait for a connection, a transfer ends that is quiet and has no follower; one that has any stays."""
    one, blob = holding()
    async with world(one) as w:
        client = spawn(take(await w.blob(DIGEST)), name="client")
        await eventually(lambda: blob.sent >= 3000)
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

        assert (w.engine.transfers, one.connections.taken, w.scope.counters.fills_stalled) == (0, 0, 0)
        blob.let_go()
        assert await take(await w.blob(DIGEST)) == WHOLE


async def test_many_far_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where as many parts as may be are fetched directly, another one waits for the transfer."""
    monkeypatch.setattr(following_module, "FAR_AHEAD", 4000)
    monkeypatch.setattr(following_module, "MOST_DIRECT", 1)
    one, blob = held()
    async with world(one) as w:
        blob.hold(2000)
        with await following(w) as first, await following(w) as second:
            await first.opened(8000)
            late = spawn(second.opened(8000), name="late")
            await asyncio.sleep(0.01)
            assert not late.done()
            blob.let_go()
            await late
        with await following(w) as third:
            await third.opened(8000)
        await w.idle()
