import asyncio
from collections.abc import Iterable

import pytest

from obol.machine.tasks import spawn
from obol.oci.errors import BLOB_UNKNOWN, MANIFEST_UNKNOWN, UNAVAILABLE, OciError
from obol.oci.mediatypes import OCI_MANIFEST
from obol.oci.references import Digest, Repository, Tag
from obol.registry.control.api import Source
from obol.registry.engine import engine as engine_module
from obol.registry.engine import storedmanifests as stored_module
from obol.registry.engine.answers import HeadAnswer, StoredBlob
from obol.registry.store.ports import ContentKind, Grant, HeldTag, Partial, RepositoryKey, StoreError, transfer_id
from obol.registry.upkeep.inventory import take_inventory
from tests.fakes.content import make_image
from tests.fakes.store import MemoryContent, MemoryMetadata, MemoryStore
from tests.fakes.upstream import FakeUpstream
from tests.unit.registry.world import REPOSITORY, World, world

IMAGE = make_image(500, seed=1, platforms=("linux/amd64", "linux/arm64"))
MOVED = make_image(500, seed=2, platforms=("linux/amd64", "linux/arm64"))
REPO = RepositoryKey("registry.test", REPOSITORY)


def upstream() -> FakeUpstream:
    """An upstream with one tag."""
    one = FakeUpstream()
    one.add(REPOSITORY, "v1", IMAGE)
    return one


async def refused(ask: World, reference: str, *, repository: str = REPOSITORY) -> OciError:
    """Ask for a manifest that will not be given."""
    with pytest.raises(OciError) as refusal:
        await ask.manifest(reference, repository=repository)
    return refusal.value


async def test_single_flight() -> None:
    """A hundred clients who want the same new tag cost one GET."""
    async with world(upstream()) as w:
        gate = w.upstream.gates["get_manifest"] = asyncio.Event()
        clients = [spawn(w.document("v1"), name="client") for _ in range(100)]
        await asyncio.sleep(0.01)
        gate.set()

        assert {answer.digest for answer in await asyncio.gather(*clients)} == {IMAGE.top}
    assert w.upstream.requests == 1


async def test_single_check() -> None:
    """Two hundred clients who come when the tag's time is over cost one HEAD."""
    async with world(upstream(), tag_ttl=60.0) as w:
        await w.document("v1")
        w.clock.advance(61.0)
        await asyncio.gather(*(w.document("v1") for _ in range(200)))

    assert w.upstream.count("head_manifest") == 1


async def test_first_client_leaves() -> None:
    """A client that goes away while a manifest is fetched takes nothing from the others."""
    async with world(upstream()) as w:
        gate = w.upstream.gates["get_manifest"] = asyncio.Event()
        first = spawn(w.document("v1"), name="first")
        await asyncio.sleep(0.001)
        second = spawn(w.document("v1"), name="second")
        await asyncio.sleep(0.001)
        first.cancel()
        gate.set()

        assert (await second).digest == IMAGE.top
    assert w.upstream.requests == 1


async def test_child_of_a_cached_index() -> None:
    """Children of an index come when they are asked for; one that is gone is absent alone."""
    async with world(upstream()) as w:
        await w.document("v1")
        await w.document(IMAGE.children[0])
        w.upstream.remove(REPOSITORY, IMAGE.children[1])

        assert (await refused(w, IMAGE.children[1])).kind is MANIFEST_UNKNOWN
        assert (await w.document("v1")).source is Source.HIT
        assert (await w.document(IMAGE.top)).source is Source.HIT
        assert (await w.document(IMAGE.children[0])).source is Source.HIT


async def test_one_snapshot() -> None:
    """Digest and bytes of one answer belong together, however often the tag moves meanwhile."""
    async with world(upstream(), tag_ttl=0.0) as w:

        async def flip() -> None:
            for image in (MOVED, IMAGE) * 10:
                w.upstream.add(REPOSITORY, "v1", image)
                await asyncio.sleep(0)

        flipping = spawn(flip(), name="flip")
        for _ in range(20):
            for answer in await asyncio.gather(*(w.document("v1") for _ in range(3))):
                assert Digest.of(answer.body) == answer.digest
        await flipping


async def test_blob_is_no_manifest() -> None:
    """The digest of a layer is nothing under /manifests/, and the upstream is not asked."""
    async with world(upstream()) as w:
        await w.document(IMAGE.children[0])
        asked = w.upstream.requests

        assert (await refused(w, IMAGE.layers[0])).kind is MANIFEST_UNKNOWN
        assert w.upstream.requests == asked


async def test_spaces_are_apart() -> None:
    """Two upstreams with the same names never mix, whoever comes first."""
    one, other = FakeUpstream("one.test"), FakeUpstream("other.test")
    one.add("library/x", "1", IMAGE)
    other.add("library/x", "1", MOVED)
    async with world(one, other) as w:
        for _ in range(2):
            first = await w.manifest("1", repository="library/x", scope=w.scopes[0])
            second = await w.manifest("1", repository="library/x", scope=w.scopes[1])
            assert (first.digest, second.digest) == (IMAGE.top, MOVED.top)
        with pytest.raises(OciError):
            await w.manifest(IMAGE.top, repository="library/x", scope=w.scopes[1])


async def test_repositories_are_apart() -> None:
    """A manifest that one repository has is none of another's, though its bytes are held."""
    one = upstream()
    one.add("other/app", None, MOVED)
    async with world(one) as w:
        await w.document("v1")

        assert (await refused(w, IMAGE.top, repository="other/app")).kind is MANIFEST_UNKNOWN


async def test_damaged_content() -> None:
    """A manifest whose stored bytes are lost is fetched again."""
    async with world(upstream()) as w:
        await w.document("v1")
        w.store.content._held.clear()

        again = await w.document("v1")

    assert (again.source, again.body) == (Source.MISS, IMAGE.index.body)


class FailingContent(MemoryContent):
    """A disk on which nothing can be written."""

    async def put(self, digest: Digest, data: bytes) -> None:
        raise StoreError("full", full=True)


class FailingMetadata(MemoryMetadata):
    """An index that fails as told."""

    reading = False
    writing = False

    async def tag(self, repo: RepositoryKey, tag: Tag, variant: str) -> HeldTag | None:
        self._fail(really=self.reading)
        return await super().tag(repo, tag, variant)

    async def set_tag(self, repo: RepositoryKey, held: HeldTag) -> None:
        self._fail(really=self.writing)
        await super().set_tag(repo, held)

    async def used(self, uses: Iterable[tuple[RepositoryKey, Digest]], at: float) -> None:
        self._fail(really=self.writing)
        await super().used(uses, at)

    def _fail(self, *, really: bool) -> None:
        if really:
            raise StoreError("broken")


async def test_full_disk() -> None:
    """A manifest that cannot be kept is served all the same, again and again."""
    metadata = FailingMetadata()
    metadata.writing = True
    async with world(upstream(), store=MemoryStore(FailingContent(), metadata)) as w:
        for _ in range(2):
            assert (await w.document("v1")).body == IMAGE.index.body
        assert isinstance(await w.manifest("v1", head=True), HeadAnswer)


async def test_tag_that_cannot_be_noted() -> None:
    """A known tag whose check cannot be written down is served, and one that moved never moves back."""
    metadata = FailingMetadata()
    async with world(upstream(), store=MemoryStore(metadata=metadata), tag_ttl=60.0) as w:
        await w.document("v1")
        w.clock.advance(61.0)
        w.upstream.add(REPOSITORY, "v1", MOVED)
        metadata.writing = True

        assert [(await w.document("v1")).digest for _ in range(3)] == [MOVED.top] * 3


async def test_broken_index() -> None:
    """An index that cannot be read is 503: the client goes elsewhere."""
    metadata = FailingMetadata()
    metadata.reading = True
    async with world(upstream(), store=MemoryStore(metadata=metadata)) as w:
        assert (await refused(w, "v1")).kind is UNAVAILABLE


async def test_index_grants_its_children() -> None:
    """What a manifest names may be read in its repository, each as what it is."""
    async with world(upstream()) as w:
        await w.document("v1")
        await w.document(IMAGE.children[0])
        repo = RepositoryKey("registry.test", Repository(REPOSITORY))

        child = await w.store.metadata.grant(repo, Digest(IMAGE.children[1]), ContentKind.MANIFEST)
        layer = await w.store.metadata.grant(repo, Digest(IMAGE.layers[0]), ContentKind.BLOB)

    assert child == Grant(
        Digest(IMAGE.children[1]), ContentKind.MANIFEST, OCI_MANIFEST, len(IMAGE.manifests[IMAGE.children[1]].body)
    )
    assert layer == Grant(Digest(IMAGE.layers[0]), ContentKind.BLOB, "", 500)


async def test_manifest_is_no_blob() -> None:
    """The digest of a manifest is nothing under /blobs/, and the upstream is not asked."""
    async with world(upstream()) as w:
        await w.document("v1")
        asked = w.upstream.requests
        for digest in (IMAGE.top, IMAGE.children[1]):
            with pytest.raises(OciError) as refusal:
                await w.blob(digest)
            assert refusal.value.kind is BLOB_UNKNOWN
            with pytest.raises(OciError):
                await w.size(digest)

        assert w.upstream.requests == asked


async def test_layer_that_an_index_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A held layer that some index calls a manifest is not read into memory, nor served as one."""
    monkeypatch.setattr(stored_module, "MAX_MANIFEST", 400)
    digest = Digest(IMAGE.layers[0])
    async with world(upstream()) as w:
        await w.pull(digest)
        await w.idle()
        await w.store.metadata.add_grants(REPO, [Grant(digest, ContentKind.MANIFEST, OCI_MANIFEST, 5)])

        assert (await refused(w, digest)).kind is MANIFEST_UNKNOWN


async def test_uses_are_written_at_the_end() -> None:
    """What was used is written down when the engine closes: once for all uses, by the wall clock."""
    async with world(upstream()) as w:
        for _ in range(10):
            await w.document("v1")
        assert w.store.metadata.uses == {}

    assert w.store.metadata.uses == {(REPO, IMAGE.top): w.clock.wall()}


async def test_uses_are_written_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the engine runs, what was used is written down once in a while, so that a crash loses little."""
    written: list[int] = []
    async with world(upstream()) as w:
        turns = asyncio.Semaphore(0)
        done = asyncio.Event()

        async def sleep(seconds: float) -> None:
            assert seconds == engine_module.USES_EVERY
            done.set()
            await turns.acquire()
            done.clear()

        monkeypatch.setattr(w.clock, "sleep", sleep)
        w.engine.start()
        for _ in range(3):
            await w.document("v1")
            await done.wait()
            turns.release()
            await asyncio.sleep(0.001)
            written.append(len(w.store.metadata.uses))
            w.store.metadata.uses.clear()

    assert written == [1, 1, 1]


async def test_uses_that_cannot_be_written() -> None:
    """An index that cannot be written costs the order of eviction, and nothing else."""
    metadata = FailingMetadata()
    async with world(upstream(), store=MemoryStore(metadata=metadata)) as w:
        await w.document("v1")
        metadata.writing = True


async def test_close_commits_what_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    """A blob that a client has got whole is in the store after the end, though its commit takes time."""
    store = MemoryStore()
    adopt = store.content.adopt

    async def slow(partial: Partial, digest: Digest, size: int) -> None:
        await asyncio.sleep(0.02)
        await adopt(partial, digest, size)

    monkeypatch.setattr(store.content, "adopt", slow)
    digest = Digest(IMAGE.layers[0])
    async with world(upstream(), store=store) as w:
        await w.pull(digest)
        assert w.engine.transfers == 1

    assert await store.content.size(digest) == 500


async def test_close_stops_a_transfer() -> None:
    """An engine that closes in the middle of a transfer leaves no task; what had arrived is kept and resumed."""
    store = MemoryStore()
    one = upstream()
    digest = "sha256:" + "1" * 64
    blob = one.add_blob(REPOSITORY, digest, bytes(5000))
    blob.hold(2000)
    async with world(one, store=store) as w:
        following = await w.blob(digest)
        assert not isinstance(following, StoredBlob)
        with following:
            await following.opened(1999)
            assert w.engine.transfers == 1

    left = await store.partials.open(transfer_id(Digest(digest), "registry.test"))
    assert left.left == 2000


async def test_inventory() -> None:
    """The list of images knows of what was served a moment ago."""
    async with world(upstream()) as w:
        await w.document("v1")

        await w.engine.flush_uses()
        (image,) = (await take_inventory(w.store)).images

        assert (image.tags, image.digest, image.used_at) == (("v1",), IMAGE.top, w.clock.wall())


async def test_heads_for_kinds_that_there_are_not() -> None:
    """A HEAD for a kind of document that a client made up is answered, and leaves no meaning of the tag behind."""
    async with world(upstream()) as w:
        await w.document("v1")
        for number in range(3):
            told = await w.manifest("v1", f"application/vnd.x{number}", head=True)
            assert isinstance(told, HeadAnswer)
            held = await w.store.metadata.tag(REPO, Tag("v1"), f"application/vnd.x{number}")
            assert held is None
