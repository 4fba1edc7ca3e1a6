"""What a manifest refers to is known from its edges, or read once and recorded."""

import pytest

from obol.oci.manifests import MAX_MANIFEST, parse_manifest
from obol.oci.references import Digest, Repository
from obol.registry.store.ports import ContentKind, Grant, RepositoryKey
from obol.registry.upkeep.graph import Graph
from tests.fakes.content import make_image
from tests.fakes.store import MemoryStore

APP = RepositoryKey("docker.io", Repository("library/app"))
IMAGE = make_image(10, platforms=("linux/amd64", "linux/arm64"))
INDEX = IMAGE.index.media_type
TOP = Digest(IMAGE.top)
ARTIFACT = "application/vnd.artifact+json"


async def held(body: bytes, media_type: str) -> tuple[MemoryStore, Digest]:
    """A store with a manifest whose edges were not recorded."""
    store, digest = MemoryStore(), Digest.of(body)
    await store.content.put(digest, body)
    await store.metadata.add_grants(APP, [Grant(digest, ContentKind.MANIFEST, media_type, len(body))])
    return store, digest


async def test_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A manifest is read where it is asked for, and not again."""
    store, digest = await held(IMAGE.index.body, INDEX)

    first = await Graph(store).manifest(digest, INDEX)
    monkeypatch.delattr(type(store.content), "read")

    assert first == parse_manifest(IMAGE.index.body, INDEX)
    assert await Graph(store).manifest(digest, INDEX) == first


async def test_catch_up() -> None:
    """All manifests that are held are recorded, those of kinds that we do not read as referring to nothing."""
    store, digest = await held(IMAGE.index.body, INDEX)
    artifact = Digest.of(b"anything")
    await store.content.put(artifact, b"anything")
    await store.metadata.add_grants(APP, [Grant(artifact, ContentKind.MANIFEST, ARTIFACT, 8)])

    assert await Graph(store).catch_up() == 2

    assert await store.metadata.edges(digest) == parse_manifest(IMAGE.index.body, INDEX)
    opaque = await store.metadata.edges(artifact)
    assert opaque is not None
    assert (opaque.media_type, opaque.manifests, opaque.blobs) == (ARTIFACT, (), ())
    assert await Graph(store).catch_up() == 0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (IMAGE.index.body, IMAGE.manifests[IMAGE.children[0]].media_type),
        (b"{}", INDEX),
        (bytes(MAX_MANIFEST + 1), INDEX),
    ],
    ids=["another kind", "no manifest", "too large"],
)
async def test_none(body: bytes, said: str) -> None:
    """What is no manifest of the kind that it was said to be refers to nothing, recorded or not."""
    store, digest = await held(body, said)

    assert await Graph(store).manifest(digest, said) is None
    assert await Graph(store).catch_up() == 0

    await store.metadata.add_edges(digest, parse_manifest(IMAGE.index.body, INDEX))
    assert (await Graph(store).manifest(digest, said) is None) == (said != INDEX)


async def test_not_held() -> None:
    """Edges of a manifest that is not held any more count for nothing."""
    store, digest = await held(IMAGE.index.body, INDEX)
    await Graph(store).catch_up()
    await store.content.remove(digest)

    assert await Graph(store).manifest(digest, INDEX) is None
    assert await Graph(store).manifest(TOP, "") is None
