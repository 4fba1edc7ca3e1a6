import asyncio
import json
from collections.abc import Iterable

import pytest

from obol.client.ports import BytesFrom, Kind, PullFailed
from obol.client.pull import LARGEST_CONFIG, KeepingSink, platform_of
from obol.oci.manifests import Descriptor, Platform
from obol.oci.references import Digest, ImageReference
from tests.fakes import behaviours
from tests.fakes.content import OCI_INDEX, FakeImage, Stored, digest_of, make_image
from tests.fakes.hostile import HostileRegistry
from tests.fakes.registry import FakeRegistry, Forced
from tests.unit.client import reach
from tests.unit.client.reach import AMD64, APP, Basket, FakeCache, Reports, fetch

TWO = ("linux/amd64", "linux/arm64")
IMAGE = make_image(200_000, 100_000, platforms=TWO)
REPOSITORY = "team/app"


def size_of(image: FakeImage, *children: int) -> int:
    """Bytes of some platforms of an image: index, manifests, blobs."""
    bodies = [image.manifests[image.children[number]].body for number in children]
    blobs = {blob["digest"]: blob["size"] for body in bodies for blob in _blobs(body)}
    return len(image.index.body) + sum(map(len, bodies)) + sum(blobs.values())


def _blobs(body: bytes) -> list[dict[str, int]]:
    document = json.loads(body)
    return [document["config"], *document["layers"]]


def index_of(*entries: dict[str, object]) -> Stored:
    """An index of these."""
    return Stored(OCI_INDEX, json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode())


def entry(stored: Stored, platform: str = "") -> dict[str, object]:
    """How an index speaks of a manifest."""
    about: dict[str, object] = {
        "mediaType": stored.media_type,
        "digest": digest_of(stored.body),
        "size": len(stored.body),
    }
    if platform:
        about["platform"] = dict(zip(("os", "architecture"), platform.split("/"), strict=True))
    return about


def put(registry: FakeRegistry, tops: Iterable[Stored], *images: FakeImage) -> None:
    """Push images, and indexes over them, the last of which gets the tag."""
    for image in images:
        registry.add(REPOSITORY, None, image)
    held = registry.repositories[REPOSITORY]
    for top in tops:
        held.manifests[digest_of(top.body)] = top
        held.tags["1"] = digest_of(top.body)


async def failure(registry: FakeRegistry, reference: ImageReference = APP, **options: object) -> PullFailed:
    """How a pull fails; whoever watches is told the same."""
    told = Reports()
    with pytest.raises(PullFailed) as caught:
        await fetch(registry, reference, told=told, **options)  # type: ignore[arg-type]  # one of its own options
    assert told.ends == [caught.value]
    return caught.value


async def test_one_platform() -> None:
    """Of an index, the platform that is wanted is pulled: every byte of it, and nothing else."""
    told, basket = Reports(), Basket()
    async with FakeRegistry() as registry:
        registry.add(REPOSITORY, "1", IMAGE)

        image = await fetch(registry, told=told, sink=basket)

        total = size_of(IMAGE, 0)
        assert registry.body_bytes() == total
    assert (image.reference, image.digest, image.platforms, image.layers) == (APP, IMAGE.top, ("linux/amd64",), 2)
    assert (image.bytes_total, image.bytes_from_cache, image.bytes_from_upstream) == (total, 0, total)
    assert (told.sizes, told.moves[BytesFrom.UPSTREAM], told.ends) == ([total], total, [image])
    assert basket.blobs.keys() >= set(IMAGE.layers[:2])
    assert all(basket.blobs[digest] == IMAGE.blobs[digest] for digest in basket.blobs)


async def test_platforms() -> None:
    """Several platforms, or all there are, are pulled together; each blob once."""
    arm = (Platform("linux", "arm64"),)
    async with FakeRegistry() as registry:
        registry.add(REPOSITORY, "1", IMAGE)

        assert (await fetch(registry, platforms=arm)).platforms == ("linux/arm64",)
        both = await fetch(registry, platforms=AMD64 + arm)
        every = await fetch(registry, platforms=None)

    assert (both.platforms, every.platforms) == (TWO, TWO)
    assert both.bytes_total == every.bytes_total == size_of(IMAGE, 0, 1)
    assert every.layers == 4


async def test_no_such_platform() -> None:
    """A platform that is not there is told with those that are, before any blob is fetched."""
    async with FakeRegistry() as registry:
        registry.add(REPOSITORY, "1", IMAGE)

        problem = await failure(registry, platforms=(*AMD64, Platform("windows", "amd64")))

        assert registry.count(part="/blobs/") == 0
    assert problem.kind is Kind.NO_PLATFORM
    assert problem.why == "it is not for windows/amd64, only for linux/amd64, linux/arm64"


@pytest.mark.parametrize("docker", [False, True])
async def test_without_an_index(docker: bool) -> None:
    """An image without an index is pulled as it is; what it runs on is read from its configuration."""
    image = make_image(5000, index=False, platforms=("linux/s390x",), docker=docker)
    basket = Basket()
    async with FakeRegistry() as registry:
        registry.add(REPOSITORY, "1", image)

        pulled = await fetch(registry, sink=basket)

        assert registry.count(part="/blobs/") == 2
    assert (pulled.platforms, pulled.layers) == (("linux/s390x",), 1)
    assert basket.blobs == image.blobs


async def test_large_config(monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration of unreasonable size is not kept in memory to look into it."""
    assert LARGEST_CONFIG > 1 << 20
    monkeypatch.setattr("obol.client.pull.LARGEST_CONFIG", 10)
    async with FakeRegistry() as registry:
        registry.add(REPOSITORY, "1", make_image(5000, index=False))

        assert (await fetch(registry)).platforms == ()


async def test_by_digest() -> None:
    """A digest goes before the tag beside it."""
    reference = ImageReference.parse(f"registry.test/team/app:2@{IMAGE.top}")
    async with FakeRegistry() as registry:
        registry.add(REPOSITORY, None, IMAGE)

        assert (await fetch(registry, reference)).digest == IMAGE.top


async def test_attestations() -> None:
    """Attestations are not pulled, not even with every platform."""
    image, about = make_image(5000), make_image(700, seed=1, index=False)
    top = index_of(entry(image.manifests[image.children[0]], "linux/amd64"), entry(about.index, "unknown/unknown"))
    async with FakeRegistry() as registry:
        put(registry, [top], image, about)

        assert (await fetch(registry, platforms=None)).platforms == ("linux/amd64",)
        assert registry.count(part=about.top) == 0


async def test_index_in_an_index() -> None:
    """An index in an index is looked into."""
    outer = index_of(entry(IMAGE.index))
    async with FakeRegistry() as registry:
        put(registry, [outer], IMAGE)

        image = await fetch(registry)

    assert (image.digest, image.platforms) == (digest_of(outer.body), ("linux/amd64",))
    assert image.bytes_total == size_of(IMAGE, 0) + len(outer.body)


async def test_too_many_indexes() -> None:
    """Indexes within each other are followed only so far."""
    tops = [index_of(entry(IMAGE.index))]
    for _ in range(5):
        tops.append(index_of(entry(tops[-1])))
    async with FakeRegistry() as registry:
        put(registry, tops, IMAGE)

        assert (await failure(registry)).kind is Kind.UNTRUSTED


async def test_too_many_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index with a flood of images is refused."""
    monkeypatch.setattr("obol.client.pull.MOST_IMAGES", 1)
    async with FakeRegistry() as registry:
        registry.add(REPOSITORY, "1", IMAGE)

        assert "more than 1 images" in (await failure(registry)).why


async def test_index_that_calls_an_index_an_image() -> None:
    """An index whose child is not of the type that it says is refused."""
    child = entry(IMAGE.index, "linux/amd64") | {"mediaType": IMAGE.manifests[IMAGE.children[0]].media_type}
    async with FakeRegistry() as registry:
        put(registry, [index_of(child)], IMAGE)

        assert (await failure(registry)).kind is Kind.UNTRUSTED


async def test_foreign_layers() -> None:
    """Layers that registries are not to have are left out."""
    image = make_image(5000, 6000, index=False)
    document = json.loads(image.index.body)
    document["layers"][1]["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    top = Stored(image.index.media_type, json.dumps(document).encode())
    async with FakeRegistry() as registry:
        put(registry, [top], image)
        registry.remove(REPOSITORY, image.layers[1])

        assert (await fetch(registry)).layers == 1


async def test_warming() -> None:
    """What a cache holds is counted as such and not read; a second time nothing comes from the upstream."""
    async with FakeCache() as cache:
        cache.add(REPOSITORY, "1", IMAGE)
        cold = await fetch(cache)
        cache.stored = {"1", *IMAGE.blobs, *IMAGE.manifests}

        warm = await fetch(cache)

    assert (cold.bytes_from_cache, cold.bytes_from_upstream) == (0, cold.bytes_total)
    assert (warm.bytes_from_cache, warm.bytes_from_upstream) == (cold.bytes_total, 0)


async def test_several_at_a_time() -> None:
    """So many blobs as are allowed are under way at a time, the largest first."""
    image = make_image(*range(10_000, 60_000, 10_000), index=False)
    async with FakeRegistry() as registry:
        registry.add(REPOSITORY, "1", image)
        registry.delay, registry.delay_on = asyncio.Event(), "/blobs/sha256:"
        config = json.loads(image.index.body)["config"]["digest"]
        registry.delay_on = image.layers[-1]
        pulling = asyncio.gather(fetch(registry))
        await registry.until(1, part=image.layers[0])

        order = [seen.target.rpartition("/")[2] for seen in registry.log if "/blobs/" in seen.target]
        assert registry.connections == 2
        registry.delay.set()
        await pulling

    assert order == [config, *reversed(image.layers)]


async def test_first_failure_ends_the_rest() -> None:
    """When one blob is not to be had, the others are not waited for."""
    async with FakeRegistry() as registry:
        registry.add(REPOSITORY, "1", IMAGE)
        registry.remove(REPOSITORY, IMAGE.layers[1])
        registry.gate, registry.gate_on = asyncio.Event(), IMAGE.layers[0]

        problem = await failure(registry)

    assert problem.kind is Kind.ABSENT


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(404, Kind.ABSENT), (401, Kind.DENIED), (429, Kind.RATE_LIMITED), (503, Kind.UPSTREAM_DOWN)],
)
async def test_refusals(answer: int, kind: Kind) -> None:
    """What a registry refuses fails with its reason."""
    async with FakeRegistry() as registry:
        registry.status_for = {"/manifests/": Forced(answer)}

        assert (await failure(registry)).kind is kind


async def test_manifest_again() -> None:
    """A manifest is asked for once more after a trouble that may pass."""
    async with HostileRegistry({"manifest": behaviours.times(1, behaviours.closed_at_once)}) as registry:
        registry.add(REPOSITORY, "1", IMAGE)

        assert (await fetch(registry)).digest == IMAGE.top


async def test_wrong_digest() -> None:
    """A layer with a wrong byte fails the pull."""
    async with HostileRegistry({"blob": behaviours.flip("middle")}) as registry:
        registry.add(REPOSITORY, "1", IMAGE)

        assert (await failure(registry)).kind is Kind.UNTRUSTED


async def test_unwatched() -> None:
    """Nobody has to watch."""
    async with FakeRegistry() as registry:
        with pytest.raises(PullFailed):
            await fetch(registry)


def test_platform_of_the_tests() -> None:
    """What these tests pull by default."""
    assert (str(reach.AMD64[0]), Digest(IMAGE.top).algorithm) == ("linux/amd64", "sha256")


BLOB = Descriptor("", Digest.of(b"12"), 2)


@pytest.mark.parametrize(
    ("config", "meant"),
    [
        (b'{"os":"linux","architecture":"arm","variant":"v7"}', Platform("linux", "arm", "v7")),
        (b'{"os":"linux","architecture":"amd64","variant":null}', Platform("linux", "amd64")),
        (b'{"os":"linux"}', None),
        (b"{}", None),
        (b"", None),
        (b"[" * 100_000, None),
        (b'{"os":1}', None),
        (b'{"os":"\xff"}', None),
    ],
)
def test_platform(config: bytes, meant: Platform | None) -> None:
    """A configuration says what an image runs on, or is that of something else."""
    assert platform_of(config) == meant


async def test_kept() -> None:
    """What is looked into reaches the sink all the same."""
    basket = Basket()
    kept, alone = KeepingSink(basket), KeepingSink(None)

    for sink in (kept, alone):
        await sink.write(BLOB, 0, b"1")
        await sink.write(BLOB, 1, b"2")

    assert kept.data == alone.data == basket.blobs[BLOB.digest] == bytearray(b"12")
