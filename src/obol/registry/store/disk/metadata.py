"""Tags, grants and uses in the SQLite index, and how the journal fills them again.

A change is appended to the journal inside the transaction, just before its commit: a line too many (the commit failed)
only names what was true anyway, a line too few would be lost in a repair.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING

from obol.oci.errors import OciError
from obol.oci.references import Digest, Repository, Tag
from obol.registry.store.disk.database import GIVEN_BEFORE
from obol.registry.store.disk.journal import ANYWHERE
from obol.registry.store.ports import (
    ContentKind,
    Grant,
    HeldTag,
    KnownManifest,
    Provenance,
    RepositoryKey,
    Revoked,
    provenance_type,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from obol.registry.store.disk.database import Database
    from obol.registry.store.disk.journal import Entry, Journal

COMPACT_ABOVE = 4
"""The journal is rewritten at the start when it is this many times as large as the index."""

_SET_TAG = (
    "INSERT OR REPLACE INTO tags (space, repository, tag, variant, digest, media_type, checked_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
# A row that would stay as it is is not touched, and so not counted in `rowcount`.
_ADD_GRANT = (
    "INSERT INTO rights (space, repository, digest, kind, media_type, size) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET media_type = excluded.media_type, size = coalesce(excluded.size, size)"
    " WHERE media_type <> excluded.media_type OR size IS NOT coalesce(excluded.size, size)"
)
_ADD_PROVENANCE = (
    "INSERT INTO given (space, digest, media_type) VALUES (?, ?, ?)"
    " ON CONFLICT DO UPDATE SET media_type = excluded.media_type"
    " WHERE media_type <> excluded.media_type AND excluded.media_type <> ''"
)
_ANY = (
    "SELECT 1 FROM rights WHERE space = ? AND repository = ? LIMIT 1",
    "SELECT 1 FROM tags WHERE space = ? AND repository = ? LIMIT 1",
)
_TAGGED = (
    "SELECT tags.*, used_at FROM tags LEFT JOIN uses USING (space, repository, digest)"
    " ORDER BY space, repository, tag, variant"
)
_UNTAGGED = (
    "SELECT space, repository, digest, used_at FROM uses WHERE NOT EXISTS (SELECT * FROM tags"
    " WHERE tags.space = uses.space AND tags.repository = uses.repository AND tags.digest = uses.digest)"
    " ORDER BY space, repository, digest"
)
_USE = (
    "INSERT INTO uses (space, repository, digest, used_at) VALUES (?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET used_at = max(used_at, excluded.used_at)"
)


class SqliteMetadata:
    """The port `Metadata` over a database and its journal."""

    def __init__(self, database: Database, journal: Journal) -> None:
        self._database = database
        self._journal = journal

    async def tag(self, repo: RepositoryKey, tag: Tag, variant: str) -> HeldTag | None:
        """What the tag last meant, or None. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> HeldTag | None:
            return _find_tag(connection, repo, tag, variant)

        return await self._database.lookup("look up a tag", work)

    async def set_tag(self, repo: RepositoryKey, held: HeldTag) -> None:
        """Let a tag mean a digest from now on. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> None:
            before = _find_tag(connection, repo, held.tag, held.variant)
            _set_tag(connection, repo, held)
            if before is None or (before.digest, before.media_type) != (held.digest, held.media_type):
                self._journal.append(repo, held)

        await self._database.write("record a tag", work)

    async def grant(self, repo: RepositoryKey, digest: Digest, kind: ContentKind) -> Grant | None:
        """The grant of a digest in a repository, or None. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> Grant | None:
            row = connection.execute(
                "SELECT media_type, size FROM rights WHERE space = ? AND repository = ? AND digest = ? AND kind = ?",
                (repo.scope, repo.name, digest, kind),
            ).fetchone()
            return None if row is None else Grant(digest, kind, *row)

        return await self._database.lookup("look up a grant", work)

    async def add_grants(self, repo: RepositoryKey, grants: Sequence[Grant], received: Digest | None = None) -> None:
        """Record grants, in one transaction. Raises StoreError."""
        gift = None if received is None else Provenance(received, provenance_type(grants, received))

        def work(connection: sqlite3.Connection) -> None:
            changed = [grant for grant in grants if _add_grant(connection, repo, grant)]
            if changed:
                self._journal.append(repo, changed)
            if gift is not None and _add_provenance(connection, repo, gift):
                self._journal.append(repo, gift)

        await self._database.write("record grants", work)

    async def provenance(self, scope: str, digest: Digest) -> str | None:
        """As what an upstream gave content. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> str | None:
            row = connection.execute(
                "SELECT media_type FROM given WHERE space = ? AND digest = ?", (scope, digest)
            ).fetchone()
            return None if row is None else str(row[0])

        return await self._database.lookup("look up a provenance", work)

    async def revoke(self, repo: RepositoryKey) -> bool:
        """Forget every tag and grant of a repository. Raises StoreError."""

        def anything(connection: sqlite3.Connection) -> bool:
            return any(connection.execute(query, (repo.scope, repo.name)).fetchone() for query in _ANY)

        def work(connection: sqlite3.Connection) -> None:
            _revoke(connection, repo)
            self._journal.append(repo, Revoked())

        if not await self._database.lookup("look up a repository", anything):
            return False
        await self._database.write("revoke a repository", work)
        return True

    async def used(self, uses: Iterable[tuple[RepositoryKey, Digest]], at: float) -> None:
        """Record, in one transaction, that these were served at wall time `at`. Raises StoreError."""
        rows = [(repo.scope, repo.name, digest, at) for repo, digest in uses]

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(_USE, rows)

        if rows:
            await self._database.write("record uses", work)

    async def known(self) -> Sequence[KnownManifest]:
        """Every tag, then what was used and has none. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> list[KnownManifest]:
            return [*_tagged(connection), *_untagged(connection)]

        return await self._database.read("list what is known", work)


def replay(connection: sqlite3.Connection, journal: Journal) -> None:
    """Put into an empty index what the journal says. Raises sqlite3.Error, OSError."""
    for repo, change in journal.entries():
        match change:
            case HeldTag():
                _set_tag(connection, repo, change)
            case Provenance():
                _add_provenance(connection, repo, change)
            case Revoked():
                _revoke(connection, repo)
            case grants:
                for grant in grants:
                    _add_grant(connection, repo, grant)
    if connection.execute("SELECT 1 FROM given LIMIT 1").fetchone() is None:
        connection.execute(GIVEN_BEFORE)


def compact(database: Database, journal: Journal) -> None:
    """Rewrite a journal that has become much larger than the index. Raises sqlite3.Error, OSError."""
    if journal.size > COMPACT_ABOVE * database.used_bytes():
        database.ask(lambda connection: journal.rewrite(_everything(connection)))


def _everything(connection: sqlite3.Connection) -> Iterator[Entry]:
    yield from _all_tags(connection)
    rows = connection.execute("SELECT * FROM rights ORDER BY space, repository, digest, kind")
    for (scope, repository), group in groupby(rows, key=lambda row: (row[0], row[1])):
        grants = tuple(Grant(Digest(row[2]), ContentKind(row[3]), row[4], row[5]) for row in group)
        yield RepositoryKey(scope, Repository(repository)), grants
    yield from _all_provenance(connection)


def _all_provenance(connection: sqlite3.Connection) -> Iterator[Entry]:
    for scope, digest, media_type in connection.execute("SELECT * FROM given ORDER BY space, digest"):
        yield RepositoryKey(scope, ANYWHERE), Provenance(Digest(digest), media_type)


def _all_tags(connection: sqlite3.Connection) -> Iterator[tuple[RepositoryKey, HeldTag]]:
    for scope, repository, *rest in connection.execute("SELECT * FROM tags ORDER BY space, repository, tag, variant"):
        if (held := _held(*rest)) is not None:
            yield RepositoryKey(scope, Repository(repository)), held


def _tagged(connection: sqlite3.Connection) -> Iterator[KnownManifest]:
    for scope, repository, *rest, used_at in connection.execute(_TAGGED):
        if (held := _held(*rest)) is not None:
            yield KnownManifest(RepositoryKey(scope, Repository(repository)), held.digest, held, used_at)


def _untagged(connection: sqlite3.Connection) -> Iterator[KnownManifest]:
    for scope, repository, text, used_at in connection.execute(_UNTAGGED):
        with suppress(OciError):  # see _held
            yield KnownManifest(RepositoryKey(scope, Repository(repository)), Digest.parse(text), None, used_at)


def _find_tag(connection: sqlite3.Connection, repo: RepositoryKey, tag: Tag, variant: str) -> HeldTag | None:
    row = connection.execute(
        "SELECT tag, variant, digest, media_type, checked_at FROM tags"
        " WHERE space = ? AND repository = ? AND tag = ? AND variant = ?",
        (repo.scope, repo.name, tag, variant),
    ).fetchone()
    return None if row is None else _held(*row)


def _held(tag: str, variant: str, digest: str, media_type: str, checked_at: float) -> HeldTag | None:
    try:
        # The digest becomes a path: nobody who wrote into the index by hand shall choose that.
        return HeldTag(Tag(tag), variant, Digest.parse(digest), media_type, checked_at)
    except OciError:
        return None


def _set_tag(connection: sqlite3.Connection, repo: RepositoryKey, held: HeldTag) -> None:
    values = (held.tag, held.variant, held.digest, held.media_type, held.checked_at)
    connection.execute(_SET_TAG, (repo.scope, repo.name, *values))


def _add_grant(connection: sqlite3.Connection, repo: RepositoryKey, grant: Grant) -> bool:
    values = (grant.digest, grant.kind, grant.media_type, grant.size)
    return connection.execute(_ADD_GRANT, (repo.scope, repo.name, *values)).rowcount > 0


def _add_provenance(connection: sqlite3.Connection, repo: RepositoryKey, gift: Provenance) -> bool:
    return connection.execute(_ADD_PROVENANCE, (repo.scope, gift.digest, gift.media_type)).rowcount > 0


def _revoke(connection: sqlite3.Connection, repo: RepositoryKey) -> None:
    for table in ("tags", "rights"):
        connection.execute(
            f"DELETE FROM {table} WHERE space = ? AND repository = ?",  # noqa: S608 - one of our own two names
            (repo.scope, repo.name),
        )
