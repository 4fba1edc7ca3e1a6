import asyncio
from collections.abc import AsyncIterator

import pytest

from obol.machine.tasks import spawn
from obol.oci.references import Digest
from obol.registry.control.api import MOST_IMAGES, ImageProgress, ProgressRequest, ProgressStatus
from obol.registry.engine import progress as progress_module
from obol.registry.engine.progress import BELIEVED, LOOK_AGAIN
from obol.registry.store.ports import StoreError, transfer_id
from tests.fakes.content import FakeImage, digest_of, make_image
from tests.fakes.upstream import FakeUpstream
from tests.limits import eventually
from tests.unit.registry.world import REPOSITORY, World, take, world

IMAGE = make_image(5000, 3000, platforms=("linux/amd64", "linux/arm64"))
NAME = f"registry.test/{REPOSITORY}:1"
AMD64 = ("linux/amd64",)
LAYER = IMAGE.layers[0]


def upstream(image: FakeImage = IMAGE) -> FakeUpstream:
    """An upstream with one image."""
    one = FakeUpstream()
    one.add(REPOSITORY, "1", image)
    return one


async def asked(w: World, *images: str, platforms: tuple[str, ...] = AMD64) -> ProgressStatus:
    """What the engine says of these images."""
    return await w.engine.progress(ProgressRequest(images or (NAME,), platforms))


async def one(w: World) -> ImageProgress:
    """What it says of the image."""
    return (await asked(w)).images[0]


async def read(w: World, image: FakeImage = IMAGE) -> None:
    """Let a node read the index and the manifest of the first platform."""
    await w.document("1")
    await w.document(image.children[0])


@pytest.fixture(name="w")
async def _world() -> AsyncIterator[World]:
    """An engine that a node has read the manifests of one platform from."""
    async with world(upstream()) as w:
        await read(w)
        yield w


async def test_nothing_is_known_before_the_manifests_are_there() -> None:
    """Of an image whose manifest, or that of whose platform, was not read yet, the total is not known."""
    async with world(upstream()) as w:
        assert await one(w) == ImageProgress(NAME, None, 0, 0, 0, 0, 0)

        await w.document("1")
        assert (await one(w)).total is None

        await w.document(IMAGE.children[0])
        found = await one(w)
        assert found.total is not None
        assert 8000 < found.total < 9000
        assert (found.present, found.transfers) == (0, 0)


async def test_while_a_layer_comes() -> None:
    """Bytes behind a gap count as there, but not as kept; the transfer tells from where on it brought something."""
    source = upstream()
    blob = source.blob_of(REPOSITORY, LAYER)
    blob.hold(4500)
    async with world(source) as w:
        await read(w)
        client = spawn(take(await w.blob(LAYER)), name="client")
        await eventually(lambda: blob.sent >= 4000)
        await asyncio.sleep(0.005)
        w.clock.advance(2.0)

        status = await asked(w)

        (transfer,) = status.transfers
        (found,) = status.images
        assert (transfer.registry, transfer.repository, transfer.digest) == ("registry.test", REPOSITORY, LAYER)
        assert (transfer.size, transfer.held) == (5000, 0)
        assert transfer.frontier <= transfer.arrived <= 5000
        assert transfer.arrived >= 4000
        assert transfer.seconds >= 2.0
        assert (found.present, found.kept, found.transfers) == (transfer.arrived, transfer.frontier, 1)

        blob.let_go()
        await client
        await w.idle()
        assert (await one(w)).present == 5000


async def test_when_all_is_there(w: World) -> None:
    """An image that was pulled is there as a whole, and no byte beyond."""
    for digest in IMAGE.blobs:
        await w.pull(digest)
    await w.idle()

    found = await one(w)

    assert found.total == found.present == found.kept == found.own_present
    assert found.transfers == 0


async def test_what_was_missing_is_looked_for_again(w: World) -> None:
    """What was missing is found a second later, what was removed some seconds later: no poll looks for every blob."""
    before = await one(w)
    await w.store.content.put(Digest(LAYER), IMAGE.blobs[LAYER])
    assert await one(w) == before
    w.clock.advance(LOOK_AGAIN)
    assert (await one(w)).present == 5000

    del w.store.content._held[Digest(LAYER)]
    assert (await one(w)).present == 5000
    w.clock.advance(BELIEVED)
    assert (await one(w)).present == 0


async def test_what_an_earlier_transfer_left_counts(w: World) -> None:
    """A download that was broken off counts for what the next one resumes with."""
    partial = await w.store.partials.open(transfer_id(Digest(LAYER), "registry.test"))
    await partial.write(0, bytes(2000))
    await partial.checkpoint(2000)
    partial.close()

    found = await one(w)

    assert (found.present, found.kept) == (2000, 2000)


async def test_shared_layers_are_added_up_once(w: World) -> None:
    """Two references to one image are each as large as it is; together they are not larger."""
    other = f"registry.test/{REPOSITORY}@{IMAGE.children[0]}"
    await w.pull(LAYER)
    await w.idle()

    first, second = (await asked(w, NAME, other)).images

    assert first.total == second.total == first.own_total
    assert first.present == second.present == first.own_present == 5000
    assert (second.own_total, second.own_present) == (0, 0)


async def test_platforms(w: World) -> None:
    """Only the platforms that are asked for count; without any, those whose manifests are held."""
    of_one = (await one(w)).total
    assert of_one is not None
    await w.document(IMAGE.children[1])

    of_all = (await asked(w, platforms=())).images[0].total
    neither = (await asked(w, platforms=("linux/s390x",))).images[0].total

    assert (await one(w)).total == of_one
    assert of_all is not None
    assert of_all > of_one
    assert neither is None


async def test_without_an_index() -> None:
    """A lone manifest is the image, whatever platform is asked for."""
    image = make_image(700, index=False)
    async with world(upstream(image)) as w:
        await w.document("1")

        assert (await one(w)).total == sum(map(len, image.blobs.values()))


@pytest.mark.parametrize("name", ["!", "quay.io/team/app:1", f"registry.test/{REPOSITORY}:2"])
async def test_unknown(w: World, name: str) -> None:
    """What is no reference, is of a registry that is not served, or was never asked for, is not known; others are."""
    nothing, known = (await asked(w, name, NAME)).images

    assert (nothing.reference, nothing.total, nothing.present) == (name, None, 0)
    assert known.total is not None


@pytest.mark.parametrize("platform", ["linux", "linux/", "a/b/c/d"])
async def test_no_platform(platform: str) -> None:
    """What is no platform is refused, and so are too many images."""
    async with world() as w:
        with pytest.raises(ValueError, match="is not a platform"):
            await asked(w, platforms=(platform,))
        with pytest.raises(ValueError, match="no more than"):
            await asked(w, *["a"] * (MOST_IMAGES + 1))


async def test_manifests_are_read_once(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks again and again has each manifest read once, as long as there are not too many."""
    await one(w)

    async def read_again(_digest: Digest) -> bytes:
        raise StoreError("read again")

    monkeypatch.setattr(w.store.content, "read", read_again)
    assert (await one(w)).total is not None

    monkeypatch.setattr(progress_module, "MANIFESTS", 0)
    w.engine._progress._manifests.clear()
    with pytest.raises(StoreError, match="read again"):
        await one(w)


@pytest.mark.parametrize(("what", "most"), [("MOST_NAMED", 2), ("LARGEST", 100)])
async def test_too_much(monkeypatch: pytest.MonkeyPatch, what: str, most: int) -> None:
    """Of a manifest that is too long, or names too much to be looked after, nothing is told."""
    monkeypatch.setattr(progress_module, what, most)
    async with world(upstream()) as w:
        await read(w)

        assert (await one(w)).total is None


async def test_a_blob_is_no_manifest() -> None:
    """A digest that is that of something else is not known."""
    data = b"a layer"
    async with world() as w:
        await w.store.content.put(Digest(digest_of(data)), data)

        (found,) = (await asked(w, f"registry.test/{REPOSITORY}@{digest_of(data)}")).images

        assert found.total is None
