import pytest

from obol.oci.references import Digest
from obol.registry.control.api import Amount
from obol.registry.store.ports import Store, StoreError, transfer_id

DATA = bytes(range(256)) * 40
DIGEST = Digest.of(DATA)
OTHER = Digest.of(b"something else", "sha512")


async def test_new(store: Store) -> None:
    """A new download has no frontier and no bytes but its own, and is not content."""
    partial = await store.partials.open(transfer_id(DIGEST))

    assert partial.left == 0
    await partial.write(0, DATA[:1])
    assert partial.read(0, 10) == DATA[:1]
    assert await store.content.open(DIGEST) is None
    partial.close()


async def test_write(store: Store) -> None:
    """Bytes are written at any offset, from bytes or a view of some."""
    partial = await store.partials.open(transfer_id(DIGEST))

    await partial.write(5000, memoryview(DATA)[5000:])
    await partial.write(0, DATA[:5000])

    assert partial.read(0, len(DATA) + 1) == DATA
    partial.close()


async def test_resume(store: Store) -> None:
    """What a checkpoint says is there when the download is opened again, and nothing behind it."""
    first = await store.partials.open(transfer_id(DIGEST))
    await first.write(0, DATA[:3000])
    await first.write(8000, DATA[8000:])
    await first.checkpoint(1000)
    await first.checkpoint(3000)
    first.close()

    second = await store.partials.open(transfer_id(DIGEST))

    assert second.left == 3000
    assert second.read(0, len(DATA)) == DATA[:3000]
    second.close()


async def test_left(store: Store) -> None:
    """What the next download would resume with is told without opening it: nothing, a checkpoint, nothing again."""
    assert await store.partials.left(transfer_id(DIGEST)) == 0
    first = await store.partials.open(transfer_id(DIGEST))
    await first.write(0, DATA[:3000])
    assert await store.partials.left(transfer_id(DIGEST)) == 0
    await first.checkpoint(2000)
    assert await store.partials.left(transfer_id(DIGEST, "another space")) == 0
    assert await store.partials.left(transfer_id(DIGEST)) == 2000

    await first.discard()

    assert await store.partials.left(transfer_id(DIGEST)) == 0
    first.close()


async def test_resume_durable(store: Store) -> None:
    """A durable checkpoint is a checkpoint."""
    first = await store.partials.open(transfer_id(DIGEST))
    await first.write(0, DATA)
    await first.checkpoint(len(DATA), durable=True)
    first.close()

    second = await store.partials.open(transfer_id(DIGEST))

    assert second.left == len(DATA)
    second.close()


async def test_no_checkpoint(store: Store) -> None:
    """Without a checkpoint the next attempt begins anew."""
    first = await store.partials.open(transfer_id(DIGEST))
    await first.write(0, DATA)
    first.close()

    second = await store.partials.open(transfer_id(DIGEST))

    assert second.left == 0
    await second.write(0, DATA[:1])
    assert second.read(0, 10) == DATA[:1]
    second.close()


async def test_frontier_is_within_the_file(store: Store) -> None:
    """A checkpoint never counts for more than the file has."""
    first = await store.partials.open(transfer_id(DIGEST))
    await first.write(0, DATA[:100])
    await first.checkpoint(5000)
    first.close()

    second = await store.partials.open(transfer_id(DIGEST))

    assert second.left == 100
    second.close()


async def test_discard(store: Store) -> None:
    """A discarded download is gone, but whoever holds its descriptor reads on."""
    partial = await store.partials.open(transfer_id(DIGEST))
    await partial.write(0, DATA)
    await partial.checkpoint(len(DATA))

    await partial.discard()
    await partial.discard()

    assert partial.read(0, len(DATA)) == DATA
    assert await store.partials.usage() == Amount(0, 0)
    partial.close()
    again = await store.partials.open(transfer_id(DIGEST))
    assert again.left == 0
    again.close()


async def test_checkpoint_after_discard(store: Store) -> None:
    """A checkpoint that comes too late brings nothing back."""
    partial = await store.partials.open(transfer_id(DIGEST))
    await partial.write(0, DATA)
    await partial.discard()

    await partial.checkpoint(len(DATA))

    partial.close()
    again = await store.partials.open(transfer_id(DIGEST))
    assert again.left == 0
    again.close()


async def test_closed(store: Store) -> None:
    """After close, which is safe to repeat, nothing can be written or read."""
    partial = await store.partials.open(transfer_id(DIGEST))

    partial.close()
    partial.close()

    with pytest.raises(StoreError):
        await partial.write(0, DATA)
    with pytest.raises(StoreError):
        await partial.checkpoint(1)
    with pytest.raises(ValueError, match="closed"):
        partial.run(0, 1)


async def test_usage(store: Store) -> None:
    """Usage counts what is in use and what was left."""
    first = await store.partials.open(transfer_id(DIGEST))
    await first.write(0, DATA)
    await first.checkpoint(len(DATA))
    first.close()
    second = await store.partials.open(transfer_id(OTHER))
    await second.write(0, b"1234")

    assert await store.partials.usage() == Amount(2, len(DATA) + 4)
    second.close()


async def test_upload(store: Store) -> None:
    """A partial whose digest is known only at its end is resumed, outlives a sweep, and becomes content."""
    upload = "upload-" + "0f" * 16
    first = await store.partials.open(upload)
    await first.write(0, DATA[:3000])
    await first.checkpoint(3000)
    first.close()
    await store.partials.sweep()

    second = await store.partials.open(upload)
    assert second.left == 3000
    await second.write(3000, DATA[3000:])
    await store.content.adopt(second, DIGEST, len(DATA))

    second.close()
    assert await store.content.read(DIGEST) == DATA
    assert await store.partials.usage() == Amount(0, 0)


@pytest.mark.parametrize(
    "name", ["", "../x", "upload-1", "upload-" + "0" * 33, "sha256-12", "md5-" + "0" * 32, "tmp-ab"]
)
async def test_no_id(store: Store, name: str) -> None:
    """A name that is neither of a transfer nor of an upload opens no file."""
    with pytest.raises(ValueError, match="partial"):
        await store.partials.open(name)


async def test_sweep(store: Store) -> None:
    """A sweep removes what cannot be resumed or is not needed, and keeps what can."""
    for digest, frontier in ((DIGEST, 1000), (OTHER, 0), (Digest.of(b"held"), 4)):
        partial = await store.partials.open(transfer_id(digest))
        await partial.write(0, DATA)
        await partial.checkpoint(frontier)
        partial.close()
    await store.content.put(Digest.of(b"held"), b"held")

    assert await store.partials.sweep() == 2

    assert await store.partials.sweep() == 0
    assert await store.partials.usage() == Amount(1, len(DATA))
    resumed = await store.partials.open(transfer_id(DIGEST))
    assert resumed.left == 1000
    resumed.close()
