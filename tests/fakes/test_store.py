"""The store in memory does what tests of others rely on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from obol.oci.references import Digest, Repository
from obol.registry.store.disk.opening import open_store
from obol.registry.store.ports import RepositoryKey, StoreError, transfer_id
from tests.fakes.store import MemoryContent, MemoryMetadata, MemoryPartials

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = Digest.of(b"x")


async def test_fail_after() -> None:
    """Writes fail as on a full disk once so many bytes were written, and work again when told to."""
    partials = MemoryPartials(MemoryContent())
    partials.fail_after = 10
    partial = await partials.open(transfer_id(DIGEST))

    await partial.write(0, b"12345678")
    with pytest.raises(StoreError) as caught:
        await partial.write(8, b"123")

    assert caught.value.full
    partials.fail_after = None
    await partial.write(8, b"123")
    partial.close()


async def test_quarantined() -> None:
    """A test can see what was quarantined."""
    content = MemoryContent()
    await content.put(DIGEST, b"damaged")

    await content.read(DIGEST)

    assert content.quarantined == [DIGEST]


async def test_uses() -> None:
    """A test can see what was used, and when last."""
    metadata, repo = MemoryMetadata(), RepositoryKey("docker.io", Repository("a"))

    await metadata.used([(repo, DIGEST)], 5.0)
    await metadata.used([(repo, DIGEST)], 3.0)

    assert metadata.uses == {(repo, DIGEST): 5.0}


async def test_foreign_partial(tmp_path: Path) -> None:
    """A partial of another store cannot be adopted."""
    store = open_store(tmp_path)
    partial = await store.partials.open(transfer_id(DIGEST))

    with pytest.raises(TypeError):
        await MemoryContent().adopt(partial, DIGEST, 0)

    partial.close()
    await store.close()
