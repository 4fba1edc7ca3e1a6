from __future__ import annotations

import asyncio

import pytest

from obol.machine.tasks import spawn
from obol.oci.references import Digest, Repository
from obol.registry.engine.answers import StoredBlob
from obol.registry.store.ports import RepositoryKey, StoreError, transfer_id
from obol.registry.transfers.transfer import EARLY, Transfer, TransferFailed
from obol.registry.upstream.ports import Unavailable
from tests.fakes.clock import FakeClock
from tests.fakes.content import blob as make_blob
from tests.fakes.store import MemoryPartial, MemoryStore, bytes_of
from tests.fakes.upstream import FakeSource, FakeUpstream
from tests.unit.registry.world import world

DIGEST = Digest.of(b"data")
REPO = RepositoryKey("registry.test", Repository("team/app"))


def new(size: int | None, clock: FakeClock | None = None) -> Transfer:
    """A transfer that has not begun."""
    source = FakeSource(FakeUpstream(), REPO.name, DIGEST)
    return Transfer(REPO, DIGEST, size, source, clock or FakeClock())


async def begun(size: int | None) -> tuple[Transfer, MemoryPartial]:
    """A transfer that writes."""
    transfer = new(size)
    partial = await MemoryStore().partials.open(transfer_id(DIGEST))
    transfer.begin(partial, withhold=10)
    return transfer, partial


@pytest.mark.parametrize(
    ("size", "frontier", "shown"),
    [(100, 0, 0), (100, 50, 50), (100, 90, 90), (100, 95, 90), (100, 100, 90), (5, 5, 0), (None, 50, 40), (None, 5, 0)],
)
async def test_tail_is_withheld(size: int | None, frontier: int, shown: int) -> None:
    """Until the digest is confirmed, the end of the blob is shown to nobody; of a small blob, nothing is."""
    transfer, _ = await begun(size)

    transfer.frontier = frontier

    assert transfer.shown == shown


async def test_confirmed() -> None:
    """Once the digest is confirmed everything is shown, and the size is known."""
    transfer, _ = await begun(None)
    transfer.frontier = 100

    transfer.confirm()

    assert (transfer.shown, transfer.size, transfer.verified) == (100, 100, True)
    assert await transfer.grown(100) == 100


async def test_grown_waits() -> None:
    """A follower wakes when there is more to show than it has."""
    transfer, _ = await begun(100)
    waiting = spawn(transfer.grown(20), name="follower")
    for frontier in (10, 20, 30):
        await asyncio.sleep(0)
        assert not waiting.done()
        transfer.frontier = frontier
        transfer.changed()

    assert await waiting == 30


@pytest.mark.parametrize(
    ("size", "data", "early"),
    [(100, 50, 50), (100, 95, 90), (5, 5, 0), (None, 50, 40), (None, 5, 0), (1 << 20, EARLY + 1, EARLY)],
)
async def test_first_bytes(size: int | None, data: int, early: int) -> None:
    """The first bytes are given while they are being written, but not the end of the blob, nor many."""
    transfer, _ = await begun(size)

    transfer.arrives(bytes(data))

    assert (len(transfer.early), transfer.shown) == (early, 0)


async def test_first_bytes_in_the_file() -> None:
    """Who waits for the first bytes wakes when they arrive; what follows is waited for, and comes from the file."""
    transfer, _ = await begun(100)
    waiting = spawn(transfer.grown(0), name="follower")
    transfer.arrives(bytes(50))
    assert await waiting == 50
    waiting = spawn(transfer.grown(50), name="follower")

    transfer.reaches(60)

    assert await waiting == 60
    assert transfer.early == b""


async def test_first_bytes_before_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first bytes do not wait for the disk; if it then takes none, the client has a right blob all the same."""
    one = FakeUpstream()
    digest, data = make_blob(9500, "layer")
    one.add_blob("team/app", digest, data)
    written = asyncio.Event()

    async def fail(self: MemoryPartial, offset: int, data: bytes | memoryview) -> None:
        await written.wait()
        raise StoreError("full", full=True)

    monkeypatch.setattr(MemoryPartial, "write", fail)
    async with world(one) as w:
        answer = await w.blob(digest)
        assert not isinstance(answer, StoredBlob)
        with answer:
            await answer.opened(0)
            runs = answer.runs(0, len(data))
            first = bytes_of(await anext(runs))
            assert first == data[: len(first)] != b""
            written.set()

            assert first + b"".join([bytes_of(run) async for run in runs]) == data


async def test_grown_after_failure() -> None:
    """After a failure a follower is first given what is there, then told."""
    transfer, _ = await begun(100)
    transfer.frontier = 30
    cause = Unavailable("cut")

    transfer.fail(cause)

    assert await transfer.grown(20) == 30
    with pytest.raises(TransferFailed) as failed:
        await transfer.grown(30)
    assert failed.value.cause is cause


async def test_no_lost_wake_up() -> None:
    """All who wait are told of a failure at once."""
    transfer, _ = await begun(100)
    waiting = [spawn(_failure(transfer), name="follower") for _ in range(20)]
    await asyncio.sleep(0)

    transfer.fail(Unavailable("cut"))

    assert await asyncio.gather(*waiting) == ["cut"] * 20


async def _failure(transfer: Transfer) -> str:
    with pytest.raises(TransferFailed) as failed:
        await transfer.grown(0)
    return str(failed.value)


async def test_begun() -> None:
    """That the upstream has begun to answer is known before there are bytes to show."""
    transfer = new(100)
    waiting = spawn(transfer.begun(), name="follower")
    await asyncio.sleep(0)
    transfer.changed()
    await asyncio.sleep(0)
    assert not waiting.done()

    transfer.opened = True
    transfer.changed()

    await waiting


async def test_never_begun() -> None:
    """Who waits for the first answer is told that there will be none."""
    transfer = new(100)

    transfer.fail(Unavailable("no answer"))

    with pytest.raises(TransferFailed, match="no answer"):
        await transfer.begun()


async def test_moved() -> None:
    """Waiting for the frontier to move ends at once where it has moved already."""
    transfer, _ = await begun(100)
    transfer.frontier = 10

    await transfer.moved(5)
    waiting = spawn(transfer.moved(10), name="verifier")
    await asyncio.sleep(0)
    assert not waiting.done()
    transfer.changed()

    await waiting


def test_idle() -> None:
    """A transfer is idle from its start, and from when its last follower left."""
    clock = FakeClock()
    transfer = new(100, clock)
    clock.advance(5.0)
    assert transfer.idle() == 5.0

    with transfer.followed(), transfer.followed():
        clock.advance(5.0)
        assert (transfer.idle(), transfer.followers) == (0.0, 2)
    clock.advance(2.0)

    assert (transfer.idle(), transfer.followers) == (2.0, 0)


def test_end_before_the_beginning() -> None:
    """A transfer that never had a file ends without one."""
    transfer = new(100)

    transfer.end()

    assert not transfer.has_file


async def test_file_is_kept_for_followers() -> None:
    """The file is closed when the transfer is over and the last follower has left, and not before."""
    transfer, partial = await begun(100)

    with transfer.followed():
        transfer.end()
        assert transfer.partial.run(0, 1) == partial.run(0, 1)

    with pytest.raises(ValueError, match="closed"):
        partial.run(0, 1)


async def test_resumed() -> None:
    """What an earlier attempt left is the frontier at the beginning."""
    partial = await MemoryStore().partials.open(transfer_id(DIGEST))
    partial.left = 40
    transfer = new(100)

    transfer.begin(partial, 10)

    assert (transfer.frontier, transfer.has_file) == (40, True)


async def test_what_was_there() -> None:
    """What an earlier transfer left is remembered, however far this one comes."""
    store = MemoryStore()
    earlier = await store.partials.open(transfer_id(DIGEST))
    await earlier.write(0, b"da")
    await earlier.checkpoint(2)
    earlier.close()
    transfer = new(4)

    transfer.begin(await store.partials.open(transfer_id(DIGEST)), 0)
    transfer.frontier = 3

    assert transfer.held == 2
