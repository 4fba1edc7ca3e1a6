import asyncio
import os
from contextlib import AsyncExitStack

import pytest

from obol.machine.tasks import spawn
from obol.oci.errors import UNAVAILABLE, UPSTREAM_BROKEN, OciError
from obol.oci.references import Digest
from obol.registry.engine.answers import StoredBlob
from obol.registry.store.ports import ContentKind, Grant, Partial, RepositoryKey, StoreError
from obol.registry.transfers import follower as following_module
from obol.registry.upstream.ports import Unavailable
from tests.fakes.store import MemoryPartial, MemoryStore, bytes_of
from tests.fakes.upstream import FakeUpstream
from tests.limits import eventually
from tests.unit.registry.world import DATA, DIGEST, FILL, REPOSITORY, WHOLE, Got, one_blob, take, world

REPO = RepositoryKey("registry.test", REPOSITORY)
KNOWN = [Grant(Digest(DIGEST), ContentKind.BLOB, "", len(DATA))]


async def test_streamed() -> None:
    """A client is given bytes while the transfer runs, not after it."""
    one, blob = one_blob()
    blob.hold(3000)
    async with world(one) as w:
        with await w.follow() as answer:
            await answer.opened(0)
            runs = answer.runs(0, len(DATA))
            await anext(runs)
            assert not await w.stored()
            await runs.aclose()
        blob.let_go()


async def test_bytes_gather() -> None:
    """A follower is not woken for every packet: the first bytes leave at once, then there are few large runs."""
    one, blob = one_blob()
    blob.piece = 50
    async with world(one) as w, AsyncExitStack() as stack:
        answer = stack.enter_context(await w.follow())
        await answer.opened(0)
        runs = [run async for run in answer.runs(0, len(DATA))]

        assert b"".join(bytes_of(run) for run in runs) == DATA
        assert following_module.GATHER_EACH in w.clock.sleeps
        assert len(runs) < 0.75 * len(DATA) / 50


async def test_no_answer() -> None:
    """Waiting for the upstream's first answer ends some time, with 502."""
    one, _ = one_blob()
    one.gates["open"] = asyncio.Event()
    async with world(one) as w:
        with pytest.raises(OciError) as refusal:
            await take(await w.follow())

        assert refusal.value.kind is UPSTREAM_BROKEN


async def test_no_bytes() -> None:
    """So does waiting for the first byte of an upstream that answered."""
    one, blob = one_blob()
    blob.hold(0)
    async with world(one) as w:
        with pytest.raises(OciError) as refusal:
            await take(await w.follow())

        assert refusal.value.kind is UPSTREAM_BROKEN


async def test_gap() -> None:
    """In the middle, a client is let go after a long gap, so that it can turn elsewhere; the transfer goes on."""
    one, blob = one_blob()
    blob.hold(3000)
    async with world(one) as w:
        cut = await take(await w.follow())
        assert (len(cut.data), cut.complete) == (3000, False)
        blob.let_go()
        await w.idle()

        assert await w.stored()


async def test_part_behind_the_frontier() -> None:
    """A part that has come already is given at once, while the rest is on its way."""
    one, blob = one_blob()
    blob.hold(5000)
    async with world(one) as w:
        with await w.follow():
            await eventually(lambda: blob.sent >= 5000)
            assert await take(await w.follow(), 1000, 4000) == Got(DATA[1000:4000], complete=True)
        blob.let_go()
    assert len([stream for stream in blob.streams if stream.start == 0]) == 1


async def test_part_beyond_the_frontier() -> None:
    """A part that will come soon is waited for: nothing is fetched twice."""
    one, blob = one_blob()
    async with world(one) as w:
        first = await w.follow()
        others = [(await w.follow(), at) for at in (2000, 5000, 9400)]
        parts = await asyncio.gather(take(first), *(take(other, at, 9500) for other, at in others))
        assert [part.data for part in parts] == [DATA, DATA[2000:], DATA[5000:], DATA[9400:]]
    assert blob.sent == len(DATA)


async def test_hanging_up_early() -> None:
    """Clients that ask for everything from somewhere and hang up after a piece disturb nothing."""
    one, blob = one_blob()
    async with world(one) as w:
        for at in range(0, 8000, 1000):
            with await w.follow() as answer:
                await answer.opened(at)
                runs = answer.runs(at, len(DATA))
                await anext(runs)
                await runs.aclose()
        await w.idle()
        assert await w.stored()
    assert blob.sent == len(DATA)


async def test_far_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part far beyond the frontier is fetched directly, and no more than the part."""
    monkeypatch.setattr(following_module, "FAR_AHEAD", 4000)
    one, blob = one_blob()
    async with world(one) as w:
        blob.hold(2000)
        with await w.follow() as first:
            await first.opened(0)
            blob.hold_at = None
            far = await take(await w.follow(), 8000, 9000)
            assert far == Got(DATA[8000:9000], complete=True)
        blob.let_go()
        await w.idle()
    assert blob.sent == len(DATA) + 1000


async def test_beyond_the_end() -> None:
    """Where the start lies beyond the end there is nothing to wait for."""
    one, _ = one_blob()
    async with world(one) as w:
        with await w.follow() as answer:
            await answer.opened(len(DATA))


@pytest.mark.parametrize("fail_after", [0, 300, 5000, 9400])
async def test_full_disk(fail_after: int) -> None:
    """When the disk fills up, all clients go on from the upstream and have the whole blob; nothing is kept."""
    one, _ = one_blob()
    store = MemoryStore()
    store.partials.fail_after = fail_after
    async with world(one, store=store) as w:
        answers = [await w.follow() for _ in range(3)]
        assert await asyncio.gather(*(take(answer) for answer in answers)) == [WHOLE] * 3
        await w.idle()
        assert not await w.stored()
        store.partials.fail_after = None

        assert await w.got() == WHOLE
        assert await w.stored()


async def test_full_disk_and_wrong_bytes() -> None:
    """Though nothing is kept, the digest is still checked: no client has all of a wrong blob."""
    wrong = DATA[:9000] + bytes(500)
    one, _ = one_blob(data=wrong)
    store = MemoryStore()
    store.partials.fail_after = 5000
    async with world(one, store=store) as w:
        cut = await take(await w.follow())

        assert not cut.complete
        assert len(cut.data) <= len(DATA) - FILL.withhold


async def test_full_disk_and_a_part() -> None:
    """A part is relayed without a check, which only its client can make."""
    one, _ = one_blob()
    store = MemoryStore()
    store.partials.fail_after = 3000
    async with world(one, store=store) as w:
        assert await take(await w.follow(), 1000, 9000) == Got(DATA[1000:9000], complete=True)


async def test_full_disk_and_no_size() -> None:
    """Where the blob's end is not known, a client is cut short."""
    one, blob = one_blob()
    blob.total = None
    blob.ranges = False
    store = MemoryStore()
    store.partials.fail_after = 3000
    async with world(one, store=store) as w:
        assert not (await take(await w.follow())).complete


@pytest.mark.parametrize("first", range(0, 30, 10))
async def test_full_disk_frees_all_connections(monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    """At any moment when the disk fills up, all connections are given back, also those that were about to begin."""
    write = MemoryPartial.write
    for number in range(first, first + 10):
        one, _ = one_blob()
        one.connections.free = 2
        left = [number]

        async def fail(
            self: MemoryPartial,
            offset: int,
            data: bytes | memoryview,
            one: FakeUpstream = one,
            left: list[int] = left,
        ) -> None:
            left[0] -= 1
            if left[0] < 3:
                one.connections.free = 16
            if left[0] < 0:
                raise StoreError("full", full=True)
            await write(self, offset, data)

        monkeypatch.setattr(MemoryPartial, "write", fail)
        async with world(one) as w:
            await take(await w.blob(DIGEST))
            await w.idle()

            assert one.connections.taken == 0
            assert (await w.store.partials.usage()).count == 0
            assert w.scope.counters.transfers.failed == 1


async def test_disk_that_cannot_even_discard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails altogether still lets followers go on, and leaves no transfer behind."""
    store = MemoryStore()
    store.partials.fail_after = 3000

    async def fail(self: MemoryPartial) -> None:
        raise StoreError("dead")

    monkeypatch.setattr(MemoryPartial, "discard", fail)
    one, _ = one_blob()
    async with world(one, store=store) as w:
        assert await w.got() == WHOLE


async def test_disk_that_cannot_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what has come of a failed transfer cannot be kept, the followers are told of the transfer all the same."""

    async def fail(self: MemoryPartial, frontier: int, *, durable: bool = False) -> None:
        if durable:
            raise StoreError("dead")

    monkeypatch.setattr(MemoryPartial, "checkpoint", fail)
    one, _ = one_blob()
    one.problems["open"] = Unavailable("down")
    async with world(one) as w:
        assert (await w.refused()).kind is UPSTREAM_BROKEN


async def test_no_partial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not even a file can be opened, a blob whose size is known is relayed."""
    store = MemoryStore()

    async def fail(name: str) -> Partial:
        raise StoreError("full", full=True)

    monkeypatch.setattr(store.partials, "open", fail)
    one, _ = one_blob()
    async with world(one, store=store) as w:
        assert (await w.refused()).kind is UNAVAILABLE
        await store.metadata.add_grants(REPO, KNOWN)

        assert await w.got() == WHOLE


@pytest.mark.parametrize("how", ["short", "error"])
async def test_partial_cannot_be_read(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """A partial that cannot be read back is not believed, and nothing is kept."""

    def pread(fileno: int, count: int, offset: int) -> bytes:
        if how == "short":
            return b""
        raise OSError(5, "bad sector")

    one, _ = one_blob()
    async with world(one) as w:
        with monkeypatch.context() as patched:
            patched.setattr(os, "pread", pread)
            await w.blob(DIGEST)
            await w.idle()
        assert not await w.stored()


async def test_commit_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A verified blob that cannot be committed is served to its end, and fetched again by the next one."""
    store = MemoryStore()

    async def fail(partial: Partial, digest: Digest, size: int) -> None:
        raise StoreError("full", full=True)

    monkeypatch.setattr(store.content, "adopt", fail)
    one, _ = one_blob()
    async with world(one, store=store) as w:
        for _ in range(2):
            assert await w.got() == WHOLE
    assert w.scope.counters.transfers.failed == 2


async def test_slow_client() -> None:
    """A client that reads nothing holds up neither the transfer nor another client."""
    one, _ = one_blob()
    async with world(one) as w:
        with await w.follow() as slow:
            await slow.opened(0)
            assert await take(await w.follow()) == WHOLE
            await w.idle()

        assert isinstance(await w.blob(DIGEST), StoredBlob)


async def test_cancel_storm() -> None:
    """Clients that come and go by the dozen leave no task behind and do no harm to who stays."""
    one, blob = one_blob()
    async with world(one) as w:
        staying = spawn(take(await w.follow()), name="staying")
        for _ in range(30):
            client = spawn(take(await w.blob(DIGEST)), name="client")
            await asyncio.sleep(0)
            client.cancel()
            await asyncio.gather(client, return_exceptions=True)

        assert await staying == WHOLE
    assert blob.sent == len(DATA)


@pytest.mark.parametrize("at", [0, 5000])
async def test_failure_is_told_to_all(at: int) -> None:
    """When a transfer fails, all clients that wait learn it at once, none hangs, and the next request tries anew."""
    one, blob = one_blob()
    blob.failing_at = at
    async with world(one) as w:
        answers = await asyncio.gather(*(w.follow() for _ in range(20)))
        results = await asyncio.gather(*(take(answer) for answer in answers), return_exceptions=True)
        await w.idle()
        assert all(
            isinstance(result, OciError) or (isinstance(result, Got) and not result.complete) for result in results
        )
        blob.failing_at = None

        assert await take(await w.follow()) == WHOLE


async def test_many_far_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where as many parts as may be are fetched directly, another one waits for the transfer."""
    monkeypatch.setattr(following_module, "FAR_AHEAD", 4000)
    monkeypatch.setattr(following_module, "MOST_DIRECT", 1)
    one, blob = one_blob()
    async with world(one) as w:
        blob.hold(2000)
        with await w.follow() as first, await w.follow() as second:
            await first.opened(8000)
            late = spawn(second.opened(8000), name="late")
            await asyncio.sleep(0.01)
            assert not late.done()
            blob.let_go()
            await late
        with await w.follow() as third:
            await third.opened(8000)
        await w.idle()
