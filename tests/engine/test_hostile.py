"""Upstreams that lie, break off, dawdle and attack: a client may get too little, never something wrong.

Each case is checked from both sides: what the client gets, and that nothing unverified became content. Afterwards the
upstream turns honest and the same engine serves the right bytes.
"""

import asyncio
import time

import pytest

from obol.oci.references import Digest
from tests.engine.conftest import Cache, SkippingClock, Start
from tests.fakes.behaviours import (
    BAD_DOCUMENTS,
    BAD_HEADERS,
    BAD_RANGES,
    BAD_REDIRECTS,
    BROKEN_TRANSFER,
    SILENCE,
    WRONG_CONTENT,
    Behaviour,
    cut,
    times,
)
from tests.fakes.content import make_image
from tests.fakes.hostile import CHALLENGES, HostileRegistry
from tests.fakes.http import request
from tests.fakes.server import Forced
from tests.limits import scaled

IMAGE = make_image(40_000, 1_500_000, seed=40)
SMALL, LARGE = IMAGE.layers
LONGEST = scaled(12)
"""Seconds that no client may wait for anything with the short limits of these tests."""

BLOB_CASES = {
    **WRONG_CONTENT,
    **BROKEN_TRANSFER,
    **SILENCE,
    **BAD_RANGES,
    **BAD_REDIRECTS,
    **BAD_HEADERS,
}
MANIFEST_CASES = {
    **WRONG_CONTENT,
    **BROKEN_TRANSFER,
    **SILENCE,
    **BAD_REDIRECTS,
    **BAD_HEADERS,
    **BAD_DOCUMENTS,
}


def assert_verified(cache: Cache) -> None:
    """Every file of complete content has the digest that is its name."""
    for path in (cache.root / "blobs").glob("*/*/*"):
        assert Digest.of(path.read_bytes(), path.parent.parent.name).hex == path.name


def cases(table: dict[str, Behaviour]) -> pytest.MarkDecorator:
    """A parameter per behaviour."""
    return pytest.mark.parametrize("behaviour", table.values(), ids=table.keys())


@pytest.mark.parametrize("known", [True, False], ids=["size known", "size unknown"])
@pytest.mark.parametrize("digest", [SMALL, LARGE], ids=["plain", "segmented"])
@cases(BLOB_CASES)
async def test_blob(start: Start, behaviour: Behaviour, digest: str, known: bool) -> None:
    """A client never gets a complete wrong blob, gets an answer in time, and the right blob once it can be had."""
    async with start.against({}, IMAGE, clock=SkippingClock()) as (upstream, cache):
        if known:
            await cache.know(IMAGE)
        upstream.behaviours = {"blob": behaviour}
        began = time.perf_counter()

        bad = await cache.blob(digest)
        took = time.perf_counter() - began

        whole = bad.status == 200 and bad.complete
        assert not whole or bad.body == IMAGE.blobs[digest]
        assert bad.status in {200, 404, 502, 503}
        assert took < LONGEST
        assert_verified(cache)
        upstream.behaviours = {}
        await eventually_served(cache, digest)
        assert_verified(cache)


async def eventually_served(cache: Cache, digest: str) -> None:
    """The blob is served whole once what runs has ended and a breaker has cooled down."""
    for _ in range(20):
        clock = cache.running.engine.clock
        assert isinstance(clock, SkippingClock)
        clock.skip(61.0)
        good = await cache.blob(digest)
        if good.status == 200 and good.complete:
            assert good.body == IMAGE.blobs[digest]
            return
        await asyncio.sleep(0.25)
    pytest.fail("the honest upstream's blob was never served")


@pytest.mark.parametrize("reference", ["1", IMAGE.top], ids=["by tag", "by digest"])
@cases(MANIFEST_CASES)
async def test_manifest(start: Start, behaviour: Behaviour, reference: str) -> None:
    """A manifest is served with its own digest or not at all, within the limit, and the right one afterwards."""
    async with start.against({"manifest": behaviour}, IMAGE, clock=SkippingClock()) as (upstream, cache):
        began = time.perf_counter()

        bad = await cache.manifest(reference)

        assert time.perf_counter() - began < scaled(3)
        assert bad.status in {200, 404, 502, 503}
        if bad.status == 200:
            assert bad.header("Docker-Content-Digest") == str(Digest.of(bad.body))
            assert reference == "1" or bad.body == IMAGE.manifests[IMAGE.top].body
        upstream.behaviours = {}
        await eventually_known(cache, reference)
        assert_verified(cache)


async def eventually_known(cache: Cache, reference: str) -> None:
    """The manifest is served once what runs has ended and a breaker has cooled down."""
    for _ in range(20):
        clock = cache.running.engine.clock
        assert isinstance(clock, SkippingClock)
        clock.skip(100.0)
        if (await cache.manifest(reference)).header("Docker-Content-Digest") == IMAGE.top:
            return
        await asyncio.sleep(0.25)
    pytest.fail("the honest upstream's manifest was never served")


@pytest.mark.parametrize("kind", ["manifest", "blob"])
@cases({**SILENCE, **BAD_DOCUMENTS, **BAD_REDIRECTS, **BAD_HEADERS})
async def test_token_service(start: Start, behaviour: Behaviour, kind: str) -> None:
    """A token service that misbehaves costs a refusal within the limit, and is asked nothing it should not be."""
    async with start.against({"token": behaviour}, IMAGE) as (_upstream, cache):
        began = time.perf_counter()

        reply = await (cache.manifest("1") if kind == "manifest" else cache.blob(LARGE))

        assert reply.status in {200, 404, 502, 503}
        assert reply.header("WWW-Authenticate") is None
        assert time.perf_counter() - began < LONGEST
        assert reply.status != 200 or not reply.complete or kind == "manifest" or reply.body == IMAGE.blobs[LARGE]


@pytest.mark.parametrize("challenge", CHALLENGES.values(), ids=CHALLENGES.keys())
async def test_challenge(start: Start, challenge: str) -> None:
    """Whatever stands in WWW-Authenticate, the client is answered, and the engine still lives."""
    async with start.against({}, IMAGE) as (upstream, cache):
        upstream.challenge = challenge
        reply = await cache.manifest("1")

        assert reply.status in {404, 502}
        assert (await cache.get("/healthz")).status == 200


async def test_cut_layer_is_resumed_not_begun_again(start: Start) -> None:
    """A body that breaks off is continued from where it broke: the client gets all, nearly nothing crosses twice."""
    async with start.against({}, IMAGE) as (upstream, cache):
        await cache.know(IMAGE)
        upstream.behaviours = {"blob": times(2, cut())}

        reply = await cache.blob(LARGE)

        assert (reply.status, reply.body) == (200, IMAGE.blobs[LARGE])
        assert upstream.body_bytes("/blobs/") < 1.1 * len(reply.body)


async def test_range_retry_after_a_failed_transfer_is_502(start: Start) -> None:
    """After a transfer broke for good, the client's Range retry is refused, so that it takes the rest from upstream."""
    async with start.against({}, IMAGE) as (upstream, cache):
        await cache.know(IMAGE)
        upstream.behaviours = {"blob": WRONG_CONTENT["last byte"]}
        broken = await cache.blob(LARGE)
        assert broken.status == 200
        assert not broken.complete
        assert len(broken.body) < len(IMAGE.blobs[LARGE])

        retry = await cache.blob(LARGE, ("Range", f"bytes={len(broken.body)}-"))

        assert retry.status == 502
        upstream.behaviours = {}
        assert (await cache.blob(LARGE)).body == IMAGE.blobs[LARGE]


@pytest.mark.parametrize("path", ["/v2/app/manifests/1", f"/v2/app/blobs/{LARGE}"])
async def test_redirect_to_a_private_address_connects_to_nobody(start: Start, path: str) -> None:
    """A redirect to another loopback address, by number or by name, reaches no server there."""
    reached: list[str] = []

    async def canary(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append((await reader.readline()).decode())
        writer.close()

    server = await asyncio.start_server(canary, "127.0.0.2", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, HostileRegistry() as upstream:
        upstream.add("library/app", "1", IMAGE)
        for host in ("127.0.0.2", "0x7f.0.0.2", "2130706434", "[::ffff:127.0.0.2]"):
            location = f"http://{host}:{port}/secret"
            upstream.status_for = {"/v2/library/": Forced(302, (("Location", location),), b"")}
            async with start(upstream.url) as cache:
                reply = await request(cache.port, "GET", path)

                assert reply.status == 502

    assert reached == []
