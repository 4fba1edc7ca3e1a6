"""Opening a store's directory; `store.layout` names what is in it.

Paths are made of checked digests only, directories are for us alone, and no symbolic link below the root is followed.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sqlite3
import stat
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from obol.errors import StoreInUse, StoreUnusable
from obol.machine.files import PRIVATE_DIRECTORY, Folder, make_private_directory
from obol.machine.locks import LockHeld, locked
from obol.registry.store import layout
from obol.registry.store.disk.content import BlobIndex, DiskContent, record_files
from obol.registry.store.disk.database import Database
from obol.registry.store.disk.files import BlobTree
from obol.registry.store.disk.journal import Journal
from obol.registry.store.disk.metadata import SqliteMetadata, compact, replay
from obol.registry.store.disk.partials import DiskPartials, boot_id
from obol.registry.store.disk.pool import BlockingPool

LAYOUT_VERSION = 1
FILE_THREADS = 4
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class DiskStore:
    """An open store. Its opener closes it, after all that uses it has ended."""

    root: Path
    content: DiskContent
    partials: DiskPartials
    metadata: SqliteMetadata
    _resources: ExitStack

    async def close(self) -> None:
        """Finish what is under way, close the index, release the lock; safe to repeat."""
        await asyncio.to_thread(self._resources.close)


def open_store(root: Path, *, busy_timeout: float = 5.0, any_owner: bool = False) -> DiskStore:
    """Open the store at `root`, which is made if need be. Blocks, for less than a second.

    `busy_timeout`: seconds to wait where a foreign process locks the index. `any_owner`: others may own the directory
    or write to it, as the volumes of containers often have it. Raises StoreInUse, StoreUnusable.
    """
    try:
        with ExitStack() as undo:
            resources = undo.enter_context(ExitStack())
            store = _open(root.absolute(), busy_timeout, resources, any_owner=any_owner)
            undo.pop_all()
            return store
    except LockHeld as problem:
        raise StoreInUse(
            f"the store {root} is in use",
            why=str(problem),
            hint="stop that process, or choose another store",
        ) from problem
    except (OSError, sqlite3.Error) as problem:
        raise StoreUnusable(
            f"the store {root} cannot be used",
            why=str(problem),
            hint="make it a directory on a local file system that you may write to, or choose another store",
        ) from problem


def _open(root: Path, busy_timeout: float, resources: ExitStack, *, any_owner: bool) -> DiskStore:
    make_private_directory(root)
    if not any_owner:
        _check_owner(root)
    home = resources.enter_context(Folder.at(root))
    resources.enter_context(locked(root))
    _check_version(root, home)
    tree = BlobTree(home)
    resources.callback(tree.close)
    journal = Journal(home)
    resources.callback(journal.close)
    asking = BlockingPool("obol-index", 1)

    def refill(connection: sqlite3.Connection) -> None:
        record_files(connection, tree.walk())
        replay(connection, journal)

    database = Database(root / layout.INDEX, asking, refill, busy_timeout)
    resources.callback(database.close)
    resources.callback(asking.close)
    asking.call(database.open)
    asking.call(lambda: compact(database, journal))
    pool = BlockingPool("obol-files", FILE_THREADS)
    resources.callback(pool.close)
    content = DiskContent(tree, BlobIndex(database), pool)
    partials = DiskPartials(tree.staging, content.size, pool, boot_id())
    return DiskStore(root, content, partials, SqliteMetadata(database, journal), resources)


def _check_owner(root: Path) -> None:
    """Refuse a directory that others may write to: what they put there would be served. Raises StoreUnusable."""
    found = root.stat()
    if found.st_uid != os.geteuid():
        raise StoreUnusable(
            f"the store {root} belongs to another user",
            why=f"its owner is user {found.st_uid}, and obol runs as user {os.geteuid()}",
            hint=f"make it yours: sudo chown -R {os.geteuid()} {shlex.quote(str(root))}; or choose another store",
        )
    if not found.st_mode & WRITABLE_BY_OTHERS:
        return
    if not any(root.iterdir()):
        root.chmod(PRIVATE_DIRECTORY)
        return
    raise StoreUnusable(
        f"the store {root} can be written to by others",
        why=f"its mode is {found.st_mode & 0o7777:04o}, and every client would get what others put there",
        hint=f"forbid it: chmod go-w {shlex.quote(str(root))}; or choose another store",
    )


def _check_version(root: Path, home: Folder) -> None:
    descriptor = home.open(layout.VERSION)
    if descriptor is None:
        home.replace(layout.VERSION, (f"{LAYOUT_VERSION}\n".encode(),))
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
