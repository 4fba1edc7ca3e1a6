"""The upstream is gone: what was pulled is served, what was not is refused at once and rightly."""

import time

import pytest

from tests.engine.conftest import HandClock, Start
from tests.fakes.content import make_image
from tests.fakes.registry import FakeRegistry
from tests.fakes.server import Forced
from tests.limits import scaled

IMAGE = make_image(1000, 600_000, seed=10)


async def test_everything_pulled_is_served_without_upstream(start: Start) -> None:
    """After one pull the whole image is served with the upstream unplugged, its tag marked stale after its time."""
    async with start.over(IMAGE, tag_ttl=0.0) as (upstream, cache):
        await cache.pull(IMAGE)
        await upstream.down()

        replies = await cache.pull(IMAGE)

        assert [reply.status for reply in replies] == [200] * len(replies)
        assert replies[0].header("Obol-Cache") == "stale"
        assert replies[0].header("Warning") == '110 - "Response is Stale"'


async def test_everything_pulled_survives_a_restart_offline(start: Start) -> None:
    """An engine that starts without its upstream serves what an earlier one stored."""
    async with FakeRegistry() as upstream:
        upstream.add("library/app", "1", IMAGE)
        async with start(upstream.url) as cache:
            first = await cache.pull(IMAGE)
        await upstream.down()
        async with start(upstream.url) as cache:
            second = await cache.pull(IMAGE)

    assert [reply.body for reply in second] == [reply.body for reply in first]
    assert {reply.status for reply in second} == {200}


async def test_offline_by_order_asks_nobody(start: Start) -> None:
    """With `offline` the upstream is not asked even though it is there; what is not held is a 404."""
    async with FakeRegistry() as upstream:
        upstream.add("library/app", "1", IMAGE)
        upstream.add("library/other", "1", IMAGE)
        async with start(upstream.url) as cache:
            await cache.pull(IMAGE)
        seen = upstream.count()
        async with start(upstream.url, offline=True, tag_ttl=0.0) as cache:
            assert {reply.status for reply in await cache.pull(IMAGE)} == {200}
            assert (await cache.manifest("1", repository="library/other")).status == 404
            assert (await cache.blob(IMAGE.layers[0], repository="library/other")).status == 404

    assert upstream.count() == seen


async def test_cold_name_without_upstream_is_a_502(start: Start) -> None:
    """A name that is not held, with nobody listening upstream, is 502, and fast."""
    async with start.over() as (upstream, cache):
        await upstream.down()
        began = time.perf_counter()

        reply = await cache.manifest("1")

        assert reply.status == 502
        assert time.perf_counter() - began < scaled(1.5)


async def test_silent_upstream_does_not_hang_a_client(start: Start) -> None:
    """An upstream that accepts and says nothing: a held tag is served within the limit, a cold one is a 502."""
    async with start.over(IMAGE, tag_ttl=0.0) as (upstream, cache):
        await cache.pull(IMAGE)
        upstream.delay = 60.0
        began = time.perf_counter()

        held = await cache.manifest("1")
        held_after = time.perf_counter() - began
        cold = await cache.manifest("2")

        assert (held.status, held.header("Obol-Cache")) == (200, "stale")
        assert held_after < scaled(1)
        assert cold.status == 502
        assert time.perf_counter() - began < scaled(4)
        upstream.delay = 0.0


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_broken_upstream_leaves_the_known_tag(start: Start, status: int) -> None:
    """5xx on revalidation: the known tag is served stale; on a cold name it is our 502."""
    async with start.over(IMAGE, tag_ttl=0.0) as (upstream, cache):
        await cache.pull(IMAGE)
        upstream.status_for = {"/v2/": status}

        assert (await cache.manifest("1")).header("Obol-Cache") == "stale"
        assert (await cache.manifest("2")).status == 502


async def test_rate_limit_is_never_passed_on(start: Start) -> None:
    """429 upstream: held is 200, cold is 503 with Retry-After at once, and the upstream is left alone meanwhile."""
    async with start.over(IMAGE, tag_ttl=0.0) as (upstream, cache):
        await cache.pull(IMAGE)
        upstream.status_for = {"/v2/": Forced(429, (("Retry-After", "30"),), b"toomanyrequests")}
        first = await cache.manifest("2")
        seen = upstream.count()
        began = time.perf_counter()

        second = await cache.manifest("3")
        held = await cache.manifest("1")

        assert (first.status, second.status) == (503, 503)
        assert 30 - scaled(5) <= int(second.header("Retry-After") or 0) <= 30
        assert held.status == 200
        assert upstream.count() == seen
        assert time.perf_counter() - began < scaled(0.5)


async def test_denied_is_not_served_stale(start: Start) -> None:
    """A repository that became private is refused, although its tag is held; the content stays."""
    async with start.over(IMAGE, tag_ttl=0.0) as (upstream, cache):
        await cache.pull(IMAGE)
        upstream.status_for = {"/manifests/1": 403}

        reply = await cache.manifest("1")

        assert reply.status == 404
        assert reply.header("WWW-Authenticate") is None
        upstream.status_for = {}
        assert (await cache.manifest("1")).status == 200


async def test_deleted_tag_is_404_and_its_content_stays(start: Start) -> None:
    """A tag that the upstream deleted is 404; its manifest and blobs are still served by digest, without asking."""
    async with start.over(IMAGE, tag_ttl=0.0) as (upstream, cache):
        await cache.pull(IMAGE)
        upstream.remove_tag("library/app", "1")

        assert (await cache.manifest("1")).status == 404
        seen = upstream.count()
        assert (await cache.manifest(IMAGE.top)).status == 200
        assert (await cache.blob(IMAGE.layers[0])).status == 200
        assert upstream.count() == seen


async def test_pushed_after_404_is_seen(start: Start) -> None:
    """A tag that was absent a moment ago is found once it is there and the few seconds of memory are over."""
    clock = HandClock()
    async with start.over(clock=clock) as (upstream, cache):
        assert (await cache.manifest("1")).status == 404
        upstream.add("library/app", "1", IMAGE)
        asked = upstream.count()
        assert (await cache.manifest("1")).status == 404
        assert upstream.count() == asked

        clock.advance(5.0)

        assert (await cache.manifest("1")).status == 200


async def test_unplugged_upstream_costs_a_held_tag_nothing(start: Start) -> None:
    """Where nobody listens any more nothing is tried again: twenty stale tags are served in no time."""
    async with FakeRegistry() as upstream:
        for number in range(20):
            upstream.add("library/app", str(number), IMAGE)
        async with start(upstream.url, tag_ttl=0.0) as cache:
            for number in range(20):
                await cache.manifest(str(number))
            await upstream.down()
            began = time.perf_counter()

            replies = [await cache.manifest(str(number)) for number in range(20)]

            assert {reply.header("Obol-Cache") for reply in replies} == {"stale"}
            assert time.perf_counter() - began < scaled(1)
