"""The rows of the index that say which content is complete, and how much there is in all.

A row follows its file, never the other way round; so a row without a file, or a file without a row, is something to
mend (by `content`), not an error. `verified` tells rows that this program wrote after it had seen the bytes from those
that a repair made from names and sizes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from obol.registry.control.api import Amount
from obol.registry.store.ports import StoreError

if TYPE_CHECKING:
    from obol.oci.references import Digest
    from obol.registry.store.disk.database import Database
    from obol.registry.store.disk.files import BlobFile

_ADD = "INSERT OR REPLACE INTO blobs (digest, size, stored_at, verified) VALUES (?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class BlobRow:
    """What the index knows about one object; `size` in bytes."""

    size: int
    verified: bool
    stored_at: float
    """When the file was written, as the file system tells: a file that was written later is another one."""


_Change = Callable[[sqlite3.Connection], BlobRow | None]


class BlobIndex:
    """The table of blobs. Its totals are counted once, then kept."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._totals = Amount(0, 0)
        self._counted_in = 0

    async def find(self, digest: Digest) -> BlobRow | None:
        """The row, or None. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> BlobRow | None:
            return _find(connection, digest)

        return await self.database.lookup("look up content", work)

    async def add(self, file: BlobFile) -> None:
        """Record a file that was verified and is in its place. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> BlobRow | None:
            before = _find(connection, file.digest)
            connection.execute(_ADD, (file.digest, file.size, file.stored_at, 1))
            return before

        await self._counting("record content", work, file.size)

    async def forget(self, digest: Digest) -> None:
        """Remove the row, if there is one. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> BlobRow | None:
            before = _find(connection, digest)
            connection.execute("DELETE FROM blobs WHERE digest = ?", (digest,))
            return before

        await self._counting("forget content", work, None)

    async def usage(self) -> Amount:
        """Number of objects and their bytes. Raises StoreError."""
        return await self.database.read("count content", self._count)

    async def _counting(self, what: str, change: _Change, after: int | None) -> None:
        """Do a change that returns the row from before; `after` is the size in the row that it leaves, if any."""

        def counted(connection: sqlite3.Connection) -> None:
            totals = self._count(connection)
            before = change(connection)
            count = totals.count - (before is not None) + (after is not None)
            self._totals = Amount(count, totals.size - (before.size if before else 0) + (after or 0))

        try:
            await self.database.write(what, counted)
        except StoreError:
            # The change may have been undone after it was counted.
            self._counted_in = 0
            raise

    def _count(self, connection: sqlite3.Connection) -> Amount:
        if self._counted_in != self.database.generation:
            row = connection.execute("SELECT count(*), coalesce(sum(size), 0) FROM blobs").fetchone()
            self._totals, self._counted_in = Amount(*row), self.database.generation
        return self._totals


def _find(connection: sqlite3.Connection, digest: Digest) -> BlobRow | None:
    row = connection.execute("SELECT size, verified, stored_at FROM blobs WHERE digest = ?", (digest,)).fetchone()
    return None if row is None else BlobRow(row[0], bool(row[1]), row[2])


def fill(connection: sqlite3.Connection, files: Iterable[BlobFile]) -> None:
    """Put into an empty index what the names and sizes of files say; their bytes are still to be verified."""
    connection.executemany(_ADD, ((file.digest, file.size, file.stored_at, 0) for file in files))
