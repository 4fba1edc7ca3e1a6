from contextlib import suppress

import pytest

from obol.oci.errors import BLOB_UNKNOWN, MANIFEST_UNKNOWN, OciError
from obol.oci.references import Digest, Repository
from obol.registry.control.api import Source
from obol.registry.engine.answers import ManifestAnswer, StoredBlob
from obol.registry.engine.grants import Grants
from obol.registry.engine.scopes import Scope
from obol.registry.store.ports import ContentKind, Grant, Provenance, RepositoryKey, StoreError
from obol.registry.upstream.ports import Denied, Unavailable, UpstreamError
from tests.fakes.content import make_image
from tests.fakes.store import MemoryMetadata, MemoryStore
from tests.fakes.upstream import FakeUpstream
from tests.unit.registry.world import REPOSITORY, World, take, world

IMAGE = make_image(500, seed=1)
SECRET = make_image(500, seed=2, index=False)
BLOB = IMAGE.layers[0]
REPO = RepositoryKey("registry.test", REPOSITORY)


def two() -> tuple[FakeUpstream, FakeUpstream]:
    """A registry with an image, and another one whose manifests name its parts without having them."""
    one, other = FakeUpstream("one.test"), FakeUpstream("other.test")
    one.add(REPOSITORY, "v1", IMAGE)
    other.add(REPOSITORY, "v1", IMAGE)
    for digest in (*IMAGE.blobs, *IMAGE.children):
        other.remove(REPOSITORY, digest)
    return one, other


async def pulled(w: World, scope: Scope) -> None:
    """Fetch the whole image from one of the registries."""
    for reference in ("v1", *IMAGE.manifests):
        await w.manifest(reference, scope=scope)
    for digest in IMAGE.blobs:
        await take(await w.blob(digest, scope=scope))
    await w.idle()


async def refused(w: World, digest: str, scope: Scope) -> OciError:
    """Ask for a blob or manifest in vain."""

    async def ask() -> None:
        if digest in IMAGE.blobs:
            await take(await w.blob(digest, scope=scope))
        else:
            await w.manifest(digest, scope=scope)

    with pytest.raises(OciError) as refusal:
        await ask()
    return refusal.value


async def test_a_manifest_does_not_open_what_another_registry_gave() -> None:
    """Content that only another registry gave is asked for at the one whose manifest names it, and refused there."""
    async with world(*two()) as w:
        one, other = w.scopes
        await pulled(w, one)
        await w.manifest("v1", scope=other)

        assert (await refused(w, IMAGE.children[0], other)).kind is MANIFEST_UNKNOWN
        w.upstreams[1].add(REPOSITORY, None, make_image(500, seed=1))
        w.upstreams[1].remove(REPOSITORY, BLOB)
        await w.manifest(IMAGE.children[0], repository=REPOSITORY, scope=one)
        w.clock.advance(10.0)
        await w.manifest(IMAGE.children[0], scope=other)
        assert (await refused(w, BLOB, other)).kind is BLOB_UNKNOWN
        assert w.upstreams[1].count("head_blob", BLOB) == 1


async def test_what_both_registries_have_is_asked_for_once() -> None:
    """Where the other registry says that it has the content, too, it is served from the store from then on."""
    one, other = two()
    other.add(REPOSITORY, "v1", IMAGE)
    async with world(one, other) as w:
        await pulled(w, w.scopes[0])
        for reference in ("v1", *IMAGE.manifests):
            await w.manifest(reference, scope=w.scopes[1])

        for _ in range(3):
            assert isinstance(await w.blob(BLOB, scope=w.scopes[1]), StoredBlob)

        assert other.count("head_blob", BLOB) == 1
        assert other.count("open") == 0


async def test_offline_nothing_is_taken_on_the_word_of_a_manifest() -> None:
    """What was not confirmed while there was a network is refused without one; what was given is served."""
    store = MemoryStore()
    async with world(*two(), store=store) as w:
        await pulled(w, w.scopes[0])
        await w.manifest("v1", scope=w.scopes[1])
    async with world(*two(), store=store, offline=True) as w:
        assert isinstance(await w.blob(BLOB, scope=w.scopes[0]), StoredBlob)
        assert (await refused(w, IMAGE.children[0], w.scopes[1])).problem == "offline"


async def test_revoked_access_ends_the_rights_of_the_repository() -> None:
    """When the registry says that a repository is not for us, its digests are refused, too; others are as before."""
    one = FakeUpstream()
    one.add(REPOSITORY, "v1", IMAGE)
    one.add("team/other", "v1", IMAGE)
    async with world(one, tag_ttl=60.0) as w:
        await pulled(w, w.scope)
        await w.manifest("v1", repository="team/other")
        w.clock.advance(61.0)
        one.head_tells = False
        one.problems["get_manifest"] = Denied("private now", revoked=True)

        for reference in ("v1", IMAGE.top):
            with pytest.raises(OciError) as refusal:
                await w.manifest(reference)
            assert refusal.value.problem == "denied"
        one.problems["head_blob"] = one.problems["open"] = Denied("private now")
        assert (await refused(w, BLOB, w.scope)).problem == "denied"

        other = await w.manifest(IMAGE.top, repository="team/other")
        assert isinstance(other, ManifestAnswer)
        assert other.source is Source.HIT


async def test_access_that_comes_back() -> None:
    """What is held is served again once the registry has given the repository again."""
    one = FakeUpstream()
    one.add(REPOSITORY, "v1", IMAGE)
    async with world(one, tag_ttl=0.0) as w:
        await pulled(w, w.scope)
        one.head_tells = False
        one.problems["get_manifest"] = Denied("private now", revoked=True)
        with pytest.raises(OciError):
            await w.manifest("v1")
        one.problems.clear()
        opened = one.count("open")

        await pulled(w, w.scope)

        assert one.count("open") == opened


@pytest.mark.parametrize("problem", [Denied("a gateway says no"), Unavailable("down")])
async def test_other_trouble_revokes_nothing(problem: UpstreamError) -> None:
    """A refusal that is not the registry's own word on the repository ends no rights."""
    one = FakeUpstream()
    one.add(REPOSITORY, "v1", IMAGE)
    async with world(one, tag_ttl=0.0) as w:
        await pulled(w, w.scope)
        one.head_tells = False
        one.problems["get_manifest"] = problem
        with suppress(OciError):
            await w.manifest("v1")

        assert isinstance(await w.manifest(IMAGE.top), ManifestAnswer)
        assert isinstance(await w.blob(BLOB), StoredBlob)


class Answers:
    """Ready answers; tells what was forgotten of them."""

    def __init__(self) -> None:
        self.gone: list[RepositoryKey | Digest] = []

    def forget(self, gone: RepositoryKey | Digest) -> None:
        self.gone.append(gone)


async def test_ready_answers_are_forgotten() -> None:
    """Of a repository whose grants have ended no answer is given again, nor of content that is to go."""
    grants, answers = Grants(MemoryMetadata()), Answers()
    grants.ready.add(answers)
    grants.ready.add(Answers())

    await grants.revoke(REPO)
    grants.forget(Digest.of(b"1"))

    assert answers.gone == [REPO, Digest.of(b"1")]
    assert len(grants.ready) == 1


class FullNames(MemoryMetadata):
    """Names on a disk that is full."""

    async def revoke(self, repo: RepositoryKey) -> bool:
        raise StoreError("full")


async def test_a_disk_that_fails_is_no_matter_of_the_client() -> None:
    """The refusal goes out all the same; the next check says so again."""
    await Grants(FullNames()).revoke(REPO)


async def test_what_was_given_is_kept_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked up once, until there are too many, and anew when it is given again."""
    monkeypatch.setattr("obol.registry.engine.grants.REMEMBERED", 1)
    metadata = MemoryMetadata()
    grants = Grants(metadata)
    one, other = Digest.of(b"1"), Digest.of(b"2")
    assert await grants.provenance(REPO, one) is None
    await grants.add(REPO, [Grant(one, ContentKind.BLOB, "", None)], Provenance(one, ""))
    await grants.add(REPO, [], Provenance(other, ""))
    assert (await grants.provenance(REPO, one), await grants.provenance(REPO, other)) == ("", "")

    await grants.add(REPO, [], Provenance(other, "application/x"))

    assert await grants.provenance(REPO, other) == "application/x"
    assert await grants.find(RepositoryKey("registry.test", Repository("team/none")), one, ContentKind.BLOB) is None


async def test_a_blob_that_was_read_is_not_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stored blob is read again without the index; no longer where its repository is revoked, or it is gone."""
    one = FakeUpstream()
    one.add(REPOSITORY, "v1", IMAGE)
    async with world(one) as w:
        await w.pull(BLOB)
        await w.idle()
        assert isinstance(await w.blob(BLOB), StoredBlob)
        looked = w.engine.grants.metadata.grant

        async def fail(*_: object) -> None:
            raise StoreError("the index is away")

        monkeypatch.setattr(w.engine.grants.metadata, "grant", fail)
        assert isinstance(await w.blob(BLOB), StoredBlob)
        monkeypatch.setattr(w.engine.grants.metadata, "grant", looked)
        await w.engine.grants.revoke(REPO)
        one.problems["head_blob"] = Denied("not for you")

        with pytest.raises(OciError):
            await w.blob(BLOB)


async def test_grants_that_end_while_a_blob_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was looked up before grants ended is not remembered after it."""
    one = FakeUpstream()
    one.add(REPOSITORY, "v1", IMAGE)
    async with world(one) as w:
        await w.pull(BLOB)
        await w.idle()
        opened = w.store.content.open

        async def slowly(digest: Digest) -> object:
            await w.engine.grants.revoke(REPO)
            return await opened(digest)

        with monkeypatch.context() as patch:
            patch.setattr(w.store.content, "open", slowly)
            assert isinstance(await w.blob(BLOB), StoredBlob)
        one.problems["head_blob"] = Denied("not for you")

        with pytest.raises(OciError):
            await w.blob(BLOB)
