import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from obol.oci.references import Digest
from obol.registry.control.api import Amount
from obol.registry.store.disk.content import BlobIndex, BlobRow, record_files
from obol.registry.store.disk.database import Database
from obol.registry.store.disk.files import BlobFile
from obol.registry.store.disk.pool import BlockingPool
from obol.registry.store.ports import StoreError

ONE, TWO = (BlobFile(Digest.of(data), len(data), 5.0) for data in (b"one", b"two and more"))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An index that finds the file of ONE when it is made."""
    pool = BlockingPool("test", 1)
    made = Database(tmp_path / "index.sqlite", pool, lambda connection: record_files(connection, [ONE]), 0.05)
    pool.call(made.open)
    yield made
    pool.close()
    made.close()


async def test_fill(database: Database) -> None:
    """What a repair finds counts, but is not verified."""
    index = BlobIndex(database)

    assert await index.find(ONE.digest) == BlobRow(3, verified=False, stored_at=ONE.stored_at)
    assert await index.find(TWO.digest) is None
    assert await index.usage() == Amount(1, 3)


async def test_failed_change(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that failed, even at its commit, does not count."""
    index = BlobIndex(database)
    await index.usage()
    write = database.write

    async def failing(what: str, work: object) -> None:
        def then_fail(connection: sqlite3.Connection) -> None:
            assert callable(work)
            work(connection)
            raise OSError(5, "broken")

        await write(what, then_fail)

    with monkeypatch.context() as patch:
        patch.setattr(database, "write", failing)
        with pytest.raises(StoreError, match="broken"):
            await index.add(TWO)

    assert await index.usage() == Amount(1, 3)


async def test_rebuilt(database: Database) -> None:
    """After a repair the totals are those of the new index."""
    index = BlobIndex(database)
    before = index.database.generation
    await index.add(TWO)
    database.close()
    database._path.write_bytes(b"no database" * 100)

    assert await index.usage() == Amount(1, 3)
    assert index.database.generation != before
