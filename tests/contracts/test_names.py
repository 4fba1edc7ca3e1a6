from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from obol.oci.references import Digest, Repository, Tag
from obol.registry.store.ports import HeldTag, Kind, KnownManifest, Place, Right

if TYPE_CHECKING:
    from obol.registry.store.ports import Stores

ALPINE = Place("docker.io", Repository("library/alpine"))
BUSYBOX = Place("docker.io", Repository("library/busybox"))
ELSEWHERE = Place("ghcr.io", Repository("library/alpine"))
INDEX = "application/vnd.oci.image.index.v1+json"
ONE, TWO, THREE = Digest.of(b"1"), Digest.of(b"2", "sha512"), Digest.of(b"3")
LATEST = HeldTag(Tag("latest"), "", ONE, INDEX, 1000.5)


async def test_no_tag(store: Stores) -> None:
    """A tag that was never asked for is not known."""
    assert await store.names.tag(ALPINE, Tag("latest"), "") is None
    assert await store.names.known() == []


async def test_point(store: Stores) -> None:
    """A tag is known in its place and variant only, exactly as it was given."""
    await store.names.point(ALPINE, LATEST)

    assert await store.names.tag(ALPINE, Tag("latest"), "") == LATEST
    assert await store.names.tag(ALPINE, Tag("Latest"), "") is None
    assert await store.names.tag(ALPINE, Tag("latest"), "oci-index") is None
    assert await store.names.tag(BUSYBOX, Tag("latest"), "") is None
    assert await store.names.tag(ELSEWHERE, Tag("latest"), "") is None


@pytest.mark.parametrize(
    "later",
    [replace(LATEST, digest=TWO, checked_at=2000.0), replace(LATEST, checked_at=2000.0), replace(LATEST, checked_at=1)],
    ids=["moved", "checked", "clock went back"],
)
async def test_point_again(store: Stores, later: HeldTag) -> None:
    """What a tag was told last is what it means."""
    await store.names.point(ALPINE, LATEST)

    await store.names.point(ALPINE, later)

    assert await store.names.tag(ALPINE, Tag("latest"), "") == later
    assert await store.names.known() == [KnownManifest(ALPINE, later.digest, later, None)]


async def test_known(store: Stores) -> None:
    """All tags are listed by space, repository and name, with the time when what they mean was last served."""
    other = replace(LATEST, tag=Tag("3.20"))
    variant = replace(LATEST, variant="oci-index", digest=TWO)
    for place, held in ((ELSEWHERE, LATEST), (BUSYBOX, LATEST), (ALPINE, variant), (ALPINE, LATEST), (ALPINE, other)):
        await store.names.point(place, held)

    await store.names.used([(ALPINE, ONE), (ELSEWHERE, TWO)], 5.0)
    await store.names.used([(ALPINE, ONE)], 4.0)

    tagged = [known for known in await store.names.known() if known.held is not None]

    assert tagged == [
        KnownManifest(ALPINE, ONE, other, 5.0),
        KnownManifest(ALPINE, ONE, LATEST, 5.0),
        KnownManifest(ALPINE, TWO, variant, None),
        KnownManifest(BUSYBOX, ONE, LATEST, None),
        KnownManifest(ELSEWHERE, ONE, LATEST, None),
    ]


async def test_used_without_a_tag(store: Stores) -> None:
    """What was served by its digest only, or by a tag that has moved on, is listed behind the tags of all places."""
    await store.names.point(ALPINE, LATEST)
    await store.names.used([(ELSEWHERE, TWO), (ALPINE, TWO), (ALPINE, ONE)], 7.0)
    await store.names.point(ALPINE, replace(LATEST, digest=THREE))

    assert await store.names.known() == [
        KnownManifest(ALPINE, THREE, replace(LATEST, digest=THREE), None),
        *(KnownManifest(ALPINE, digest, None, 7.0) for digest in sorted((ONE, TWO))),
        KnownManifest(ELSEWHERE, TWO, None, 7.0),
    ]


async def test_right(store: Stores) -> None:
    """A right holds for its digest, kind and place only."""
    manifest = Right(ONE, Kind.MANIFEST, INDEX, 500)
    blob = Right(TWO, Kind.BLOB, "", None)

    await store.names.grant(ALPINE, [manifest, blob])

    assert await store.names.right(ALPINE, ONE, Kind.MANIFEST) == manifest
    assert await store.names.right(ALPINE, TWO, Kind.BLOB) == blob
    assert await store.names.right(ALPINE, ONE, Kind.BLOB) is None
    assert await store.names.right(ALPINE, TWO, Kind.MANIFEST) is None
    assert await store.names.right(BUSYBOX, ONE, Kind.MANIFEST) is None
    assert await store.names.right(ELSEWHERE, ONE, Kind.MANIFEST) is None


async def test_both_kinds(store: Stores) -> None:
    """A digest may be a manifest and a blob in the same place."""
    rights = [Right(ONE, Kind.MANIFEST, INDEX, 1), Right(ONE, Kind.BLOB, "", 1)]

    await store.names.grant(ALPINE, rights)

    assert [await store.names.right(ALPINE, ONE, right.kind) for right in rights] == rights


async def test_known_size_stays(store: Stores) -> None:
    """A known size is not replaced by an unknown one, but by another."""
    await store.names.grant(ALPINE, [Right(ONE, Kind.BLOB, "", None)])
    await store.names.grant(ALPINE, [Right(ONE, Kind.BLOB, "", 7)])
    await store.names.grant(ALPINE, [Right(ONE, Kind.BLOB, "", None)])
    kept = await store.names.right(ALPINE, ONE, Kind.BLOB)
    await store.names.grant(ALPINE, [Right(ONE, Kind.BLOB, "", 8)])

    assert kept == Right(ONE, Kind.BLOB, "", 7)
    assert await store.names.right(ALPINE, ONE, Kind.BLOB) == Right(ONE, Kind.BLOB, "", 8)


async def test_grant_many(store: Stores) -> None:
    """A manifest may name thousands of layers, the same one more than once; nothing at all is fine too."""
    rights = [Right(Digest.of(b"%d" % (number % 1500)), Kind.BLOB, "", number % 1500) for number in range(2000)]

    await store.names.grant(ALPINE, rights)
    await store.names.grant(ALPINE, [])

    for right in (rights[0], rights[1499], rights[-1]):
        assert await store.names.right(ALPINE, right.digest, Kind.BLOB) == right


async def test_used(store: Stores) -> None:
    """Uses are recorded for what is known and for what is not."""
    await store.names.grant(ALPINE, [Right(ONE, Kind.MANIFEST, INDEX, 5)])

    await store.names.used([(ALPINE, ONE), (BUSYBOX, TWO), (ALPINE, ONE)], 12.5)
    await store.names.used([], 13.0)

    assert await store.names.right(ALPINE, ONE, Kind.MANIFEST) == Right(ONE, Kind.MANIFEST, INDEX, 5)


async def test_given(store: Stores) -> None:
    """What an upstream gave is known for all of its repositories and for no other upstream; a right does not say so."""
    blob, manifest = Right(ONE, Kind.BLOB, "", 5), Right(THREE, Kind.MANIFEST, INDEX, 7)
    await store.names.grant(ALPINE, [blob, Right(TWO, Kind.BLOB, "", None)], ONE)
    await store.names.grant(BUSYBOX, [blob, manifest], THREE)

    assert await store.names.given("docker.io", ONE) == ""
    assert await store.names.given("docker.io", THREE) == INDEX
    assert await store.names.given("docker.io", TWO) is None
    assert await store.names.given("ghcr.io", ONE) is None


async def test_given_again(store: Stores) -> None:
    """What was given as a manifest stays one; what was confirmed as a blob may turn out to be one."""
    manifest = Right(ONE, Kind.MANIFEST, INDEX, 7)
    await store.names.grant(ALPINE, [], ONE)
    await store.names.grant(ALPINE, [manifest], ONE)
    await store.names.grant(ALPINE, [], ONE)

    assert await store.names.given("docker.io", ONE) == INDEX


async def test_revoke(store: Stores) -> None:
    """A place loses its tags and rights; other places, and what was given, stay."""
    for place in (ALPINE, BUSYBOX, ELSEWHERE):
        await store.names.point(place, LATEST)
        await store.names.grant(place, [Right(ONE, Kind.MANIFEST, INDEX, 7)], ONE)

    assert await store.names.revoke(ALPINE)

    assert await store.names.tag(ALPINE, LATEST.tag, "") is None
    assert await store.names.right(ALPINE, ONE, Kind.MANIFEST) is None
    assert await store.names.given("docker.io", ONE) == INDEX
    for place in (BUSYBOX, ELSEWHERE):
        assert await store.names.tag(place, LATEST.tag, "") == LATEST
        assert await store.names.right(place, ONE, Kind.MANIFEST) is not None
    assert not await store.names.revoke(ALPINE)


async def test_revoked_and_granted(store: Stores) -> None:
    """What comes after the end of all rights counts."""
    await store.names.grant(ALPINE, [Right(ONE, Kind.BLOB, "", 5)], ONE)
    await store.names.revoke(ALPINE)

    await store.names.grant(ALPINE, [Right(ONE, Kind.BLOB, "", 5)], ONE)

    assert await store.names.right(ALPINE, ONE, Kind.BLOB) is not None
