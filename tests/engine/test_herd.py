"""Many clients, one blob: it crosses the line once, and nobody pays for anybody else."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.engine.conftest import Cache, Start
from tests.fakes.content import FakeImage, make_image
from tests.fakes.http import talk
from tests.fakes.registry import FakeRegistry

MIB = 1024 * 1024


def big(image: FakeImage) -> str:
    """The digest of an image's largest blob."""
    return max(image.blobs, key=lambda digest: len(image.blobs[digest]))


@pytest.mark.parametrize("known", [True, False], ids=["size known", "size unknown"])
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
async def test_sixteen_clients_fetch_once(start: Start, known: bool, ranges: bool) -> None:
    """Sixteen clients that want one cold blob at once all get it, and the upstream sends it once."""
    image = make_image(3 * MIB, seed=1)
    digest = big(image)
    async with start.over(image) as (upstream, cache):
        upstream.accept_ranges = ranges
        if known:
            await cache.know(image)

        replies = await asyncio.gather(*(cache.blob(digest) for _ in range(16)))

        assert all(reply.complete and reply.body == image.blobs[digest] for reply in replies)
        assert upstream.body_bytes("/blobs/") == 3 * MIB
        assert cache.running.engine.scopes.find(None, "docker.io").counters.hit >= 15


async def test_slow_first_client_slows_nobody(start: Start) -> None:
    """A first client that reads nothing changes nothing for a second one."""
    image = make_image(8 * MIB, seed=2)
    digest = big(image)
    async with start.over(image) as (upstream, cache):
        await cache.know(image)
        async with talk(cache.port, "GET", f"/v2/app/blobs/{digest}") as slow:
            await slow.head()
            await slow.read(1000)

            reply = await cache.blob(digest)

        assert reply.body == image.blobs[digest]
        assert upstream.body_bytes("/blobs/") == 8 * MIB


async def test_vanished_first_client_changes_nothing(start: Start) -> None:
    """When the first client goes away in the middle, the others and the store get the whole blob."""
    image = make_image(4 * MIB, seed=3)
    digest = big(image)
    async with FakeRegistry() as upstream:
        upstream.add("library/app", "1", image)
        async with start(upstream.url) as cache:
            await cache.know(image)
            upstream.gate, upstream.gate_at = asyncio.Event(), MIB
            async with talk(cache.port, "GET", f"/v2/app/blobs/{digest}") as first:
                await first.head()
                others = [asyncio.create_task(cache.blob(digest)) for _ in range(3)]  # noqa: TID251 - gathered below
                await upstream.until(1, "GET", "/blobs/")
            upstream.gate.set()

            replies = await asyncio.gather(*others)

            assert all(reply.body == image.blobs[digest] for reply in replies)
            assert upstream.body_bytes("/blobs/") == 4 * MIB
        assert digest in cache.stored()


async def test_fill_goes_on_without_any_client(start: Start) -> None:
    """A blob whose only client left is completed and kept, so that the retry is served from the store."""
    image = make_image(2 * MIB, seed=4)
    digest = big(image)
    async with start.over(image) as (upstream, cache):
        await cache.know(image)
        upstream.gate, upstream.gate_at = asyncio.Event(), MIB
        async with talk(cache.port, "GET", f"/v2/app/blobs/{digest}") as only:
            await only.head()
        upstream.gate.set()

        reply = await cache.blob(digest)

        assert reply.body == image.blobs[digest]
        assert upstream.body_bytes("/blobs/") == 2 * MIB


async def test_many_cold_blobs_begin_at_once(start: Start) -> None:
    """Forty clients, each with a cold blob of its own, all have the first bytes before any transfer has ended."""
    images = [make_image(200_000, seed=1000 + number) for number in range(40)]
    async with FakeRegistry() as upstream, AsyncExitStack() as clients:
        for number, image in enumerate(images):
            upstream.add("library/app", str(number), image)
        async with start(upstream.url) as cache:
            for number, image in enumerate(images):
                await cache.know(image, str(number))
            upstream.gate, upstream.gate_at = asyncio.Event(), 100_000
            targets = [f"/v2/app/blobs/{big(image)}" for image in images]

            asked = [await clients.enter_async_context(talk(cache.port, "GET", target)) for target in targets]

            assert [await one.head() for one in asked] == [200] * 40
            for one, image in zip(asked, images, strict=True):
                assert await one.exactly(1000) == image.blobs[big(image)][:1000]
            upstream.gate.set()


async def test_ranges_while_filling(start: Start) -> None:
    """Eight open-ended ranges that hang up early, as containerd asks, cost one transfer and are no error."""
    image = make_image(4 * MIB, seed=5)
    digest = big(image)
    body = image.blobs[digest]

    async def chunk(cache: Cache, at: int) -> None:
        async with talk(cache.port, "GET", f"/v2/app/blobs/{digest}", [("Range", f"bytes={at}-")]) as conversation:
            assert await conversation.head() == 206
            assert await conversation.exactly(100_000) == body[at : at + 100_000]

    async with start.over(image) as (upstream, cache):
        await cache.know(image)

        await asyncio.gather(*(chunk(cache, number * MIB // 2) for number in range(8)))

        assert (await cache.blob(digest)).body == body
        assert upstream.body_bytes("/blobs/") == 4 * MIB


async def test_herd_on_a_tag_asks_once(start: Start) -> None:
    """A hundred clients that want one cold tag cost one manifest GET."""
    image = make_image(1000, seed=6)
    async with start.over(image) as (upstream, cache):
        replies = await asyncio.gather(*(cache.manifest("1") for _ in range(100)))

        assert {reply.status for reply in replies} == {200}
        assert upstream.count("GET", "/manifests/") == 1
