"""Opening a store's directory, and what is in it.

    lock              flock: one process per store; holds that process's id, for people
    version           of this layout
    index.sqlite      what is known (`database`, `index`, `sqlite`)
    names.jsonl       the changes of tags and rights, to fill a damaged index again (`journal`)
    blobs/            complete and verified content (`blobs`, `content`)
    partial/          downloads under way (`partials`)
    quarantine/       damaged content, for whoever looks into it

Paths are made of checked digests only, directories are for us alone, and no symbolic link below the root is followed.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from obol.errors import StoreInUse, StoreUnusable
from obol.machine.files import PRIVATE_FILE, Folder, make_private_directory
from obol.registry.store.blobs import BlobTree
from obol.registry.store.content import DiskContent
from obol.registry.store.database import Database
from obol.registry.store.index import BlobIndex, fill
from obol.registry.store.journal import Journal
from obol.registry.store.lane import Lane
from obol.registry.store.partials import DiskPartials, boot_id
from obol.registry.store.sqlite import SqliteNames, compact, replay

if TYPE_CHECKING:
    from pathlib import Path

LAYOUT_VERSION = 1
FILE_THREADS = 4


@dataclass(frozen=True, slots=True)
class DiskStore:
    """An open store. Whoever opened it closes it, after everything that uses it has ended."""

    root: Path
    content: DiskContent
    partials: DiskPartials
    names: SqliteNames
    _resources: ExitStack

    async def close(self) -> None:
        """Finish what is under way, close the index, release the lock; safe to repeat."""
        await asyncio.to_thread(self._resources.close)


def open_store(root: Path, *, busy_timeout: float = 5.0) -> DiskStore:
    """Open the store at `root`, which is made if need be. Blocks, for less than a second.

    `busy_timeout`: seconds to wait where a foreign process locks the index. Raises StoreInUse, StoreUnusable.
    """
    try:
        with ExitStack() as undo:
            resources = undo.enter_context(ExitStack())
            store = _open(root.absolute(), busy_timeout, resources)
            undo.pop_all()
            return store
    except (OSError, sqlite3.Error) as problem:
        raise StoreUnusable(
            f"the store {root} cannot be used",
            why=str(problem),
            hint="make it a directory on a local file system that you may write to, or choose another store",
        ) from problem


def _open(root: Path, busy_timeout: float, resources: ExitStack) -> DiskStore:
    make_private_directory(root)
    home = resources.enter_context(Folder.at(root))
    resources.callback(os.close, _lock(root))
    _check_version(root, home)
    tree = BlobTree(home)
    resources.callback(tree.close)
    journal = Journal(home)
    resources.callback(journal.close)
    asking = Lane("obol-index", 1)

    def refill(connection: sqlite3.Connection) -> None:
        fill(connection, tree.walk())
        replay(connection, journal)

    database = Database(root / "index.sqlite", asking, refill, busy_timeout)
    resources.callback(database.close)
    resources.callback(asking.close)
    asking.call(database.open)
    asking.call(lambda: compact(database, journal))
    lane = Lane("obol-files", FILE_THREADS)
    resources.callback(lane.close)
    content = DiskContent(tree, BlobIndex(database), lane)
    partials = DiskPartials(tree.staging, content.size, lane, boot_id())
    return DiskStore(root, content, partials, SqliteNames(database, journal), resources)


def _lock(root: Path) -> int:
    """Take the lock; the descriptor that holds it. A holder that died holds nothing, whatever the file says."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    descriptor = os.open(root / "lock", flags, PRIVATE_FILE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError as problem:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise StoreInUse(
            f"the store {root} is in use",
            why=f"process {holder} holds it" if holder.isdigit() else "another process holds it",
            hint="stop that process, or choose another store",
        ) from problem
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_version(root: Path, home: Folder) -> None:
    descriptor = home.open("version")
    if descriptor is None:
        home.replace("version", (f"{LAYOUT_VERSION}\n".encode(),))
        return
    try:
        text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    finally:
        os.close(descriptor)
    if text != str(LAYOUT_VERSION):
        raise StoreUnusable(
            f"the store {root} has a layout that we do not know",
            why=f"it is of version {text!r}, and ours is {LAYOUT_VERSION}",
            hint="use the newer obol that wrote it, or choose another store",
        )
