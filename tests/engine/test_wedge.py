"""Transfers that break in ways that the HTTP library keeps to itself: none holds a client or a slot for good."""

import asyncio
import time
from contextlib import suppress

import pytest

from obol.machine.tasks import spawn
from obol.registry.settings import TimeLimits
from obol.registry.transfers.slots import LEND_AFTER
from tests.engine.conftest import SMALL_SEGMENTS, Cache, Start
from tests.fakes.behaviours import Behaviour, Exchange, stall_mid_body
from tests.fakes.chunks import BROKEN_CHUNKS
from tests.fakes.content import make_image
from tests.fakes.hostile import HostileRegistry
from tests.limits import scaled

IMAGE = make_image(300_000, seed=60)
CROWD = make_image(*[2000] * (SMALL_SEGMENTS.firsts_per_upstream + 6), seed=61)
GOOD = make_image(5000, seed=62)
SOON = scaled(10)
"""Seconds: far less than the limits of the product together, which is what a wedge would take."""


@pytest.mark.parametrize("known", [True, False], ids=["size known", "size unknown"])
@pytest.mark.parametrize("behaviour", BROKEN_CHUNKS.values(), ids=BROKEN_CHUNKS.keys())
async def test_a_malformed_chunk(
    start: Start, caplog: pytest.LogCaptureFixture, behaviour: Behaviour, known: bool
) -> None:
    """The client has an end at once, and the next one the right blob, as soon as the upstream is well."""
    [layer] = IMAGE.layers
    async with start.against({"blob": behaviour}, IMAGE) as (upstream, cache):
        if known:
            await cache.know(IMAGE)
        began = time.monotonic()

        bad = await cache.blob(layer)
        assert not (bad.status == 200 and bad.complete) or bad.body == IMAGE.blobs[layer]
        await cache.settled()
        upstream.behaviours = {}
        good = await cache.blob(layer)

        assert (good.status, good.body) == (200, IMAGE.blobs[layer])
        assert time.monotonic() - began < SOON
        assert "Traceback" not in caplog.text


async def crowd_then_good(cache: Cache, upstream: HostileRegistry, behaviour: Behaviour) -> float:
    """Ask for many blobs that come to nothing, then for one that is well: the seconds that this one took."""
    good = GOOD.layers[0]

    async def all_but_one(exchange: Exchange) -> None:
        if good in exchange.seen.path:
            await exchange.say(exchange.honest)
        else:
            await behaviour(exchange)

    upstream.add("library/app", "1", CROWD)
    upstream.add("library/app", "2", GOOD)
    await cache.know(CROWD)
    await cache.know(GOOD, "2")
    upstream.behaviours = {"blob": all_but_one}
    crowd = [spawn(cache.blob(digest), name="client") for digest in CROWD.layers]
    await asyncio.sleep(0.3)
    began = time.monotonic()
    answer = await cache.blob(good)
    assert answer.body == GOOD.blobs[good]
    took = time.monotonic() - began
    for one in crowd:
        one.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*crowd, return_exceptions=True)
    return took


@pytest.mark.parametrize("behaviour", [BROKEN_CHUNKS["no number"], stall_mid_body], ids=["malformed", "silent"])
async def test_broken_blobs_hold_up_no_other(start: Start, behaviour: Behaviour) -> None:
    """More blobs that come to nothing than an upstream has slots: one that is well is fetched all the same."""
    patient = TimeLimits(shutdown=1.0)
    async with HostileRegistry() as upstream, start(upstream.url, limits=patient) as cache:
        assert await crowd_then_good(cache, upstream, behaviour) < LEND_AFTER + SOON
