import asyncio
import json

import pytest

from tests.fakes.content import digest_of, make_image, make_referrer
from tests.fakes.http import request, talk
from tests.fakes.registry import FakeRegistry, Forced, SlowLink
from tests.limits import scaled

REPOSITORY = "library/app"
BLOBS = f"/v2/{REPOSITORY}/blobs/"
MANIFESTS = f"/v2/{REPOSITORY}/manifests/"


@pytest.mark.parametrize("docker", [False, True])
def test_images_are_made_by_their_seed(*, docker: bool) -> None:
    """The same seed gives the same image, another seed another one, and every digest is that of its bytes."""
    platforms = ("linux/amd64", "linux/arm64")
    image = make_image(100, 0, 300, seed=1, platforms=platforms, docker=docker)

    assert image == make_image(100, 0, 300, seed=1, platforms=platforms, docker=docker)
    assert image.top != make_image(100, 0, 300, seed=2, platforms=platforms, docker=docker).top
    assert all(digest_of(data) == digest for digest, data in image.blobs.items())
    assert all(digest_of(stored.body) == digest for digest, stored in image.manifests.items())
    assert [entry["digest"] for entry in json.loads(image.index.body)["manifests"]] == list(image.children)
    assert json.loads(image.index.body)["mediaType"] == image.index.media_type


def test_an_image_without_index_is_topped_by_its_manifest() -> None:
    """For one platform the tag may point at the manifest itself."""
    image = make_image(10, index=False)

    assert image.children == (image.top,)
    with pytest.raises(ValueError, match="index"):
        make_image(10, index=False, platforms=("linux/amd64", "linux/arm64"))


async def test_registry_serves_manifests_and_blobs() -> None:
    """Manifests by tag and digest, HEAD and GET, ranges closed, open and past the end; all of it is in the log."""
    image = make_image(1000)
    layer = image.layers[0]
    async with FakeRegistry() as registry:
        registry.add(REPOSITORY, "1", image)

        by_tag = await request(registry.port, "GET", MANIFESTS + "1", [("Accept", "*/*")])
        head = await request(registry.port, "HEAD", MANIFESTS + image.top)
        closed = await request(registry.port, "GET", BLOBS + layer, [("Range", "bytes=10-19")])
        opened = await request(registry.port, "GET", BLOBS + layer, [("Range", "bytes=900-")])
        beyond = await request(registry.port, "GET", BLOBS + layer, [("Range", "bytes=1000-")])
        absent = await request(registry.port, "GET", MANIFESTS + "none?x=%2F")

        assert (by_tag.status, by_tag.body, by_tag.complete) == (200, image.index.body, True)
        assert by_tag.header("content-type") == image.index.media_type
        assert (head.status, head.body, head.header("Docker-Content-Digest")) == (200, b"", image.top)
        assert head.header("Content-Length") == str(len(image.index.body))
        assert (closed.status, closed.body) == (206, image.blobs[layer][10:20])
        assert closed.header("Content-Range") == "bytes 10-19/1000"
        assert (opened.status, opened.body) == (206, image.blobs[layer][900:])
        assert (beyond.status, beyond.header("Content-Range")) == (416, "bytes */1000")
        assert json.loads(absent.body)["errors"][0]["code"] == "MANIFEST_UNKNOWN"
        assert registry.count("GET", "/blobs/") == 3
        assert registry.body_bytes("/blobs/") == 110
        assert registry.log[0].header("ACCEPT") == "*/*"
        assert (registry.log[-1].query, registry.log[-1].status) == ("x=%2F", 404)


async def test_tags_move_and_go() -> None:
    """A moved tag answers the new image, the old one stays by digest, a removed tag is 404."""
    old, new = make_image(10, seed=1), make_image(10, seed=2)
    async with FakeRegistry() as registry:
        registry.add(REPOSITORY, "1", old)
        registry.move(REPOSITORY, "1", new)

        assert (await request(registry.port, "GET", MANIFESTS + "1")).body == new.index.body
        assert (await request(registry.port, "GET", MANIFESTS + old.top)).status == 200
        registry.remove_tag(REPOSITORY, "1")
        registry.remove(REPOSITORY, old.top)
        assert (await request(registry.port, "GET", MANIFESTS + "1")).status == 404
        assert (await request(registry.port, "GET", MANIFESTS + old.top)).status == 404


async def test_tags_are_listed_in_pages() -> None:
    """`n` and `last` page through the tags, and Link names the next page until the last one."""
    image = make_image(1)
    async with FakeRegistry() as registry:
        for tag in ("b", "a", "c"):
            registry.add(REPOSITORY, tag, image)

        first = await request(registry.port, "GET", f"/v2/{REPOSITORY}/tags/list?n=2")
        link = first.header("Link") or ""
        second = await request(registry.port, "GET", link.partition("<")[2].partition(">")[0])

        assert json.loads(first.body) == {"name": REPOSITORY, "tags": ["a", "b"]}
        assert link.endswith('; rel="next"')
        assert json.loads(second.body)["tags"] == ["c"]
        assert second.header("Link") is None


async def test_referrers_are_optional_and_filtered() -> None:
    """The referrers endpoint is 404 until switched on, then lists what points at a digest, by type if asked."""
    image = make_image(1)
    one, two = make_referrer(image, "a/x"), make_referrer(image, "a/y")
    target = f"/v2/{REPOSITORY}/referrers/{image.top}"
    async with FakeRegistry() as registry:
        for pushed in (image, one, two):
            registry.add(REPOSITORY, None, pushed)

        missing = await request(registry.port, "GET", target)
        registry.referrers_supported = True
        everything = await request(registry.port, "GET", target)
        filtered = await request(registry.port, "GET", target + "?artifactType=a/y")

        assert missing.status == 404
        assert {entry["digest"] for entry in json.loads(everything.body)["manifests"]} == {one.top, two.top}
        assert [entry["digest"] for entry in json.loads(filtered.body)["manifests"]] == [two.top]


async def test_poor_registries() -> None:
    """A registry can ignore ranges, refuse open ones, send chunks, refuse HEAD, and hide the digest."""
    image = make_image(200_000)
    target = BLOBS + image.layers[0]
    async with FakeRegistry() as registry:
        registry.add(REPOSITORY, "1", image)

        registry.open_ranges = False
        assert (await request(registry.port, "GET", target, [("Range", "bytes=5-")])).status == 416
        registry.accept_ranges = False
        whole = await request(registry.port, "GET", target, [("Range", "bytes=5-9")])
        assert (whole.status, len(whole.body), whole.header("Accept-Ranges")) == (200, 200_000, None)
        registry.content_length = False
        chunked = await request(registry.port, "GET", target)
        assert (chunked.header("Content-Length"), chunked.complete) == (None, True)
        assert chunked.body == image.blobs[image.layers[0]]
        registry.head_supported = registry.digest_header = False
        assert (await request(registry.port, "HEAD", MANIFESTS + "1")).status == 405
        assert (await request(registry.port, "GET", MANIFESTS + "1")).header("Docker-Content-Digest") is None


async def test_forced_statuses() -> None:
    """A status can be forced by a part of the target or by a function of the path, with headers and a body."""
    async with FakeRegistry() as registry:
        registry.status_for = {"/manifests/": Forced(429, (("Retry-After", "7"),), b"slow down"), "/blobs/": 500}

        limited = await request(registry.port, "GET", MANIFESTS + "1")
        broken = await request(registry.port, "GET", BLOBS + "x")
        registry.status_for = lambda path: 401 if path == "/v2/" else None
        bare = await request(registry.port, "GET", "/v2/")

        assert (limited.status, limited.header("Retry-After"), limited.body) == (429, "7", b"slow down")
        assert (broken.status, bare.status, bare.header("WWW-Authenticate")) == (500, 401, None)
        assert (await request(registry.port, "GET", MANIFESTS + "1")).status == 404


async def test_down_and_up_again() -> None:
    """While down the port refuses and open answers are cut; up again it listens on the same port."""
    image = make_image(500_000)
    target = BLOBS + image.layers[0]
    async with FakeRegistry() as registry:
        registry.add(REPOSITORY, "1", image)
        registry.gate, registry.gate_at = asyncio.Event(), 100_000
        port = registry.port
        async with talk(port, "GET", target) as conversation:
            assert await conversation.head() == 200
            await registry.down()
            assert not (await conversation.body())[1]
        with pytest.raises(ConnectionRefusedError):
            await request(port, "GET", "/v2/")
        await registry.up()
        registry.gate = None

        assert registry.port == port
        assert (await request(port, "GET", target)).complete


async def test_the_gate_holds_content_at_an_offset() -> None:
    """Bytes below the offset leave, also in a range; those above wait for the event."""
    image = make_image(300_000)
    target = BLOBS + image.layers[0]
    async with FakeRegistry() as registry:
        registry.add(REPOSITORY, "1", image)
        registry.gate, registry.gate_at = asyncio.Event(), 100_001

        async with talk(registry.port, "GET", target, [("Range", "bytes=50000-299999")]) as conversation:
            await conversation.head()
            got = await conversation.exactly(50_001)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(conversation.read(1), 0.05)
            registry.gate.set()
            got += await conversation.exactly(199_999)

        assert got == image.blobs[image.layers[0]][50_000:]


async def test_cuts_are_used_once_each() -> None:
    """A cut ends one body by FIN after so many bytes; the next one is whole."""
    image = make_image(300_000)
    async with FakeRegistry() as registry:
        registry.add(REPOSITORY, "1", image)
        registry.cuts = [12_345]

        short = await request(registry.port, "GET", BLOBS + image.layers[0])
        whole = await request(registry.port, "GET", BLOBS + image.layers[0])

        assert (len(short.body), short.complete) == (12_345, False)
        assert whole.complete
        assert registry.body_bytes("/blobs/") == 312_345


async def test_delays_by_time_and_by_event() -> None:
    """Headers come after the delay, or when the event is set."""
    async with FakeRegistry() as registry:
        registry.delay = 0.05
        slow = await request(registry.port, "GET", "/v2/")
        registry.delay = asyncio.Event()
        waiting = asyncio.gather(request(registry.port, "GET", "/v2/"))
        await registry.until(2)
        assert not waiting.done()
        registry.delay.set()

        assert slow.first_byte_after >= 0.05
        assert (await waiting)[0].status == 200


@pytest.mark.parametrize(
    ("ways", "total", "each", "expected"), [(1, 8e8, 2e8, 2e8), (5, 8e8, 2e8, 8e8), (2, 8e8, None, 8e8)]
)
async def test_the_link_keeps_its_rates(ways: int, total: float, each: float | None, expected: float) -> None:
    """The slower of the two limits holds, and connections share the total evenly."""
    size = int(expected / 8 * 0.3 / ways)
    image = make_image(size)
    async with FakeRegistry(SlowLink(total, each, latency=0.02)) as registry:
        registry.add(REPOSITORY, "1", image)
        loop = asyncio.get_running_loop()

        async def timed() -> float:
            reply = await request(registry.port, "GET", BLOBS + image.layers[0])
            assert reply.complete
            assert reply.first_byte_after >= 0.04
            return loop.time()

        start = loop.time()
        ends = await asyncio.gather(*(timed() for _ in range(ways)))

    took = [end - start - 0.04 for end in ends]
    assert 0.29 < max(took) < scaled(1)
    assert min(took) > 0.5 * max(took)
