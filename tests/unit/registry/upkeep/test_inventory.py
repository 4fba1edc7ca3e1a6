import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import msgspec

from obol.machine.tasks import in_steps
from obol.oci.manifests import parse_manifest
from obol.oci.references import Digest, Repository, Tag
from obol.registry.control.api import HeldImage
from obol.registry.engine.manifests import grants_of
from obol.registry.store.ports import HeldTag, RepositoryKey
from obol.registry.upkeep.inventory import take_inventory
from obol.registry.upstream.ports import ManifestBody
from tests.fakes.content import OCI_INDEX, FakeImage, Stored, digest_of, make_image
from tests.fakes.store import MemoryStore

APP = RepositoryKey("docker.io", Repository("library/app"))
OTHER = RepositoryKey("ghcr.io", Repository("team/app"))
IMAGE = make_image(3000, 2000, platforms=("linux/amd64", "linux/arm64"))
AMD64, ARM64 = IMAGE.children
LONE = make_image(700, seed=1, index=False)


@dataclass
class Shelf:
    """A store to put images on, piece by piece."""

    store: MemoryStore = field(default_factory=MemoryStore)

    async def put(
        self,
        image: FakeImage,
        *manifests: str,
        tags: Iterable[str] = (),
        without: Iterable[str] = (),
        repo: RepositoryKey = APP,
        used: float | None = None,
    ) -> None:
        """Hold the top of an image and those of its manifests, with their blobs but for some."""
        for digest in (image.top, *manifests):
            blobs = await self.manifest(image.manifests[digest], repo)
            for blob in blobs - set(without):
                await self.store.content.put(Digest(blob), image.blobs[blob])
        for tag in tags:
            await self.store.metadata.set_tag(
                repo, HeldTag(Tag(tag), "", Digest(image.top), image.index.media_type, checked_at=1.0)
            )
        if used is not None:
            await self.store.metadata.used([(repo, Digest(digest)) for digest in (image.top, *manifests)], used)

    async def manifest(self, stored: Stored, repo: RepositoryKey = APP) -> set[str]:
        """Hold a manifest; the digests of its blobs."""
        digest, manifest = Digest.of(stored.body), parse_manifest(stored.body, stored.media_type)
        await self.store.content.put(digest, stored.body)
        await self.store.metadata.add_grants(
            repo, await in_steps(grants_of(ManifestBody(digest, manifest, stored.body)))
        )
        return {str(blob.digest) for blob in manifest.blobs}

    async def images(self) -> tuple[HeldImage, ...]:
        return (await take_inventory(self.store)).images

    async def image(self) -> HeldImage:
        (image,) = await self.images()
        return image


def size_of(image: FakeImage, *manifests: str) -> int:
    """Bytes of the top of an image and those of its manifests, with all their blobs."""
    bodies = [image.manifests[digest].body for digest in dict.fromkeys((image.top, *manifests))]
    blobs = {blob["digest"]: blob["size"] for body in bodies for blob in _blobs(body)}
    return sum(map(len, bodies)) + sum(blobs.values())


def _blobs(body: bytes) -> list[dict[str, int]]:
    document = json.loads(body)
    return [document["config"], *document["layers"]] if "config" in document else []


async def test_nothing() -> None:
    """An empty store has no images."""
    assert await Shelf().images() == ()


async def test_one_platform() -> None:
    """An image of which one platform was pulled is complete; the other one is absent, which is no fault."""
    shelf = Shelf()
    await shelf.put(IMAGE, AMD64, tags=["2", "1"], used=77.0)

    image = await shelf.image()

    assert (image.registry, image.repository, image.tags, image.digest) == (
        "docker.io",
        "library/app",
        ("1", "2"),
        IMAGE.top,
    )
    assert (image.complete, image.missing_blobs, image.missing_bytes, image.used_at) == (True, 0, 0, 77.0)
    assert image.size == size_of(IMAGE, AMD64)
    assert [(one.platform, one.digest, one.state) for one in image.platforms] == [
        ("linux/amd64", AMD64, "complete"),
        ("linux/arm64", ARM64, "absent"),
    ]


async def test_missing_blobs() -> None:
    """What is missing of a platform is counted, and makes the image incomplete."""
    shelf = Shelf()
    await shelf.put(IMAGE, AMD64, ARM64, tags=["1"], without=[IMAGE.layers[2]])

    image = await shelf.image()

    assert (image.complete, image.missing_blobs, image.missing_bytes) == (False, 1, 3000)
    assert image.size == size_of(IMAGE, AMD64, ARM64) - 3000
    assert [(one.state, one.missing_blobs, one.missing_bytes) for one in image.platforms] == [
        ("complete", 0, 0),
        ("partial", 1, 3000),
    ]


async def test_name_only() -> None:
    """A tag whose manifest is not held is listed, and so is an index without any of its platforms."""
    shelf = Shelf()
    await shelf.put(IMAGE, tags=["1"])
    await shelf.store.metadata.set_tag(OTHER, HeldTag(Tag("1"), "", Digest(IMAGE.top), OCI_INDEX, 1.0))

    index, name = await shelf.images()

    assert (index.complete, {one.state for one in index.platforms}) == (False, {"absent"})
    assert (name.complete, name.platforms, name.size) == (False, (), 0)


async def test_without_an_index() -> None:
    """An image without an index is one platform, whose name is not known."""
    shelf = Shelf()
    await shelf.put(LONE, tags=["1"])

    image = await shelf.image()

    assert (image.complete, image.size) == (True, size_of(LONE))
    assert [(one.platform, one.digest) for one in image.platforms] == [("", LONE.top)]


async def test_by_digest_only() -> None:
    """What was pulled by its digest is an image; the platforms of another image are none of their own."""
    shelf = Shelf()
    await shelf.put(LONE, used=5.0)
    await shelf.put(IMAGE, AMD64, used=6.0)
    await shelf.put(LONE, tags=["1"], repo=OTHER, used=7.0)

    images = await shelf.images()

    assert [(one.registry, one.tags, one.digest, one.used_at) for one in images] == [
        *sorted([("docker.io", (), LONE.top, 5.0), ("docker.io", (), IMAGE.top, 6.0)], key=lambda one: str(one[2])),
        ("ghcr.io", ("1",), LONE.top, 7.0),
    ]


async def test_platform_under_a_tag_of_its_own() -> None:
    """A platform of an index that has a tag of its own is listed under it too."""
    shelf = Shelf()
    await shelf.put(IMAGE, AMD64, tags=["1"])
    held = HeldTag(Tag("1-amd64"), "", Digest(AMD64), IMAGE.manifests[AMD64].media_type, 1.0)
    await shelf.store.metadata.set_tag(APP, held)

    assert [one.tags for one in await shelf.images()] == [("1",), ("1-amd64",)]


async def test_tag_in_two_dialects() -> None:
    """A tag that means something else for old clients is listed once for each meaning."""
    shelf = Shelf()
    await shelf.put(IMAGE, AMD64, tags=["1"])
    await shelf.put(LONE)
    held = HeldTag(Tag("1"), "docker-manifest", Digest(LONE.top), LONE.index.media_type, 1.0)
    await shelf.store.metadata.set_tag(APP, held)
    await shelf.store.metadata.set_tag(APP, replace(held, variant="oci-manifest"))

    assert sorted((one.tags, one.digest) for one in await shelf.images()) == sorted(
        [(("1",), IMAGE.top), (("1",), LONE.top)]
    )


async def test_used_and_gone() -> None:
    """What was used without a tag and is not held any more is no image."""
    shelf = Shelf()
    await shelf.store.metadata.used([(APP, Digest(IMAGE.top))], 5.0)

    assert await shelf.images() == ()


async def test_attestations_and_indexes() -> None:
    """Attestations are no platforms; an index in an index is looked into, and an image of its own where it was used."""
    about = {"mediaType": LONE.index.media_type, "digest": LONE.top, "size": len(LONE.index.body)}
    inner = {"mediaType": OCI_INDEX, "digest": IMAGE.top, "size": len(IMAGE.index.body)}
    entries = [inner, about | {"platform": {"os": "unknown", "architecture": "unknown"}}, about]
    body = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    shelf = Shelf()
    await shelf.put(IMAGE, AMD64, used=5.0)
    await shelf.put(LONE)
    await shelf.manifest(Stored(OCI_INDEX, body))
    await shelf.store.metadata.set_tag(APP, HeldTag(Tag("1"), "", Digest(digest_of(body)), OCI_INDEX, 1.0))

    alone, outer = await shelf.images()

    assert (alone.tags, alone.digest) == ((), IMAGE.top)
    assert [(one.platform, one.state) for one in outer.platforms] == [
        ("linux/amd64", "complete"),
        ("linux/arm64", "absent"),
        ("", "complete"),
    ]
    assert outer.size == size_of(IMAGE, AMD64) + size_of(LONE) + len(body)


async def test_foreign_layers() -> None:
    """Layers that registries are not to have are not missing."""
    document = json.loads(LONE.index.body)
    document["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    body = json.dumps(document).encode()
    image = FakeImage(LONE.blobs, {digest_of(body): Stored(LONE.index.media_type, body)}, digest_of(body), (), ())
    shelf = Shelf()
    await shelf.put(image, tags=["1"], without=LONE.layers)

    assert (await shelf.image()).complete


async def test_not_a_manifest() -> None:
    """Content that cannot be read as a manifest, or may not be read here, is as if it were not held."""
    shelf = Shelf()
    await shelf.put(IMAGE, AMD64, tags=["1"])
    await shelf.store.content.put(Digest(ARM64), b"{}")

    assert [one.state for one in (await shelf.image()).platforms] == ["complete", "absent"]


async def test_json() -> None:
    """The JSON is what programs rely on."""
    shelf = Shelf()
    await shelf.put(LONE, tags=["1"])

    told = json.loads(msgspec.json.encode(await take_inventory(shelf.store)))

    (image,) = told["images"]
    assert list(image) == [
        "registry",
        "repository",
        "tags",
        "digest",
        "complete",
        "size",
        "missing_blobs",
        "missing_bytes",
        "used_at",
        "platforms",
    ]
    assert list(image["platforms"][0]) == ["platform", "digest", "state", "size", "missing_blobs", "missing_bytes"]
