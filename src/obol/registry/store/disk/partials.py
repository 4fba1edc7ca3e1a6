"""The port `Partials`: blobs that are not complete, as files `partial/<id>`, each with a checkpoint.

A checkpoint says how many bytes from the start an earlier attempt left. Bytes that were written but not synced survive
a crash of this program, but not one of the machine. So a checkpoint counts only within the boot that wrote it, except
for the part that was synced. The caller hashes what it resumes again in any case.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from obol.machine.files import write_all
from obol.registry.control.api import Amount
from obol.registry.store.ports import FileRun, StoreError, digest_of_partial, is_partial_id

if TYPE_CHECKING:
    from obol.machine.files import Folder
    from obol.oci.references import Digest
    from obol.registry.store.disk.files import BlobFile, BlobTree
    from obol.registry.store.disk.pool import BlockingPool

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_CHECKPOINT = ".json"
_CHECKPOINT_LENGTH = 256
_BLOCK = 512

# macOS has no fdatasync; what fsync does besides does no harm.
_sync_data: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


class Checkpoint(msgspec.Struct, frozen=True):
    """Bytes from the start that are there, in the boot that is named; `durable` of them in any boot."""

    frontier: int
    boot: str
    durable: int

    def valid(self, boot: str) -> int:
        """How many bytes count now."""
        return self.frontier if boot and boot == self.boot else self.durable


class _Descriptor:
    """A file descriptor that threads use: made by the first of them where there is none yet, closed by the last.

    So the system does not give its number to another file while a thread reads or writes by it.
    """

    def __init__(self, number: int | None, make: Callable[[], int]) -> None:
        self._number = number
        self._make = make
        self._lock = threading.Lock()
        self._users = 0
        self._closing = False

    def fileno(self) -> int:
        if self._closing or self._number is None:
            raise ValueError("the file is closed, or nothing has been written to it")
        return self._number

    @contextmanager
    def held(self) -> Iterator[int]:
        with self._lock:
            if self._closing:
                raise OSError(errno.EBADF, "the file is closed")
            if self._number is None:
                self._number = self._make()
            number = self._number
            self._users += 1
        try:
            yield number
        finally:
            with self._lock:
                self._users -= 1
            self._close_if_idle()

    def close(self) -> None:
        with self._lock:
            self._closing = True
        self._close_if_idle()

    def _close_if_idle(self) -> None:
        with self._lock:
            if self._closing and not self._users and self._number is not None:
                number, self._number = self._number, None
                os.close(number)


class DiskPartial:
    """One file; `descriptor` and `left` are those of one that is there already."""

    def __init__(self, name: str, partials: DiskPartials, descriptor: int | None = None, left: int = 0) -> None:
        self.left = left
        self._name = name
        self._partials = partials
        self._descriptor = _Descriptor(descriptor, self._make)
        self._durable = 0
        # A thread whose caller was cancelled may still rename or unlink the file, while the next call is in another.
        self._names = threading.Lock()
        self._gone = False

    def run(self, start: int, stop: int) -> FileRun:
        """Bytes that have been written. Raises ValueError before the first write and after `close`."""
        return FileRun(self._descriptor.fileno(), start, stop)

    def read(self, start: int, count: int) -> bytes:
        """Bytes that have been written; blocks. Raises OSError."""
        with self._descriptor.held() as number:
            return os.pread(number, count, start)

    async def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write all of `data` at `offset`. Raises StoreError."""
        await self._partials.pool.run("write a download", self._write, offset, data)

    async def checkpoint(self, frontier: int, *, durable: bool = False) -> None:
        """Remember that the first `frontier` bytes are there. Raises StoreError."""
        await self._partials.pool.run("write a checkpoint", partial(self._checkpoint, frontier, durable=durable))

    async def discard(self) -> None:
        """Remove the file now. Raises StoreError."""
        await self._partials.pool.run("remove a download", self._discard)

    def close(self) -> None:
        """Give the descriptor back, keeping the file; safe to repeat."""
        self._descriptor.close()
        self._partials.closed(self._name)

    def prepare(self) -> None:
        """Make the file, in the calling thread. The first write meets what went wrong."""
        with suppress(OSError), self._descriptor.held():
            pass

    def move_into(self, tree: BlobTree, digest: Digest, size: int) -> BlobFile:
        """Make the file content, in the calling thread. Raises OSError, StoreError."""
        with self._descriptor.held() as descriptor, self._names:
            there = os.fstat(descriptor).st_size
            if there < size or self._gone:
                raise StoreError(f"a download of {size} bytes cannot be stored: {there} bytes are left")
            if there > size:
                os.ftruncate(descriptor, size)
            file = tree.receive(self._name, descriptor, digest)
            self._gone = True
            return file

    def forget_checkpoint(self) -> None:
        """Remove what `checkpoint` wrote, in the calling thread. Raises OSError."""
        self._partials.folder.unlink(self._name + _CHECKPOINT)

    def _make(self) -> int:
        with self._names:
            if self._gone:
                raise OSError(errno.EBADF, "the download was removed")
            return self._partials.create(self._name)

    def _write(self, offset: int, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        with self._descriptor.held() as descriptor:
            while rest:
                written = os.pwrite(descriptor, rest, offset)
                offset += written
                rest = rest[written:]

    def _checkpoint(self, frontier: int, *, durable: bool) -> None:
        with self._descriptor.held() as descriptor:
            if durable:
                _sync_data(descriptor)
            with self._names:
                if self._gone:
                    return
                self._durable = frontier if durable else min(self._durable, frontier)
                note = Checkpoint(frontier, self._partials.boot, self._durable)
                _write_checkpoint(self._partials.folder, self._name + _CHECKPOINT, note, durable=durable)

    def _discard(self) -> None:
        with self._names:
            if not self._gone:
                self._gone = True
                self._partials.remove(self._name)


class DiskPartials:
    """Partials in use or left behind, in one folder.

    `held` gives the size of complete content, or None. `boot` names the machine's current boot; "": it is not known.
    """

    def __init__(
        self, folder: Folder, held: Callable[[Digest], Awaitable[int | None]], pool: BlockingPool, boot: str
    ) -> None:
        self.folder = folder
        self.pool = pool
        self.boot = boot
        self._held = held
        self._in_use: set[str] = set()

    async def open(self, name: str) -> DiskPartial:
        """Resume what an earlier attempt left, or begin. Raises StoreError, and ValueError for what is no id.

        A new file is made while the caller goes on to ask the upstream.
        """
        if not is_partial_id(name):
            raise ValueError(f"no id of a partial: {name!r}")
        self._in_use.add(name)
        try:
            if self.pool.at_once("look for a download", self.folder.stat, name) is not None:
                return await self.pool.run("open a download", self._open, name, undo=DiskPartial.close)
        except BaseException:
            self.closed(name)
            raise
        new = DiskPartial(name, self)
        self.pool.ahead(new.prepare)
        return new

    async def left(self, name: str) -> int:
        """Bytes that the next attempt would resume with. Raises StoreError."""
        if self.pool.at_once("look for a download", self.folder.stat, name) is None:
            return 0
        return await self.pool.run("look for a download", self._frontier, name)

    async def sweep(self) -> int:
        """Remove what cannot be resumed; tells how many partials and foreign files that were.

        To be awaited before content is stored: the file that `put` is writing looks like one that a crash left.
        """
        resumable, removed = await self.pool.run("sweep downloads", self._sweep)
        for name in resumable:
            digest = digest_of_partial(name)
            if name not in self._in_use and digest is not None and await self._held(digest) is not None:
                await self.pool.run("sweep downloads", self.remove, name)
                removed += 1
        return removed

    async def usage(self) -> Amount:
        """Files left or in use, and the bytes they take on the disk. Raises StoreError."""
        return await self.pool.run("count downloads", self._usage)

    def closed(self, name: str) -> None:
        """Note that the partial is not in use any more."""
        self._in_use.discard(name)

    def create(self, name: str) -> int:
        """A descriptor of a new file, in the calling thread; what has its name goes. Raises OSError."""
        self.folder.clear(name)
        self.folder.clear(name + _CHECKPOINT)
        return self.folder.create(name)

    def remove(self, name: str) -> None:
        """Remove a partial and its checkpoint, in the calling thread. Raises OSError."""
        self.folder.unlink(name)
        self.folder.unlink(name + _CHECKPOINT)

    def _open(self, name: str) -> DiskPartial:
        if frontier := self._frontier(name):
            descriptor = self.folder.open(name, os.O_RDWR)
            if descriptor is not None:
                # What lies behind the frontier has holes.
                os.ftruncate(descriptor, frontier)
                return DiskPartial(name, self, descriptor, frontier)
        return DiskPartial(name, self)

    def _frontier(self, name: str) -> int:
        """How many bytes of this file count; 0 if it is not a file of ours, or has no valid checkpoint."""
        found = self.folder.stat(name)
        # A second name may be that of a foreign file, which we would write to.
        if found is None or found.st_nlink != 1 or (descriptor := self.folder.open(name + _CHECKPOINT)) is None:
            return 0
        try:
            checkpoint = msgspec.json.decode(os.pread(descriptor, _CHECKPOINT_LENGTH, 0), type=Checkpoint)
        except msgspec.DecodeError:
            return 0
        finally:
            os.close(descriptor)
        return max(0, min(checkpoint.valid(self.boot), found.st_size))

    def _sweep(self) -> tuple[list[str], int]:
        resumable: list[str] = []
        removed = 0
        for name in {entry.name.removesuffix(_CHECKPOINT) for entry in self.folder.entries() if _is_file(entry)}:
            if name in self._in_use:
                continue
            if is_partial_id(name) and self._frontier(name):
                resumable.append(name)
                continue
            # A directory may share the name, and is nothing of ours.
            with suppress(IsADirectoryError, PermissionError):
                self.remove(name)
            removed += 1
        return resumable, removed

    def _usage(self) -> Amount:
        names = [entry.name for entry in self.folder.entries() if is_partial_id(entry.name)]
        found = [file for name in names if (file := self.folder.stat(name)) is not None]
        # A file with holes takes less than its length.
        return Amount(len(found), sum(min(file.st_size, file.st_blocks * _BLOCK) for file in found))


def boot_id() -> str:
    """The name of the machine's current boot; "" where there is none, or it is not to be read."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _write_checkpoint(folder: Folder, name: str, note: Checkpoint, *, durable: bool) -> None:
    """Write a note of constant length: over the last one or, to survive a loss of power, in its place.

    A rename over a file makes ext4 write it out at once, which is too dear for a note that counts in this boot only;
    and so short a write in place is done or not done when we are killed.
    """
    data = msgspec.json.encode(note).ljust(_CHECKPOINT_LENGTH)
    if durable:
        folder.replace(name, (data,))
        return
    descriptor = folder.open(name, os.O_WRONLY)
    if descriptor is None:
        folder.clear(name)
        descriptor = folder.create(name)
    try:
        write_all(descriptor, data)
    finally:
        os.close(descriptor)


def _is_file(entry: os.DirEntry[str]) -> bool:
    return not entry.is_dir(follow_symlinks=False)
