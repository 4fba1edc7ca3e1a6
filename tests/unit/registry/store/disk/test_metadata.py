import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from obol.oci.references import Digest, Repository, Tag
from obol.registry.store.disk.opening import DiskStore, open_store
from obol.registry.store.ports import ContentKind, Grant, HeldTag, Provenance, RepositoryKey, StoreError

ALPINE = RepositoryKey("docker.io", Repository("library/alpine"))
LATEST = HeldTag(Tag("latest"), "", Digest.of(b"1"), "application/json", 5.5)
MANIFEST = Grant(Digest.of(b"1"), ContentKind.MANIFEST, "application/json", 500)
RECEIVED = Provenance(MANIFEST.digest, MANIFEST.media_type)
BLOB = Grant(Digest.of(b"2"), ContentKind.BLOB, "", None)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[DiskStore]:
    """An empty store."""
    opened = open_store(tmp_path / "store", busy_timeout=0.05)
    yield opened
    await opened.close()


def lines(store: DiskStore) -> int:
    """The number of lines in the journal."""
    return (store.root / "names.jsonl").read_bytes().count(b"\n")


async def test_only_changes_are_written_down(store: DiskStore) -> None:
    """A tag that was found unchanged, or a right that is known already, adds nothing to the journal."""
    await store.metadata.set_tag(ALPINE, LATEST)
    await store.metadata.add_grants(ALPINE, [MANIFEST, BLOB])
    before = lines(store)

    await store.metadata.set_tag(ALPINE, replace(LATEST, checked_at=99.0))
    await store.metadata.add_grants(ALPINE, [MANIFEST, BLOB])
    await store.metadata.add_grants(ALPINE, [structs.replace(MANIFEST, size=None)])
    unchanged = lines(store)
    await store.metadata.set_tag(ALPINE, replace(LATEST, digest=Digest.of(b"2")))
    await store.metadata.add_grants(ALPINE, [structs.replace(BLOB, size=7), MANIFEST])

    assert (before, unchanged, lines(store)) == (2, 2, 4)


async def test_uses(store: DiskStore) -> None:
    """The latest use of each manifest is kept."""
    await store.metadata.used([(ALPINE, MANIFEST.digest), (ALPINE, BLOB.digest)], 5.0)
    await store.metadata.used([(ALPINE, MANIFEST.digest)], 9.0)
    await store.metadata.used([(ALPINE, BLOB.digest)], 3.0)
    await store.close()

    with closing(sqlite3.connect(store.root / "index.sqlite")) as connection:
        found = dict(connection.execute("SELECT digest, used_at FROM uses").fetchall())
    assert found == {MANIFEST.digest: 9.0, BLOB.digest: 5.0}


async def test_nothing_used(store: DiskStore) -> None:
    """No uses are no write: a foreign lock does not matter."""
    with closing(sqlite3.connect(store.root / "index.sqlite", isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")

        await store.metadata.used([], 1.0)
        with pytest.raises(StoreError, match="locked"):
            await store.metadata.set_tag(ALPINE, LATEST)

    await store.metadata.set_tag(ALPINE, LATEST)


@pytest.mark.parametrize("clean", [True, False])
async def test_rebuilt(store: DiskStore, *, clean: bool) -> None:
    """When the index is lost or damaged, tags, rights and content are there as before."""
    await store.content.put(LATEST.digest, b"1")
    await store.metadata.set_tag(ALPINE, replace(LATEST, digest=Digest.of(b"2")))
    await store.metadata.set_tag(ALPINE, LATEST)
    await store.metadata.add_grants(ALPINE, [MANIFEST, structs.replace(BLOB, size=7)])
    await store.metadata.add_grants(ALPINE, [BLOB])
    await store.close()
    index = store.root / "index.sqlite"
    index.unlink() if clean else index.write_bytes(b"\0" * 9000)

    again = open_store(store.root)

    assert [known.held for known in await again.metadata.known()] == [LATEST]
    assert await again.metadata.grant(ALPINE, MANIFEST.digest, ContentKind.MANIFEST) == MANIFEST
    assert await again.metadata.grant(ALPINE, BLOB.digest, ContentKind.BLOB) == structs.replace(BLOB, size=7)
    assert await again.content.size(LATEST.digest) == 1
    await again.close()


async def test_rebuilt_while_open(store: DiskStore) -> None:
    """Content that is served after a repair has been read again: the damage may not have been the index's alone."""
    good, bad = Digest.of(b"good"), Digest.of(b"bad")
    await store.content.put(good, b"good")
    await store.content.put(bad, b"bad")
    await store.metadata.set_tag(ALPINE, LATEST)
    (store.root / "blobs" / "sha256" / bad.hex[:2] / bad.hex).write_bytes(b"BAD")
    store.metadata._database.close()
    (store.root / "index.sqlite").write_bytes(b"\0" * 9000)

    assert await store.metadata.tag(ALPINE, Tag("latest"), "") == LATEST

    readable = await store.content.open(good)
    assert readable is not None
    readable.close()
    assert await store.content.open(bad) is None


async def test_compaction(store: DiskStore) -> None:
    """A journal that has become much larger than the index is rewritten at the next start, and says the same."""
    journal = store.root / "names.jsonl"
    await store.metadata.set_tag(ALPINE, LATEST)
    await store.metadata.add_grants(ALPINE, [MANIFEST])
    await store.metadata.add_grants(RepositoryKey("ghcr.io", Repository("a")), [BLOB])
    await store.close()
    line = journal.read_bytes().splitlines(keepends=True)[0]
    with journal.open("ab") as file:
        file.write(line * 2000)

    for _ in range(2):
        again = open_store(store.root)
        assert lines(again) == 3
        assert [known.held for known in await again.metadata.known()] == [LATEST]
        await again.close()
        (store.root / "index.sqlite").unlink()


async def test_odd_rows(store: DiskStore) -> None:
    """A digest that somebody wrote into the index by hand and that is none is passed over."""
    await store.metadata.set_tag(ALPINE, LATEST)
    with closing(sqlite3.connect(store.root / "index.sqlite")) as connection, connection:
        connection.execute("UPDATE tags SET digest = 'sha256:../../../etc/passwd'")

    assert await store.metadata.tag(ALPINE, Tag("latest"), "") is None
    assert await store.metadata.known() == []


async def lost(store: DiskStore) -> DiskStore:
    """The store after its index was lost."""
    await store.close()
    (store.root / "index.sqlite").unlink()
    return open_store(store.root)


async def test_what_was_given_and_revoked_survives_a_repair(store: DiskStore) -> None:
    """A grant that ended does not come back with the journal, and what was given is given."""
    await store.content.put(MANIFEST.digest, b"1")
    await store.metadata.add_grants(ALPINE, [MANIFEST, BLOB], RECEIVED)
    await store.metadata.revoke(ALPINE)
    before = lines(store)
    await store.metadata.revoke(ALPINE)
    await store.metadata.add_grants(ALPINE, [], RECEIVED)
    assert lines(store) == before

    again = await lost(store)

    assert await again.metadata.grant(ALPINE, MANIFEST.digest, ContentKind.MANIFEST) is None
    assert await again.metadata.provenance("docker.io", MANIFEST.digest) == "application/json"
    assert await again.metadata.provenance("docker.io", BLOB.digest) is None
    await again.close()


async def test_what_was_deleted_survives_a_repair(store: DiskStore) -> None:
    """Tags and grants that were deleted do not come back with the journal; what was deleted twice is written once."""
    await store.metadata.add_grants(ALPINE, [MANIFEST, BLOB])
    for tag in ("1", "2"):
        await store.metadata.set_tag(ALPINE, replace(LATEST, tag=Tag(tag), digest=MANIFEST.digest))
    other = replace(LATEST, digest=Digest.of(b"9"))
    await store.metadata.set_tag(ALPINE, other)
    await store.metadata.delete_tag(ALPINE, Tag("1"))
    await store.metadata.delete_grant(ALPINE, MANIFEST.digest, ContentKind.MANIFEST)
    before = lines(store)
    await store.metadata.delete_tag(ALPINE, Tag("1"))
    assert lines(store) == before

    again = await lost(store)

    assert [known.held for known in await again.metadata.known()] == [other]
    assert await again.metadata.grant(ALPINE, MANIFEST.digest, ContentKind.MANIFEST) is None
    assert await again.metadata.grant(ALPINE, BLOB.digest, ContentKind.BLOB) == BLOB
    await again.close()


async def test_a_rewritten_journal_knows_what_was_given(store: DiskStore) -> None:
    """Also after the journal was made shorter."""
    await store.metadata.add_grants(ALPINE, [MANIFEST], RECEIVED)
    await store.close()
    journal = store.root / "names.jsonl"
    with journal.open("ab") as file:
        file.write(journal.read_bytes() * 2000)
    await open_store(store.root).close()
    assert lines(store) == 2

    again = await lost(open_store(store.root))

    assert await again.metadata.provenance("docker.io", MANIFEST.digest) == "application/json"
    await again.close()


async def test_a_journal_from_before(store: DiskStore) -> None:
    """Where nothing was written down of what was given, what is held and may be read counts as given."""
    await store.content.put(MANIFEST.digest, b"1")
    await store.metadata.add_grants(ALPINE, [MANIFEST, BLOB])

    again = await lost(store)

    assert await again.metadata.provenance("docker.io", MANIFEST.digest) == ""
    assert await again.metadata.provenance("docker.io", BLOB.digest) is None
    await again.close()
