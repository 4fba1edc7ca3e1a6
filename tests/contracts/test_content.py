import pytest

from obol.oci.references import Digest
from obol.registry.control.api import Amount
from obol.registry.store.ports import Readable, Store, StoreError, transfer_id
from tests.fakes.store import bytes_of

DATA = b"a layer of some bytes"
DIGEST = Digest.of(DATA)
OTHER = Digest.of(b"something else")


def read(readable: Readable | None) -> bytes:
    """All of it, then closed."""
    assert readable is not None
    try:
        return bytes_of(readable.run(0, readable.size + 1))
    finally:
        readable.close()


async def test_empty(store: Store) -> None:
    """What was never stored is not held."""
    assert await store.content.size(DIGEST) is None
    assert await store.content.open(DIGEST) is None
    assert await store.content.usage() == Amount(0, 0)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("data", [DATA, b"", bytes(3_000_000)], ids=["short", "empty", "long"])
async def test_put(store: Store, algorithm: str, data: bytes) -> None:
    """What was put is there at once, whole, by its digest alone."""
    digest = Digest.of(data, algorithm)

    await store.content.put(digest, data)

    assert await store.content.size(digest) == len(data)
    assert read(await store.content.open(digest)) == data
    assert await store.content.open(OTHER) is None


async def test_put_twice(store: Store) -> None:
    """The same content put twice is held and counted once."""
    await store.content.put(DIGEST, DATA)
    await store.content.put(DIGEST, DATA)

    assert await store.content.usage() == Amount(1, len(DATA))


async def test_usage(store: Store) -> None:
    """Amount counts objects and their bytes."""
    await store.content.put(DIGEST, DATA)
    await store.content.put(OTHER, b"something else")

    assert await store.content.usage() == Amount(2, len(DATA) + 14)


async def test_readers_are_independent(store: Store) -> None:
    """Each reader has a descriptor of its own, and closing is safe to repeat."""
    await store.content.put(DIGEST, DATA)
    first, second = await store.content.open(DIGEST), await store.content.open(DIGEST)
    assert first is not None

    first.close()
    first.close()

    assert read(second) == DATA
    with pytest.raises(ValueError, match="closed"):
        first.run(0, 1)


async def test_adopt(store: Store) -> None:
    """An adopted download is content, is no download any more, and its descriptor reads on until it is closed."""
    partial = await store.partials.open(transfer_id(DIGEST))
    await partial.write(0, DATA)
    await partial.checkpoint(len(DATA))

    await store.content.adopt(partial, DIGEST, len(DATA))

    assert partial.read(0, 100) == DATA
    partial.close()
    assert read(await store.content.open(DIGEST)) == DATA
    assert await store.content.usage() == Amount(1, len(DATA))
    assert await store.partials.usage() == Amount(0, 0)


async def test_adopt_cuts(store: Store) -> None:
    """Bytes behind the size that was verified are no part of the content."""
    partial = await store.partials.open(transfer_id(DIGEST))
    await partial.write(0, DATA + b"rubbish")

    await store.content.adopt(partial, DIGEST, len(DATA))

    partial.close()
    assert read(await store.content.open(DIGEST)) == DATA


async def test_adopt_too_short(store: Store) -> None:
    """A download that is shorter than its caller believes does not become content."""
    partial = await store.partials.open(transfer_id(DIGEST))
    await partial.write(0, DATA[:-1])

    with pytest.raises(StoreError) as caught:
        await store.content.adopt(partial, DIGEST, len(DATA))

    partial.close()
    assert not caught.value.full
    assert await store.content.open(DIGEST) is None


async def test_discard_after_adopt(store: Store) -> None:
    """Discarding what was adopted touches neither the content nor a newer download."""
    first = await store.partials.open(transfer_id(DIGEST))
    await first.write(0, DATA)
    await store.content.adopt(first, DIGEST, len(DATA))
    second = await store.partials.open(transfer_id(DIGEST))
    await second.write(0, DATA)

    await first.discard()

    first.close()
    assert await store.partials.usage() == Amount(1, len(DATA))
    assert read(await store.content.open(DIGEST)) == DATA
    await second.discard()
    second.close()


async def test_adopt_discarded(store: Store) -> None:
    """A download that was discarded can not become content."""
    partial = await store.partials.open(transfer_id(DIGEST))
    await partial.write(0, DATA)
    await partial.discard()

    with pytest.raises(StoreError):
        await store.content.adopt(partial, DIGEST, len(DATA))

    partial.close()
    assert await store.content.size(DIGEST) is None


async def test_remove(store: Store) -> None:
    """What is removed is held no more; who has it open reads on, and it may come again."""
    await store.content.put(DIGEST, DATA)
    opened = await store.content.open(DIGEST)

    assert await store.content.remove(DIGEST)

    assert not await store.content.remove(DIGEST)
    assert read(opened) == DATA
    assert await store.content.size(DIGEST) is None
    assert await store.content.open(DIGEST) is None
    assert await store.content.usage() == Amount(0, 0)
    await store.content.put(DIGEST, DATA)
    assert read(await store.content.open(DIGEST)) == DATA


async def test_verify(store: Store) -> None:
    """What has its digest stays; what has not, or is not held, is not whole and is held no more."""
    await store.content.put(DIGEST, DATA)
    await store.content.put(OTHER, DATA)

    assert await store.content.verify(DIGEST)
    assert not await store.content.verify(OTHER)
    assert not await store.content.verify(Digest.of(b"never stored"))

    assert await store.content.usage() == Amount(1, len(DATA))


async def test_quarantine(store: Store) -> None:
    """What is quarantined is held no more, also when nothing is held."""
    await store.content.put(DIGEST, DATA)

    await store.content.quarantine(DIGEST)
    await store.content.quarantine(OTHER)

    assert await store.content.open(DIGEST) is None
    assert await store.content.usage() == Amount(0, 0)


@pytest.mark.parametrize("data", [DATA, b"", bytes(3_000_000)], ids=["short", "empty", "long"])
async def test_read(store: Store, data: bytes) -> None:
    """An object is read whole; one that is not held is None."""
    digest = Digest.of(data, "sha512")
    await store.content.put(digest, data)

    assert await store.content.read(digest) == data
    assert await store.content.read(OTHER) is None


async def test_read_damaged(store: Store) -> None:
    """Bytes with another digest are not read but taken out of service, and can be stored afresh."""
    await store.content.put(DIGEST, DATA.upper())
    reading = await store.content.open(DIGEST)

    assert await store.content.read(DIGEST) is None

    assert await store.content.open(DIGEST) is None
    assert await store.content.size(DIGEST) is None
    assert await store.content.usage() == Amount(0, 0)
    assert read(reading) == DATA.upper()
    await store.content.put(DIGEST, DATA)
    assert await store.content.read(DIGEST) == DATA
