from collections import deque

import pytest

from obol.oci.references import Digest
from obol.registry.store.ports import transfer_id
from obol.registry.transfers import follower as following
from obol.registry.transfers.follower import Follower
from obol.registry.transfers.relay import ATTEMPTS, Check, relay
from obol.registry.transfers.transfer import Transfer, TransferEnvironment, TransferFailed
from obol.registry.upstream.ports import Misbehaved, RangesRefused
from tests.fakes.upstream import FakeBlob, FakeSource, FakeUpstream
from tests.unit.registry.world import REPOSITORY, new_transfer, world

DATA = bytes(range(256)) * 20
DIGEST = Digest.of(DATA)


def held(data: bytes = DATA) -> tuple[FakeSource, FakeBlob]:
    """A blob at its upstream."""
    one = FakeUpstream()
    blob = one.add_blob(REPOSITORY, DIGEST, data)
    return FakeSource(one, REPOSITORY, DIGEST), blob


async def stored(environment: TransferEnvironment) -> Transfer:
    """A transfer that has the first thousand bytes."""
    transfer = new_transfer(environment, DIGEST, len(DATA))
    transfer.begin(await environment.partials.open(transfer_id(DIGEST)))
    await transfer.partial.write(0, DATA[:1000])
    return transfer


async def relayed(source: FakeSource, start: int, stop: int, check: Check | None = None) -> tuple[bytes, bool]:
    """What a client is given, and whether it was all."""
    data = b""
    try:
        async for piece in relay(source, start, stop, check):
            data += piece
    except TransferFailed:
        return data, False
    return data, True


@pytest.mark.parametrize(("start", "stop"), [(0, len(DATA)), (100, 4000), (len(DATA) - 1, len(DATA))])
async def test_part(start: int, stop: int) -> None:
    """The bytes that were asked for come, and no others are fetched."""
    source, blob = held()

    assert await relayed(source, start, stop) == (DATA[start:stop], True)
    assert blob.sent == stop - start
    assert all(stream.closed for stream in blob.streams)


async def test_resumed() -> None:
    """Where the upstream cuts, the rest is asked for from there."""
    source, blob = held()
    blob.cuts = deque([700, 300])

    assert await relayed(source, 100, 4000) == (DATA[100:4000], True)
    assert blob.sent == 3900


async def test_given_up() -> None:
    """An upstream that cuts again and again is given up."""
    source, blob = held()
    blob.cuts = deque([10] * 10)

    assert await relayed(source, 0, 4000) == (DATA[: 10 * ATTEMPTS], False)


async def test_misbehaved() -> None:
    """What cannot be believed ends it at once."""
    source, blob = held()
    blob.failing_at, blob.problem = 512, Misbehaved("nonsense")

    assert await relayed(source, 0, 4000) == (DATA[:512], False)
    assert len(blob.streams) == 1


@pytest.mark.parametrize("refuse", [True, False])
async def test_without_ranges(refuse: bool) -> None:
    """From an upstream without ranges everything is fetched, and only the part is passed on."""
    source, blob = held()
    blob.ranges = False
    if refuse:
        blob.open_problems = deque([RangesRefused("no")])

    assert await relayed(source, 100, 300) == (DATA[100:300], True)


async def test_clean_end_too_early() -> None:
    """A body that ends cleanly before its end is no end: the rest is asked for."""
    source, blob = held(DATA[:3000])

    assert await relayed(source, 0, 4000) == (DATA[:3000], False)
    assert len(blob.streams) == ATTEMPTS


async def test_checked() -> None:
    """A whole blob is hashed as it passes, and is whole in the end."""
    source, _ = held()

    assert await relayed(source, 0, len(DATA), Check(DIGEST, 100)) == (DATA, True)


async def test_check_fails() -> None:
    """The end of a wrong blob is withheld."""
    source, _ = held(bytes(len(DATA)))

    assert await relayed(source, 0, len(DATA), Check(DIGEST, 100)) == (bytes(len(DATA) - 100), False)


async def test_check_of_a_small_blob() -> None:
    """Of a blob smaller than what is withheld nothing is shown before the digest is right."""
    source, _ = held(bytes(len(DATA)))

    assert await relayed(source, 0, len(DATA), Check(DIGEST, 1_000_000)) == (b"", False)


async def test_check_resumed(environment: TransferEnvironment) -> None:
    """What the client was given from a file counts for the digest."""
    source, _ = held()
    check = Check(DIGEST, 100)

    await (await stored(environment)).hash(check.hasher, 0, 1000)

    assert await relayed(source, 1000, len(DATA), check) == (DATA[1000:], True)


async def test_check_of_what_was_given() -> None:
    """What the client was given from memory counts, too."""
    source, _ = held()
    check = Check(DIGEST, 100)
    check.hasher.update(DATA[:1000])

    assert await relayed(source, 1000, len(DATA), check) == (DATA[1000:], True)


async def test_check_cannot_be_resumed(environment: TransferEnvironment) -> None:
    """Where the file cannot be read back as far as it was sent, the client is cut short."""
    with pytest.raises(TransferFailed):
        await (await stored(environment)).hash(Check(DIGEST, 100).hasher, 0, 1001)


async def test_a_slow_reader_lends_the_slot_of_its_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a client takes what was relayed to it, its connection holds no other up; all slots come back."""
    monkeypatch.setattr(following, "FAR_AHEAD", 100)
    one = FakeUpstream()
    blob = one.add_blob(REPOSITORY, DIGEST, DATA)
    blob.hold(1000)
    async with world(one) as w:
        first, far = await w.blob(DIGEST), await w.blob(DIGEST)
        assert isinstance(first, Follower)
        assert isinstance(far, Follower)
        with first, far:
            await first.opened(0)
            await far.opened(4000)
            blob.let_go()
            runs = far.runs(4000, 4500)
            assert await anext(runs)
            lent = one.connections.lent
            await runs.aclose()
        await w.idle()

    assert lent >= 1
    assert (one.connections.lent, one.connections.taken) == (0, 0)
