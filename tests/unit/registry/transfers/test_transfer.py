import asyncio

import pytest

from obol.machine.tasks import spawn
from obol.oci.references import Digest
from obol.registry.store.ports import StoreError, transfer_id
from obol.registry.transfers.transfer import EARLY, Phase, Transfer, TransferCounts, TransferEnvironment, TransferFailed
from obol.registry.upstream.ports import Unavailable
from tests.fakes.clock import FakeClock
from tests.fakes.store import MemoryPartial, bytes_of
from tests.unit.registry.world import DATA, new_transfer, one_blob, world

SHORT = Digest.of(b"data")
MIB = 1024 * 1024


async def begun(environment: TransferEnvironment, size: int | None, frontier: int = 0) -> Transfer:
    """A transfer that has come so far."""
    transfer = new_transfer(environment, SHORT, size)
    transfer.begin(await environment.partials.open(transfer_id(SHORT)))
    transfer.answered(size)
    transfer.wrote(0, frontier)
    return transfer


@pytest.mark.parametrize(
    ("size", "frontier", "shown"),
    [(100, 0, 0), (100, 50, 50), (100, 90, 90), (100, 95, 90), (100, 100, 90), (5, 5, 0), (None, 50, 40), (None, 5, 0)],
)
async def test_tail_is_withheld(environment: TransferEnvironment, size: int | None, frontier: int, shown: int) -> None:
    """Until the digest is confirmed, the end of the blob is shown to no follower; of a small blob, nothing is."""
    transfer = await begun(environment, size, frontier)

    assert transfer.shown == shown


async def test_confirmed(environment: TransferEnvironment) -> None:
    """Once the digest is confirmed everything is shown, and the size is known."""
    transfer = await begun(environment, None, 100)

    transfer.confirm()

    assert (transfer.shown, transfer.size, transfer.verified) == (100, 100, True)
    assert await transfer.grown(100) == 100


async def test_grown_waits(environment: TransferEnvironment) -> None:
    """A follower wakes when there is more to show than it has."""
    transfer = await begun(environment, 100)
    waiting = spawn(transfer.grown(20), name="follower")
    for frontier in (10, 20, 30):
        await asyncio.sleep(0)
        assert not waiting.done()
        transfer.wrote(0, frontier)

    assert await waiting == 30


@pytest.mark.parametrize(
    ("size", "data", "early"),
    [(100, 50, 50), (100, 95, 90), (5, 5, 0), (None, 50, 40), (None, 5, 0), (1 << 20, EARLY + 1, EARLY)],
)
async def test_first_bytes(environment: TransferEnvironment, size: int | None, data: int, early: int) -> None:
    """The first bytes are given while they are being written, but not the end of the blob, nor many."""
    transfer = await begun(environment, size)

    transfer.opens(bytes(data))

    assert (len(transfer.early), transfer.shown) == (early, 0)


async def test_first_bytes_in_the_file(environment: TransferEnvironment) -> None:
    """A follower that waits for the first bytes has them when they arrive; those that follow come from the file."""
    transfer = await begun(environment, 100)
    waiting = spawn(transfer.grown(0), name="follower")
    transfer.opens(bytes(50))
    assert await waiting == 50
    waiting = spawn(transfer.grown(50), name="follower")

    transfer.wrote(0, 60)

    assert await waiting == 60
    assert transfer.early == b""


async def test_first_bytes_before_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first bytes do not wait for the disk; if it then takes none, the client has a right blob all the same."""
    written = asyncio.Event()

    async def fail(self: MemoryPartial, offset: int, data: bytes | memoryview) -> None:
        await written.wait()
        raise StoreError("full", full=True)

    monkeypatch.setattr(MemoryPartial, "write", fail)
    one, _ = one_blob()
    async with world(one) as w:
        with await w.follow() as follower:
            await follower.opened(0)
            runs = follower.runs(0, len(DATA))
            first = bytes_of(await anext(runs))
            assert first == DATA[: len(first)] != b""
            written.set()

            assert first + b"".join([bytes_of(run) async for run in runs]) == DATA


async def test_grown_after_failure(environment: TransferEnvironment) -> None:
    """After a failure a follower is first given what is there, then told; one that came late is told, too."""
    transfer = await begun(environment, 100, 30)
    cause = Unavailable("cut")

    transfer.fail(cause)

    await transfer.begun()
    assert await transfer.grown(20) == 30
    with pytest.raises(TransferFailed) as failed:
        await transfer.grown(30)
    assert (failed.value.cause, transfer.phase) == (cause, Phase.BROKEN)


async def test_failure_after_the_end(environment: TransferEnvironment) -> None:
    """A verified blob that cannot be stored is given to its end."""
    transfer = await begun(environment, 30, 30)
    transfer.confirm()

    transfer.fail(StoreError("full"))

    assert (await transfer.grown(20), transfer.verified) == (30, True)


async def test_no_lost_wake_up(environment: TransferEnvironment) -> None:
    """All who wait are told of a failure at once."""
    transfer = await begun(environment, 100)
    waiting = [spawn(transfer.grown(0), name="follower") for _ in range(20)]
    await asyncio.sleep(0)

    transfer.fail(Unavailable("cut"))

    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [(type(one), str(one)) for one in outcomes] == [(TransferFailed, "cut")] * 20


async def test_begun(environment: TransferEnvironment) -> None:
    """That the upstream has begun to answer is known before there are bytes to show."""
    transfer = new_transfer(environment, SHORT, 100)
    waiting = spawn(transfer.begun(), name="follower")
    await asyncio.sleep(0)
    transfer.wake()
    await asyncio.sleep(0)
    assert not waiting.done()

    transfer.answered(None)

    await waiting
    assert transfer.size == 100


async def test_never_begun(environment: TransferEnvironment) -> None:
    """A follower that waits for the first answer is told that there will be none."""
    transfer = new_transfer(environment, SHORT, 100)

    transfer.fail(Unavailable("no answer"))

    assert transfer.phase is Phase.REFUSED
    with pytest.raises(TransferFailed, match="no answer"):
        await transfer.begun()


async def test_moved(environment: TransferEnvironment) -> None:
    """Waiting for the frontier to move ends at once where it has moved already."""
    transfer = await begun(environment, 100, 10)

    await transfer.moved(5)
    waiting = spawn(transfer.moved(10), name="verifier")
    await asyncio.sleep(0)
    assert not waiting.done()
    transfer.wake()

    await waiting


def test_idle(environment: TransferEnvironment) -> None:
    """A transfer is idle from its start, and from when its last follower left."""
    transfer, clock = new_transfer(environment, SHORT, 100), environment.clock
    assert isinstance(clock, FakeClock)
    clock.advance(5.0)
    assert transfer.idle() == 5.0

    transfer.follow()
    transfer.follow()
    transfer.leave()
    clock.advance(5.0)
    assert (transfer.idle(), transfer.followers) == (0.0, 1)
    transfer.leave()
    clock.advance(2.0)

    assert (transfer.idle(), transfer.followers) == (2.0, 0)


def test_end_before_the_beginning(environment: TransferEnvironment) -> None:
    """A transfer that never had a file ends without one."""
    transfer = new_transfer(environment, SHORT, 100)

    transfer.end()

    assert transfer.file is None


async def test_file_is_kept_for_followers(environment: TransferEnvironment) -> None:
    """The file is closed when the transfer is over and the last follower has left, and not before."""
    transfer = await begun(environment, 100)
    await transfer.partial.write(0, b"data")

    transfer.follow()
    transfer.end()
    assert bytes_of(transfer.partial.run(0, 4)) == b"data"
    transfer.leave()

    with pytest.raises(ValueError, match="closed"):
        transfer.partial.run(0, 4)


async def test_what_was_there(environment: TransferEnvironment) -> None:
    """What an earlier transfer left is the frontier at first, and is remembered however far this one comes."""
    earlier = await environment.partials.open(transfer_id(SHORT))
    await earlier.write(0, b"da")
    await earlier.checkpoint(2)
    earlier.close()

    transfer = await begun(environment, 4)
    assert (transfer.frontier, transfer.held) == (2, 2)
    transfer.wrote(2, 3)

    assert (transfer.frontier, transfer.held, transfer.arrived) == (3, 2, 3)


@pytest.mark.parametrize(
    ("size", "seconds", "expected"),
    [(MIB - 1, 1.0, None), (MIB, 0.0, None), (MIB, 0.5, 2.0 * MIB), (10 * MIB, 5.0, 2.0 * MIB)],
)
def test_throughput(size: int, seconds: float, expected: float | None) -> None:
    """Bytes a second are told once a mebibyte has come in a time that can be measured."""
    counts = TransferCounts()

    counts.begin(10.0)
    counts.begin(10.0)
    counts.end(10.0, size)
    counts.end(10.0 + seconds, 0)

    assert counts.throughput() == expected
