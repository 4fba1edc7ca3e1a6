"""The second time: no upstream request for what cannot have changed, one HEAD for what may have."""

from tests.engine.conftest import HandClock, Start
from tests.fakes.content import make_image

IMAGE = make_image(1000, 900_000, seed=20, platforms=("linux/amd64", "linux/arm64"))
MOVED = make_image(2000, seed=21)


async def test_warm_pull_asks_nobody(start: Start) -> None:
    """Inside the tag's time a whole pull costs no upstream request at all."""
    async with start.over(IMAGE) as (upstream, cache):
        cold = await cache.pull(IMAGE)
        seen = upstream.count()

        warm = await cache.pull(IMAGE)

        assert [reply.body for reply in warm] == [reply.body for reply in cold]
        assert {reply.status for reply in warm} == {200}
        assert upstream.count() == seen


async def test_unchanged_tag_costs_heads_only(start: Start) -> None:
    """After its time a tag is asked about with a HEAD; an unchanged one is never fetched again."""
    clock = HandClock()
    async with start.over(IMAGE, clock=clock) as (upstream, cache):
        await cache.manifest("1")
        gets = upstream.count("GET")
        for _ in range(20):
            clock.advance(61.0)
            assert (await cache.manifest("1")).header("Obol-Cache") == "revalidated"

        assert upstream.count("GET") == gets
        assert upstream.count("HEAD") == 20


async def test_moved_tag_is_seen_after_its_time_and_not_before(start: Start) -> None:
    """A tag that moved upstream is served as it was until its time is up, then as it is."""
    clock = HandClock()
    async with start.over(IMAGE, clock=clock) as (upstream, cache):
        old = await cache.manifest("1")
        upstream.move("library/app", "1", MOVED)
        clock.advance(59.0)
        assert (await cache.manifest("1")).body == old.body

        clock.advance(2.0)
        new = await cache.manifest("1")

        assert new.header("Docker-Content-Digest") == MOVED.top
        assert (await cache.manifest(IMAGE.top)).body == old.body


async def test_head_then_get_by_digest_after_the_tag_moved(start: Start) -> None:
    """A HEAD of a tag and then a GET of the digest, as containerd asks, work although the tag moved in between."""
    async with start.over(IMAGE) as (upstream, cache):
        head = await cache.get("/v2/app/manifests/1?ns=docker.io", method="HEAD")
        upstream.move("library/app", "1", MOVED)

        reply = await cache.get(f"/v2/app/manifests/{head.header('Docker-Content-Digest')}?ns=docker.io")

        assert reply.status == 200
        assert reply.header("Docker-Content-Digest") == IMAGE.top


async def test_cold_heads_download_nothing(start: Start) -> None:
    """HEAD of a cold manifest or blob is answered in full without fetching it."""
    async with start.over(IMAGE) as (upstream, cache):
        manifest = await cache.get("/v2/app/manifests/1", method="HEAD")
        blob = await cache.get(f"/v2/app/blobs/{IMAGE.layers[1]}", method="HEAD")

        assert (manifest.status, manifest.header("Docker-Content-Digest")) == (200, IMAGE.top)
        assert manifest.header("Content-Length") == str(len(IMAGE.manifests[IMAGE.top].body))
        assert (blob.status, blob.header("Content-Length")) == (200, "900000")
        assert upstream.count("GET") == 0


async def test_only_the_platform_that_is_pulled_is_fetched(start: Start) -> None:
    """The children of an index are fetched one by one, when asked for."""
    async with start.over(IMAGE) as (upstream, cache):
        await cache.manifest("1")
        await cache.manifest(IMAGE.children[0])
        await upstream.down()

        assert (await cache.manifest("1")).status == 200
        assert (await cache.manifest(IMAGE.children[0])).status == 200
        assert (await cache.manifest(IMAGE.children[1])).status == 502
