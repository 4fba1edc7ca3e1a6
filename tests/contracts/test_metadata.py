from dataclasses import replace

import pytest

from obol.oci.manifests import Descriptor, Manifest, Platform
from obol.oci.references import Digest, Repository, Tag
from obol.registry.store.ports import ContentKind, Grant, HeldTag, KnownManifest, Provenance, RepositoryKey, Store

ALPINE = RepositoryKey("docker.io", Repository("library/alpine"))
BUSYBOX = RepositoryKey("docker.io", Repository("library/busybox"))
ELSEWHERE = RepositoryKey("ghcr.io", Repository("library/alpine"))
INDEX = "application/vnd.oci.image.index.v1+json"
ONE, TWO, THREE = Digest.of(b"1"), Digest.of(b"2", "sha512"), Digest.of(b"3")
LATEST = HeldTag(Tag("latest"), "", ONE, INDEX, 1000.5)


async def test_no_tag(store: Store) -> None:
    """A tag that was never asked for is not known."""
    assert await store.metadata.tag(ALPINE, Tag("latest"), "") is None
    assert await store.metadata.known() == []


async def test_set_tag(store: Store) -> None:
    """A tag is known in its repository and variant only, exactly as it was given."""
    await store.metadata.set_tag(ALPINE, LATEST)

    assert await store.metadata.tag(ALPINE, Tag("latest"), "") == LATEST
    assert await store.metadata.tag(ALPINE, Tag("Latest"), "") is None
    assert await store.metadata.tag(ALPINE, Tag("latest"), "oci-index") is None
    assert await store.metadata.tag(BUSYBOX, Tag("latest"), "") is None
    assert await store.metadata.tag(ELSEWHERE, Tag("latest"), "") is None


@pytest.mark.parametrize(
    "later",
    [replace(LATEST, digest=TWO, checked_at=2000.0), replace(LATEST, checked_at=2000.0), replace(LATEST, checked_at=1)],
    ids=["moved", "checked", "clock went back"],
)
async def test_set_tag_again(store: Store, later: HeldTag) -> None:
    """What a tag was told last is what it means."""
    await store.metadata.set_tag(ALPINE, LATEST)

    await store.metadata.set_tag(ALPINE, later)

    assert await store.metadata.tag(ALPINE, Tag("latest"), "") == later
    assert await store.metadata.known() == [KnownManifest(ALPINE, later.digest, later, None)]


async def test_known(store: Store) -> None:
    """All tags are listed by space, repository and name, with the time when what they mean was last served."""
    other = replace(LATEST, tag=Tag("3.20"))
    variant = replace(LATEST, variant="oci-index", digest=TWO)
    for repo, held in ((ELSEWHERE, LATEST), (BUSYBOX, LATEST), (ALPINE, variant), (ALPINE, LATEST), (ALPINE, other)):
        await store.metadata.set_tag(repo, held)

    await store.metadata.used([(ALPINE, ONE), (ELSEWHERE, TWO)], 5.0)
    await store.metadata.used([(ALPINE, ONE)], 4.0)

    tagged = [known for known in await store.metadata.known() if known.held is not None]

    assert tagged == [
        KnownManifest(ALPINE, ONE, other, 5.0),
        KnownManifest(ALPINE, ONE, LATEST, 5.0),
        KnownManifest(ALPINE, TWO, variant, None),
        KnownManifest(BUSYBOX, ONE, LATEST, None),
        KnownManifest(ELSEWHERE, ONE, LATEST, None),
    ]


async def test_used_without_a_tag(store: Store) -> None:
    """What was served by its digest only, or by a tag that has moved on, is listed behind all tags."""
    await store.metadata.set_tag(ALPINE, LATEST)
    await store.metadata.used([(ELSEWHERE, TWO), (ALPINE, TWO), (ALPINE, ONE)], 7.0)
    await store.metadata.set_tag(ALPINE, replace(LATEST, digest=THREE))

    assert await store.metadata.known() == [
        KnownManifest(ALPINE, THREE, replace(LATEST, digest=THREE), None),
        *(KnownManifest(ALPINE, digest, None, 7.0) for digest in sorted((ONE, TWO))),
        KnownManifest(ELSEWHERE, TWO, None, 7.0),
    ]


async def test_right(store: Store) -> None:
    """A grant holds for its digest, kind and repository only."""
    manifest = Grant(ONE, ContentKind.MANIFEST, INDEX, 500)
    blob = Grant(TWO, ContentKind.BLOB, "", None)

    await store.metadata.add_grants(ALPINE, [manifest, blob])

    assert await store.metadata.grant(ALPINE, ONE, ContentKind.MANIFEST) == manifest
    assert await store.metadata.grant(ALPINE, TWO, ContentKind.BLOB) == blob
    assert await store.metadata.grant(ALPINE, ONE, ContentKind.BLOB) is None
    assert await store.metadata.grant(ALPINE, TWO, ContentKind.MANIFEST) is None
    assert await store.metadata.grant(BUSYBOX, ONE, ContentKind.MANIFEST) is None
    assert await store.metadata.grant(ELSEWHERE, ONE, ContentKind.MANIFEST) is None


async def test_both_kinds(store: Store) -> None:
    """A digest may be a manifest and a blob in the same repository."""
    grants = [Grant(ONE, ContentKind.MANIFEST, INDEX, 1), Grant(ONE, ContentKind.BLOB, "", 1)]

    await store.metadata.add_grants(ALPINE, grants)

    assert [await store.metadata.grant(ALPINE, ONE, grant.kind) for grant in grants] == grants


async def test_known_size_stays(store: Store) -> None:
    """A known size is not replaced by an unknown one, but by another."""
    await store.metadata.add_grants(ALPINE, [Grant(ONE, ContentKind.BLOB, "", None)])
    await store.metadata.add_grants(ALPINE, [Grant(ONE, ContentKind.BLOB, "", 7)])
    await store.metadata.add_grants(ALPINE, [Grant(ONE, ContentKind.BLOB, "", None)])
    kept = await store.metadata.grant(ALPINE, ONE, ContentKind.BLOB)
    await store.metadata.add_grants(ALPINE, [Grant(ONE, ContentKind.BLOB, "", 8)])

    assert kept == Grant(ONE, ContentKind.BLOB, "", 7)
    assert await store.metadata.grant(ALPINE, ONE, ContentKind.BLOB) == Grant(ONE, ContentKind.BLOB, "", 8)


async def test_grant_many(store: Store) -> None:
    """A manifest may name thousands of layers, the same one more than once; nothing at all is fine too."""
    grants = [Grant(Digest.of(b"%d" % (number % 1500)), ContentKind.BLOB, "", number % 1500) for number in range(2000)]

    await store.metadata.add_grants(ALPINE, grants)
    await store.metadata.add_grants(ALPINE, [])

    for grant in (grants[0], grants[1499], grants[-1]):
        assert await store.metadata.grant(ALPINE, grant.digest, ContentKind.BLOB) == grant


async def test_used(store: Store) -> None:
    """Uses are recorded for what is known and for what is not."""
    await store.metadata.add_grants(ALPINE, [Grant(ONE, ContentKind.MANIFEST, INDEX, 5)])

    await store.metadata.used([(ALPINE, ONE), (BUSYBOX, TWO), (ALPINE, ONE)], 12.5)
    await store.metadata.used([], 13.0)

    assert await store.metadata.grant(ALPINE, ONE, ContentKind.MANIFEST) == Grant(ONE, ContentKind.MANIFEST, INDEX, 5)


async def test_given(store: Store) -> None:
    """What an upstream gave is known for all of its repositories and for no other upstream; a grant does not say so."""
    blob, manifest = Grant(ONE, ContentKind.BLOB, "", 5), Grant(THREE, ContentKind.MANIFEST, INDEX, 7)
    await store.metadata.add_grants(ALPINE, [blob, Grant(TWO, ContentKind.BLOB, "", None)], Provenance(ONE, ""))
    await store.metadata.add_grants(BUSYBOX, [blob, manifest], Provenance(THREE, INDEX))

    assert await store.metadata.provenance("docker.io", ONE) == ""
    assert await store.metadata.provenance("docker.io", THREE) == INDEX
    assert await store.metadata.provenance("docker.io", TWO) is None
    assert await store.metadata.provenance("ghcr.io", ONE) is None


async def test_given_again(store: Store) -> None:
    """What was given as a manifest stays one; what was confirmed as a blob may turn out to be one."""
    manifest = Grant(ONE, ContentKind.MANIFEST, INDEX, 7)
    await store.metadata.add_grants(ALPINE, [], Provenance(ONE, ""))
    await store.metadata.add_grants(ALPINE, [manifest], Provenance(ONE, INDEX))
    await store.metadata.add_grants(ALPINE, [], Provenance(ONE, ""))

    assert await store.metadata.provenance("docker.io", ONE) == INDEX


async def test_revoke(store: Store) -> None:
    """A repository loses its tags and grants; other repositories, and what was given, stay."""
    for repo in (ALPINE, BUSYBOX, ELSEWHERE):
        await store.metadata.set_tag(repo, LATEST)
        await store.metadata.add_grants(repo, [Grant(ONE, ContentKind.MANIFEST, INDEX, 7)], Provenance(ONE, INDEX))

    assert await store.metadata.revoke(ALPINE)

    assert await store.metadata.tag(ALPINE, LATEST.tag, "") is None
    assert await store.metadata.grant(ALPINE, ONE, ContentKind.MANIFEST) is None
    assert await store.metadata.provenance("docker.io", ONE) == INDEX
    for repo in (BUSYBOX, ELSEWHERE):
        assert await store.metadata.tag(repo, LATEST.tag, "") == LATEST
        assert await store.metadata.grant(repo, ONE, ContentKind.MANIFEST) is not None
    assert not await store.metadata.revoke(ALPINE)


async def test_revoked_and_granted(store: Store) -> None:
    """What comes after the end of all grants counts."""
    await store.metadata.add_grants(ALPINE, [Grant(ONE, ContentKind.BLOB, "", 5)], Provenance(ONE, ""))
    await store.metadata.revoke(ALPINE)

    await store.metadata.add_grants(ALPINE, [Grant(ONE, ContentKind.BLOB, "", 5)], Provenance(ONE, ""))

    assert await store.metadata.grant(ALPINE, ONE, ContentKind.BLOB) is not None


async def test_delete_tag(store: Store) -> None:
    """A tag means nothing any more in any variant; other tags and grants stay, and it may be set again."""
    other = replace(LATEST, tag=Tag("3.20"))
    for held in (LATEST, replace(LATEST, variant="oci-index"), other):
        await store.metadata.set_tag(ALPINE, held)
    await store.metadata.set_tag(BUSYBOX, LATEST)
    await store.metadata.add_grants(ALPINE, [Grant(ONE, ContentKind.MANIFEST, INDEX, 7)], Provenance(ONE, INDEX))

    assert await store.metadata.delete_tag(ALPINE, LATEST.tag)

    assert not await store.metadata.delete_tag(ALPINE, LATEST.tag)
    assert [known.held for known in await store.metadata.known()] == [other, LATEST]
    assert await store.metadata.grant(ALPINE, ONE, ContentKind.MANIFEST) is not None
    await store.metadata.set_tag(ALPINE, LATEST)
    assert await store.metadata.tag(ALPINE, LATEST.tag, "") == LATEST


@pytest.mark.parametrize("kind", list(ContentKind))
async def test_delete_grant(store: Store, kind: ContentKind) -> None:
    """A grant goes for its kind and repository; a manifest's takes the tags that mean it along."""
    for repo in (ALPINE, BUSYBOX):
        await store.metadata.add_grants(repo, [Grant(ONE, one, "", 7) for one in ContentKind])
        await store.metadata.set_tag(repo, LATEST)
        await store.metadata.used([(repo, ONE)], 5.0)

    assert await store.metadata.delete_grant(ALPINE, ONE, kind)

    assert not await store.metadata.delete_grant(ALPINE, ONE, kind)
    for one in ContentKind:
        assert (await store.metadata.grant(ALPINE, ONE, one) is None) == (one is kind)
        assert await store.metadata.grant(BUSYBOX, ONE, one) is not None
    known = [one.repo for one in await store.metadata.known()]
    assert known == ([BUSYBOX] if kind is ContentKind.MANIFEST else [ALPINE, BUSYBOX])


EDGES = Manifest(
    INDEX,
    (Descriptor(INDEX, TWO, 5, Platform("linux", "arm", "v7")), Descriptor("", TWO, 5, Platform("unknown", ""))),
    (Descriptor("text/plain", THREE, 2**62), Descriptor("", THREE, 0)),
    Descriptor(INDEX, ONE, 9),
    "application/x",
)


@pytest.mark.parametrize("manifest", [EDGES, Manifest(INDEX, (), (), None, "")], ids=["all", "none"])
async def test_edges(store: Store, manifest: Manifest) -> None:
    """What a manifest refers to is given back as it was recorded, in order, and recorded once."""
    assert await store.metadata.edges(ONE) is None
    await store.metadata.add_grants(
        ALPINE, [Grant(ONE, ContentKind.MANIFEST, INDEX, 7)], Provenance(ONE, INDEX), manifest
    )
    await store.metadata.add_edges(TWO, manifest)
    await store.metadata.add_edges(TWO, EDGES)

    assert await store.metadata.edges(ONE) == manifest
    assert await store.metadata.edges(TWO) == manifest
    assert await store.metadata.edges(THREE) is None


async def test_without_edges(store: Store) -> None:
    """Manifests that are held and whose edges were never recorded are told, each once, with a type."""
    await store.content.put(ONE, b"1")
    await store.content.put(TWO, b"2")
    for repo in (ALPINE, ELSEWHERE):
        grants = [Grant(ONE, ContentKind.MANIFEST, INDEX, 1), Grant(TWO, ContentKind.BLOB, "", 1)]
        await store.metadata.add_grants(repo, grants)

    assert await store.metadata.without_edges() == [(ONE, INDEX)]

    await store.metadata.add_edges(ONE, EDGES)
    assert await store.metadata.without_edges() == []
