"""The SQLite file of the index: opened, checked, repaired, and asked from one thread.

SQLite wants one writer, and a statement may wait for a foreign process's lock, so statements run in a thread of their
own. Only a row is looked up by its key on the event loop, by a connection that never waits: that takes a few
microseconds, and a thread's round trip a hundred. What the file holds can be made again from the blobs and the journal.
So a damaged file, at the start or later, is moved aside and filled anew, and the statement is tried once more.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from obol.errors import StoreUnusable
from obol.machine.files import PRIVATE_FILE
from obol.registry.store.ports import StoreError

if TYPE_CHECKING:
    from obol.registry.store.disk.pool import BlockingPool

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

SCHEMA_VERSION = 3
_EDGES = (
    """CREATE TABLE manifests (
        digest TEXT PRIMARY KEY, media_type TEXT NOT NULL, artifact_type TEXT NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE edges (
        parent TEXT, position INTEGER, kind TEXT NOT NULL,
        child TEXT NOT NULL, media_type TEXT NOT NULL, size INTEGER NOT NULL, platform TEXT,
        PRIMARY KEY (parent, position)
    ) WITHOUT ROWID""",
)
_SCHEMA = (
    """CREATE TABLE blobs (
        digest TEXT PRIMARY KEY, size INTEGER NOT NULL, stored_at REAL NOT NULL, verified INTEGER NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE tags (
        scope TEXT, repository TEXT, tag TEXT, variant TEXT,
        digest TEXT NOT NULL, media_type TEXT NOT NULL, checked_at REAL NOT NULL,
        PRIMARY KEY (scope, repository, tag, variant)
    ) WITHOUT ROWID""",
    """CREATE TABLE grants (
        scope TEXT, repository TEXT, digest TEXT, kind TEXT, media_type TEXT NOT NULL, size INTEGER,
        PRIMARY KEY (scope, repository, digest, kind)
    ) WITHOUT ROWID""",
    """CREATE TABLE provenance (
        scope TEXT, digest TEXT, media_type TEXT NOT NULL, PRIMARY KEY (scope, digest)
    ) WITHOUT ROWID""",
    """CREATE TABLE uses (
        scope TEXT, repository TEXT, digest TEXT, used_at REAL NOT NULL,
        PRIMARY KEY (scope, repository, digest)
    ) WITHOUT ROWID""",
    *_EDGES,
)
_UPGRADES = {
    # Before there was this table, what was held and named was taken for given.
    1: (
        """CREATE TABLE given (
            space TEXT, digest TEXT, media_type TEXT NOT NULL, PRIMARY KEY (space, digest)
        ) WITHOUT ROWID""",
        "INSERT INTO given SELECT DISTINCT space, digest, '' FROM rights WHERE digest IN (SELECT digest FROM blobs)",
    ),
    2: (
        *(f"ALTER TABLE {table} RENAME COLUMN space TO scope" for table in ("tags", "rights", "uses", "given")),
        "ALTER TABLE rights RENAME TO grants",
        "ALTER TABLE given RENAME TO provenance",
        *_EDGES,
    ),
}
"""What makes an index of each version one of the next. A released step is never changed: stores of it are out there."""
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class DamagedIndex(sqlite3.DatabaseError):
    """The check at the start found the file malformed."""


class Database:
    """One SQLite file and the connection to it.

    `fill` puts into a new, empty index what the files and the journal say. It runs in the transaction that makes the
    tables, so that no index is ever half filled. `busy_timeout`: seconds to wait for a foreign lock.
    """

    def __init__(
        self, path: Path, pool: BlockingPool, fill: Callable[[sqlite3.Connection], None], busy_timeout: float
    ) -> None:
        self._path = path
        self._pool = pool
        self._fill = fill
        self._busy_timeout = busy_timeout
        self._connection: sqlite3.Connection | None = None
        self._glancing: sqlite3.Connection | None = None
        self._glances_at = 0
        self.generation = 0
        """Counts the times that the index was opened: a cache of its rows compares it to know when they are stale."""

    def open(self) -> None:
        """Open the file, in the calling thread. Raises StoreUnusable, sqlite3.Error, OSError."""
        self._live()

    def close(self) -> None:
        """Close the file; call it when the pool is closed, or from it; safe to repeat."""
        connections = (self._connection, self._glancing)
        self._connection = self._glancing = None
        for connection in filter(None, connections):
            connection.close()

    async def read(self, what: str, work: Work[T]) -> T:
        """Ask something. Raises StoreError."""
        return await self._pool.run(what, self._guarded, what, work)

    async def lookup(self, what: str, work: Work[T]) -> T:
        """Look up a row by its key: here, or in the thread where that would wait. Raises StoreError."""
        with suppress(sqlite3.Error):
            if (connection := self._glance()) is not None:
                return work(connection)
        return await self.read(what, work)

    async def write(self, what: str, work: Work[T]) -> T:
        """Change something, in one transaction, which an exception from `work` undoes. Raises StoreError."""

        def transaction(connection: sqlite3.Connection) -> T:
            return _in_transaction(connection, work)

        return await self._pool.run(what, self._guarded, what, transaction)

    def used_bytes(self) -> int:
        """Bytes of the pages in use, as a measure of what the index holds; in the thread that opened it."""
        connection = self._live()
        pages: int = connection.execute("PRAGMA page_count").fetchone()[0]
        free: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
        page: int = connection.execute("PRAGMA page_size").fetchone()[0]
        return (pages - free) * page

    def ask(self, work: Work[T]) -> T:
        """Ask something in the thread that opened the index, before there is a loop. Raises sqlite3.Error."""
        return work(self._live())

    def _guarded(self, what: str, work: Work[T]) -> T:
        try:
            return self._repairing(work)
        except sqlite3.Error as problem:
            code = getattr(problem, "sqlite_errorcode", 0) & 0xFF
            raise StoreError(f"{what}: {problem}", full=code == sqlite3.SQLITE_FULL) from problem
        except StoreUnusable as problem:
            raise StoreError(f"{what}: {problem}") from problem

    def _glance(self) -> sqlite3.Connection | None:
        """The connection that never waits, to the file that is the index now; None where that is not open."""
        if self._connection is None:
            return None
        if self._glancing is None or self._glances_at != self.generation:
            if self._glancing is not None:
                self._glancing.close()
            self._glances_at = self.generation
            self._glancing = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
            self._glancing.execute("PRAGMA query_only = ON")
        return self._glancing

    def _repairing(self, work: Work[T]) -> T:
        try:
            return work(self._live())
        except sqlite3.DatabaseError as problem:
            if not _is_damage(problem):
                raise
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._set_aside()
        return work(self._live())

    def _live(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._connect_or_repair()
            self.generation += 1
        return self._connection

    def _connect_or_repair(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as problem:
            if not _is_damage(problem):
                raise
        self._set_aside()
        return self._connect()

    def _connect(self) -> sqlite3.Connection:
        # SQLite would make it readable for others, and gives its companions (-wal, -shm) the same mode.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, PRIVATE_FILE))
        connection = sqlite3.connect(
            self._path, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StoreUnusable(
                f"the index {self._path} is of version {version}, and we know none after {SCHEMA_VERSION}",
                hint="use the newer obol that wrote it, or another store",
            )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if connection.execute("PRAGMA quick_check(1)").fetchall() != [("ok",)]:
            raise DamagedIndex("quick_check found damage")
        if version == 0:
            _in_transaction(connection, self._begin)
        elif version < SCHEMA_VERSION:
            _in_transaction(connection, lambda upgraded: _upgrade(upgraded, version))

    def _begin(self, connection: sqlite3.Connection) -> None:
        for statement in _SCHEMA:
            connection.execute(statement)
        self._fill(connection)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _set_aside(self) -> None:
        number = 1
        while os.path.lexists(aside := self._path.with_name(f"{self._path.name}.damaged-{number}")):
            number += 1
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{self._path}{suffix}").rename(f"{aside}{suffix}")


def _upgrade(connection: sqlite3.Connection, version: int) -> None:
    for step in range(version, SCHEMA_VERSION):
        for statement in _UPGRADES[step]:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _in_transaction(connection: sqlite3.Connection, work: Work[T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        return work(connection)


def _is_damage(problem: sqlite3.DatabaseError) -> bool:
    # The low byte is the kind of error, the rest says where it was found: https://www.sqlite.org/rescode.html
    code: int = getattr(problem, "sqlite_errorcode", 0)
    return isinstance(problem, DamagedIndex) or code & 0xFF in _DAMAGED
