"""Tags, grants and uses in the SQLite index, and how the journal fills them again.

A change is appended to the journal inside the transaction, just before its commit. Where the commit then fails, the
journal has a line too many, which does no harm; a line too few would be lost in a repair. Edges are not in the journal:
the manifests are read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING

from obol.oci.errors import OciError
from obol.oci.manifests import Descriptor, Manifest, Platform
from obol.oci.references import Digest, Repository, Tag
from obol.registry.store.disk.journal import ANYWHERE
from obol.registry.store.ports import (
    ContentKind,
    Grant,
    GrantDeleted,
    HeldTag,
    KnownManifest,
    Provenance,
    RepositoryKey,
    Revoked,
    TagDeleted,
)

if TYPE_CHECKING:
    import sqlite3

    from obol.registry.store.disk.database import Database
    from obol.registry.store.disk.journal import Deletion, Entry, Journal

COMPACT_ABOVE = 4
"""The journal is rewritten at the start when it is this many times as large as the index."""

_SET_TAG = (
    "INSERT OR REPLACE INTO tags (scope, repository, tag, variant, digest, media_type, checked_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
# A row that would stay as it is is not touched, and so not counted in `rowcount`.
_ADD_GRANT = (
    "INSERT INTO grants (scope, repository, digest, kind, media_type, size) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET media_type = excluded.media_type, size = coalesce(excluded.size, size)"
    " WHERE media_type <> excluded.media_type OR size IS NOT coalesce(excluded.size, size)"
)
_ADD_PROVENANCE = (
    "INSERT INTO provenance (scope, digest, media_type) VALUES (?, ?, ?)"
    " ON CONFLICT DO UPDATE SET media_type = excluded.media_type"
    " WHERE media_type <> excluded.media_type AND excluded.media_type <> ''"
)
# Where there is no record of what was received, what is held and granted counts as received.
_RECEIVED_BEFORE = (
    "INSERT OR IGNORE INTO provenance SELECT DISTINCT scope, digest, '' FROM grants"
    " WHERE digest IN (SELECT digest FROM blobs)"
)
_HERE = "scope = ? AND repository = ?"
_WITHOUT_EDGES = (
    "SELECT digest, max(media_type) FROM grants WHERE kind = 'manifest'"
    " AND digest IN (SELECT digest FROM blobs) AND digest NOT IN (SELECT digest FROM manifests) GROUP BY digest"
)
_ADD_EDGE = "INSERT INTO edges (parent, position, kind, child, media_type, size, platform) VALUES (?, ?, ?, ?, ?, ?, ?)"
_EDGES_OF = "SELECT kind, child, media_type, size, platform FROM edges WHERE parent = ? ORDER BY position"
_TAGGED = (
    "SELECT tags.*, used_at FROM tags LEFT JOIN uses USING (scope, repository, digest)"
    " ORDER BY scope, repository, tag, variant"
)
_UNTAGGED = (
    "SELECT scope, repository, digest, used_at FROM uses WHERE NOT EXISTS (SELECT * FROM tags"
    " WHERE tags.scope = uses.scope AND tags.repository = uses.repository AND tags.digest = uses.digest)"
    " ORDER BY scope, repository, digest"
)
_USE = (
    "INSERT INTO uses (scope, repository, digest, used_at) VALUES (?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET used_at = max(used_at, excluded.used_at)"
)


class SqliteMetadata:
    """The port `Metadata` over a database and its journal."""

    def __init__(self, database: Database, journal: Journal) -> None:
        self._database = database
        self._journal = journal

    async def tag(self, repo: RepositoryKey, tag: Tag, variant: str) -> HeldTag | None:
        """What the tag last meant, or None. Raises StoreError."""
        return await self._database.lookup("look up a tag", lambda asked: _find_tag(asked, repo, tag, variant))

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
                "SELECT media_type, size FROM grants WHERE scope = ? AND repository = ? AND digest = ? AND kind = ?",
                (repo.scope, repo.name, digest, kind),
            ).fetchone()
            return None if row is None else Grant(digest, kind, *row)

        return await self._database.lookup("look up a grant", work)

    async def add_grants(
        self,
        repo: RepositoryKey,
        grants: Sequence[Grant],
        received: Provenance | None = None,
        manifest: Manifest | None = None,
    ) -> None:
        """Record grants, in one transaction. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> None:
            changed = [grant for grant in grants if _add_grant(connection, repo, grant)]
            if changed:
                self._journal.append(repo, changed)
            if received is not None and _add_provenance(connection, repo, received):
                self._journal.append(repo, received)
            if received is not None and manifest is not None:
                _add_edges(connection, received.digest, manifest)

        await self._database.write("record grants", work)

    async def provenance(self, scope: str, digest: Digest) -> str | None:
        """As what an upstream gave content. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> str | None:
            row = connection.execute(
                "SELECT media_type FROM provenance WHERE scope = ? AND digest = ?", (scope, digest)
            ).fetchone()
            return None if row is None else str(row[0])

        return await self._database.lookup("look up a provenance", work)

    async def edges(self, digest: Digest) -> Manifest | None:
        """What a manifest refers to; None where that was not recorded. Raises StoreError."""
        return await self._database.read("look up a manifest", lambda asked: _edges(asked, digest))

    async def add_edges(self, digest: Digest, manifest: Manifest) -> None:
        """Record what a manifest refers to. Raises StoreError."""
        await self._database.write("record a manifest", lambda changed: _add_edges(changed, digest, manifest))

    async def without_edges(self) -> Sequence[tuple[Digest, str]]:
        """Manifests that may be held and whose edges were not recorded. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> list[tuple[Digest, str]]:
            return [(Digest(digest), media_type) for digest, media_type in connection.execute(_WITHOUT_EDGES)]

        return await self._database.read("look for manifests", work)

    async def delete_tag(self, repo: RepositoryKey, tag: Tag) -> bool:
        """Forget all that a tag means. Raises StoreError."""
        return await self._delete(repo, TagDeleted(tag))

    async def delete_grant(self, repo: RepositoryKey, digest: Digest, kind: ContentKind) -> bool:
        """Forget a grant and, of a manifest, the tags that mean it. Raises StoreError."""
        return await self._delete(repo, GrantDeleted(digest, kind))

    async def revoke(self, repo: RepositoryKey) -> bool:
        """Forget every tag and grant of a repository. Raises StoreError."""
        return await self._delete(repo, Revoked())

    async def _delete(self, repo: RepositoryKey, deletion: Deletion) -> bool:
        def anything(connection: sqlite3.Connection) -> bool:
            found = (connection.execute(f"SELECT 1 {rows} LIMIT 1", values) for rows, values in _rows(repo, deletion))
            return any(row.fetchone() for row in found)

        def work(connection: sqlite3.Connection) -> None:
            _delete(connection, repo, deletion)
            self._journal.append(repo, deletion)

        if not await self._database.lookup("look for what is to be deleted", anything):
            return False
        await self._database.write("delete tags and grants", work)
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
        return await self._database.read("list what is known", lambda asked: [*_tagged(asked), *_untagged(asked)])


def replay(connection: sqlite3.Connection, journal: Journal) -> None:
    """Put into an empty index what the journal says. Raises sqlite3.Error, OSError."""
    for repo, change in journal.entries():
        match change:
            case HeldTag():
                _set_tag(connection, repo, change)
            case Provenance():
                _add_provenance(connection, repo, change)
            case Revoked() | TagDeleted() | GrantDeleted():
                _delete(connection, repo, change)
            case grants:
                for grant in grants:
                    _add_grant(connection, repo, grant)
    if connection.execute("SELECT 1 FROM provenance LIMIT 1").fetchone() is None:
        connection.execute(_RECEIVED_BEFORE)


def compact(database: Database, journal: Journal) -> None:
    """Rewrite a journal that has become much larger than the index. Raises sqlite3.Error, OSError."""
    if journal.size > COMPACT_ABOVE * database.used_bytes():
        database.ask(lambda connection: journal.rewrite(_everything(connection)))


def _everything(connection: sqlite3.Connection) -> Iterator[Entry]:
    yield from _all_tags(connection)
    rows = connection.execute("SELECT * FROM grants ORDER BY scope, repository, digest, kind")
    for (scope, repository), group in groupby(rows, key=lambda row: (row[0], row[1])):
        grants = tuple(Grant(Digest(row[2]), ContentKind(row[3]), row[4], row[5]) for row in group)
        yield RepositoryKey(scope, Repository(repository)), grants
    yield from _all_provenance(connection)


def _all_provenance(connection: sqlite3.Connection) -> Iterator[Entry]:
    for scope, digest, media_type in connection.execute("SELECT * FROM provenance ORDER BY scope, digest"):
        yield RepositoryKey(scope, ANYWHERE), Provenance(Digest(digest), media_type)


def _all_tags(connection: sqlite3.Connection) -> Iterator[tuple[RepositoryKey, HeldTag]]:
    for scope, repository, *rest in connection.execute("SELECT * FROM tags ORDER BY scope, repository, tag, variant"):
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
        " WHERE scope = ? AND repository = ? AND tag = ? AND variant = ?",
        (repo.scope, repo.name, tag, variant),
    ).fetchone()
    return None if row is None else _held(*row)


def _held(tag: str, variant: str, digest: str, media_type: str, checked_at: float) -> HeldTag | None:
    try:
        # The digest becomes a path, which a hand that wrote into the index must not choose.
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


def _rows(repo: RepositoryKey, deletion: Deletion) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The rows that a deletion takes: `FROM …`, and the values in it."""
    here = (repo.scope, repo.name)
    match deletion:
        case Revoked():
            yield f"FROM tags WHERE {_HERE}", here
            yield f"FROM grants WHERE {_HERE}", here
        case TagDeleted(tag):
            yield f"FROM tags WHERE {_HERE} AND tag = ?", (*here, tag)
        case GrantDeleted(digest, kind):
            yield f"FROM grants WHERE {_HERE} AND digest = ? AND kind = ?", (*here, digest, kind)
            if kind is ContentKind.MANIFEST:
                yield f"FROM tags WHERE {_HERE} AND digest = ?", (*here, digest)
                yield f"FROM uses WHERE {_HERE} AND digest = ?", (*here, digest)


def _delete(connection: sqlite3.Connection, repo: RepositoryKey, deletion: Deletion) -> None:
    for rows, values in _rows(repo, deletion):
        connection.execute(f"DELETE {rows}", values)


def _add_edges(connection: sqlite3.Connection, digest: Digest, manifest: Manifest) -> None:
    """Record a manifest, unless it is recorded already: a digest never refers to anything else."""
    values = (digest, manifest.media_type, manifest.artifact_type)
    if connection.execute("INSERT OR IGNORE INTO manifests VALUES (?, ?, ?)", values).rowcount:
        connection.executemany(_ADD_EDGE, _edge_rows(digest, manifest))


def _edge_rows(parent: Digest, manifest: Manifest) -> Iterator[tuple[str | int | None, ...]]:
    subject = () if manifest.subject is None else (manifest.subject,)
    parts = (("manifest", manifest.manifests), ("blob", manifest.blobs), ("subject", subject))
    edges = ((kind, child) for kind, children in parts for child in children)
    for position, (kind, child) in enumerate(edges):
        on = child.platform
        platform = None if on is None else f"{on.os}/{on.architecture}/{on.variant}"
        yield parent, position, kind, child.digest, child.media_type, child.size, platform


def _edges(connection: sqlite3.Connection, digest: Digest) -> Manifest | None:
    row = connection.execute("SELECT media_type, artifact_type FROM manifests WHERE digest = ?", (digest,)).fetchone()
    if row is None:
        return None
    parts: dict[str, list[Descriptor]] = {"manifest": [], "blob": [], "subject": []}
    for kind, child, media_type, size, platform in connection.execute(_EDGES_OF, (digest,)):
        on = None if platform is None else Platform(*platform.split("/", 2))
        parts[kind].append(Descriptor(media_type, Digest(child), size, on))
    return Manifest(row[0], tuple(parts["manifest"]), tuple(parts["blob"]), next(iter(parts["subject"]), None), row[1])
