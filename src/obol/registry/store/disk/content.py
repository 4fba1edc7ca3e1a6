"""The port `Content` over the files and the rows of the index, which it keeps true to each other.

What was settled once is remembered, so that most questions cost a dictionary look-up. Each opening still compares the
file's size and the time when it was written. What does not fit is settled on the spot, under a lock of that digest: a
row without a file is removed; a file without a row, with a row that a repair made, or written since, is read and hashed
before it counts; a file of another size than its row says, or of another hash than its name, goes to quarantine. Bytes
that decay without being written are not noticed: hashing every hit would cost more than the hit.
A row follows its file, never the other way round.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from obol.machine.bounded import Bounded
from obol.oci.references import Digest
from obol.registry.control.api import Amount
from obol.registry.store.disk.files import BlobFile
from obol.registry.store.disk.partials import DiskPartial
from obol.registry.store.disk.pool import failure
from obol.registry.store.ports import FileRun, StoreError

if TYPE_CHECKING:
    import sqlite3

    from obol.registry.store.disk.database import Database
    from obol.registry.store.disk.files import BlobTree
    from obol.registry.store.disk.pool import BlockingPool
    from obol.registry.store.ports import Partial

REMEMBERED = 16_384
"""Files known in memory: some 6 MiB."""

HASHED_AT_ONCE = 256 * 1024
"""Bytes that are hashed sooner than a thread is reached."""

_WITHOUT_WAITING = getattr(os, "RWF_NOWAIT", 0)
"""preadv2(2), Linux: read what is in memory, and fail where the disk would have to be waited for."""

VERIFIED_AT_ONCE = 2
"""Hashing a large file holds a thread for seconds; others must be left for writing."""


_ADD = "INSERT OR REPLACE INTO blobs (digest, size, stored_at, verified) VALUES (?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class BlobRow:
    """What the index knows about one object; `size` in bytes."""

    size: int
    verified: bool
    stored_at: float
    """When the file was written, as the file system tells: a file that was written later is another one."""


class BlobIndex:
    """The table of blobs. Its totals are counted once, then kept."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._totals = Amount(0, 0)
        self._counted_in = 0

    async def find(self, digest: Digest) -> BlobRow | None:
        """The row, or None. Raises StoreError."""
        return await self.database.lookup("look up content", lambda asked: _find(asked, digest))

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

    async def _counting(
        self, what: str, change: Callable[[sqlite3.Connection], BlobRow | None], after: int | None
    ) -> None:
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


class DiskReadable:
    """An open file of complete content."""

    __slots__ = ("_descriptor", "file", "size")

    def __init__(self, descriptor: int, file: BlobFile) -> None:
        self._descriptor = descriptor
        self.file = file
        self.size = file.size

    def run(self, start: int, stop: int) -> FileRun:
        """A part of the file. Raises ValueError after `close`."""
        if self._descriptor < 0:
            raise ValueError("the file is closed")
        return FileRun(self._descriptor, start, stop)

    async def read(self) -> bytes:
        """All of a small file, without a thread where the system has it in memory. Raises StoreError."""
        try:
            data = _in_memory(self._descriptor, self.size)
            if data is None:
                data = await asyncio.to_thread(os.pread, self._descriptor, self.size, 0)
        except OSError as problem:
            raise StoreError("the cache's disk is failing") from problem
        if len(data) != self.size:
            raise StoreError("the cache's copy is damaged")
        return data

    def close(self) -> None:
        """Give it back; safe to repeat."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class DiskContent:
    """Complete and verified content, by digest."""

    def __init__(self, tree: BlobTree, index: BlobIndex, pool: BlockingPool) -> None:
        self._tree = tree
        self._index = index
        self._pool = pool
        self._files: Bounded[Digest, BlobFile] = Bounded(REMEMBERED)
        self._files_of = index.database.generation
        self._locks: WeakValueDictionary[Digest, asyncio.Lock] = WeakValueDictionary()
        self._verifying = asyncio.Semaphore(VERIFIED_AT_ONCE)

    async def size(self, digest: Digest) -> int | None:
        """Bytes of the object, or None. Raises StoreError."""
        known = self._recall(digest) or await self._settle(digest)
        return None if known is None else known.size

    async def read(self, digest: Digest) -> bytes | None:
        """All of a small object, or None. What has not its digest goes to quarantine. Raises StoreError."""
        data = await self._pool.run("read content", self._tree.read, digest)
        if data is not None and await self._is(digest, data):
            if self._recall(digest) is None:
                await self._settle(digest)
            return data
        self._files.pop(digest)
        await self._settle(digest, suspected=data is not None)
        return None

    async def _is(self, digest: Digest, data: bytes) -> bool:
        if len(data) <= HASHED_AT_ONCE:
            return Digest.of(data, digest.algorithm) == digest
        return await self._pool.run("verify content", Digest.of, data, digest.algorithm) == digest

    async def open(self, digest: Digest) -> DiskReadable | None:
        """Open it, or None. Raises StoreError."""
        readable = None
        if (known := self._recall(digest) or await self._told(digest)) is not None:
            readable = self._opened(known)
        if readable is None and (known := await self._settle(digest)) is not None:
            # What did not fit is settled now, and may be right after all.
            readable = self._opened(known)
        return readable

    async def put(self, digest: Digest, data: bytes) -> None:
        """Keep `data`, whose digest the caller has verified. Raises StoreError."""
        async with self._lock(digest):
            await self._record(await self._pool.run("store content", self._tree.store, digest, data))

    async def adopt(self, partial: Partial, digest: Digest, size: int) -> None:
        """Turn a verified partial into content. Raises StoreError, also where it is shorter than `size`."""
        if not isinstance(partial, DiskPartial):
            raise TypeError("only a partial of the same store can be adopted")
        async with self._lock(digest):
            file = await self._pool.run("store content", partial.move_into, self._tree, digest, size)
            await self._record(file)
        await self._pool.run("remove a checkpoint", partial.forget_checkpoint)

    async def remove(self, digest: Digest) -> bool:
        """Remove it; tells whether it was held. Raises StoreError."""
        async with self._lock(digest):
            self._files.pop(digest)
            found = await self._pool.run("remove content", self._tree.remove, digest)
            await self._index.forget(digest)
        return found

    async def verify(self, digest: Digest) -> bool:
        """Read all of it again: is it held, and whole? Raises StoreError."""
        return await self._settle(digest, suspected=True) is not None

    async def quarantine(self, digest: Digest) -> None:
        """Take it out of service, and keep the file. Raises StoreError."""
        async with self._lock(digest):
            await self._isolate(digest)

    async def usage(self) -> Amount:
        """What is held now. Raises StoreError."""
        return await self._index.usage()

    async def _told(self, digest: Digest) -> BlobFile | None:
        """What the file is like as far as the index knows."""
        row = await self._index.find(digest)
        return BlobFile(digest, row.size, row.stored_at) if row is not None and row.verified else None

    def _opened(self, known: BlobFile) -> DiskReadable | None:
        """The file, if it is the one that is known.

        No thread is worth its way for this; and who goes on to send the file waits for the same disk.
        """
        try:
            opened = self._tree.open(known.digest)
        except OSError as problem:
            raise failure("open content", problem) from problem
        readable = None if opened is None else DiskReadable(*opened)
        if readable is not None and readable.file == known:
            if self._files.get(known.digest) is None:
                self._files[known.digest] = known
            return readable
        if readable is not None:
            readable.close()
        self._files.pop(known.digest)
        return None

    async def _settle(self, digest: Digest, *, suspected: bool = False) -> BlobFile | None:
        """Make file and row agree; the file that is held then, or None. `suspected`: the bytes must be read."""
        async with self._lock(digest):
            row = await self._index.find(digest)
            file = self._pool.at_once("look for content", self._tree.find, digest)
            if file is None:
                if row is not None:
                    await self._index.forget(digest)
                return None
            known = row is not None and row.verified and (row.size, row.stored_at) == (file.size, file.stored_at)
            if known and not suspected:
                self._files[file.digest] = file
                return file
            if (row is not None and row.size != file.size) or not await self._matches(digest):
                await self._isolate(digest)
                return None
            await self._record(file)
            return file

    async def _matches(self, digest: Digest) -> bool:
        async with self._verifying:
            return await self._pool.run("verify content", self._tree.matches, digest)

    async def _isolate(self, digest: Digest) -> None:
        self._files.pop(digest)
        await self._pool.run("quarantine content", self._tree.isolate, digest)
        await self._index.forget(digest)

    async def _record(self, file: BlobFile) -> None:
        await self._index.add(file)
        self._files[file.digest] = file

    def _lock(self, digest: Digest) -> asyncio.Lock:
        return self._locks.setdefault(digest, asyncio.Lock())

    def _recall(self, digest: Digest) -> BlobFile | None:
        if self._files_of != self._index.database.generation:
            self._files.clear()
            self._files_of = self._index.database.generation
        return self._files.get(digest)


def _in_memory(file: int, size: int) -> bytes | None:
    """The beginning of a file, if the system has it in memory; None where it would have to wait for the disk."""
    if not _WITHOUT_WAITING:
        return None
    buffer = bytearray(size)
    try:
        count = os.preadv(file, [buffer], 0, _WITHOUT_WAITING)
    except OSError:  # BlockingIOError, or a file system that cannot tell
        return None
    return bytes(buffer) if count == size else None


def _find(connection: sqlite3.Connection, digest: Digest) -> BlobRow | None:
    row = connection.execute("SELECT size, verified, stored_at FROM blobs WHERE digest = ?", (digest,)).fetchone()
    return None if row is None else BlobRow(row[0], bool(row[1]), row[2])


def record_files(connection: sqlite3.Connection, files: Iterable[BlobFile]) -> None:
    """Put into an empty index what the names and sizes of files say; their bytes are still to be verified."""
    connection.executemany(_ADD, ((file.digest, file.size, file.stored_at, 0) for file in files))
