"""Clients that read nothing, say nothing or say too much, many at a time: what they cost the engine in all.

Memory is counted where it is kept, in the budget and in the connections, because what a process has from the system
tells of its past, too.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from obol.machine.tasks import spawn
from obol.oci.mediatypes import OCI_MANIFEST
from obol.oci.references import Digest
from obol.registry.server.connection import Connection
from obol.registry.server.exchange import PIECE
from tests.engine.conftest import Cache, Start
from tests.fakes.content import FakeImage, Stored, make_image
from tests.fakes.registry import FakeRegistry
from tests.limits import eventually, scaled

CLIENTS = 64
LONGEST_GAP = scaled(0.25)
"""Seconds for which the loop may be away on a busy machine; alone it is a tenth of it."""
SMALL = make_image(500, seed=71)
"""An image as usual."""


def large(number: int) -> FakeImage:
    """An image whose manifest has 4 MiB."""
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": str(Digest.of(b"{}")), "size": 2}
    document = {"schemaVersion": 2, "config": config, "layers": [], "annotations": {str(number): "x" * (4 << 20)}}
    body = json.dumps(document).encode()
    digest = str(Digest.of(body))
    return FakeImage({}, {digest: Stored(OCI_MANIFEST, body)}, digest, (), ())


@asynccontextmanager
async def deaf(port: int, *requests: bytes) -> AsyncIterator[None]:
    """Clients that send something each and read nothing of the answer."""
    async with AsyncExitStack() as stack:
        loop = asyncio.get_running_loop()
        for data in requests:
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", port))
            await loop.sock_sendall(client, data)
        yield


def get(target: str) -> bytes:
    """A request."""
    return f"GET /v2/library/app/{target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def connections(cache: Cache) -> list[Connection]:
    """Who is connected."""
    return [one for listening in cache.running.listeners._open.values() for one in listening.server.open]


def unsent(cache: Cache) -> list[int]:
    """Bytes that wait in each connection."""
    return [one.transport.get_write_buffer_size() for one in connections(cache) if one.transport is not None]


async def under_way(cache: Cache, count: int) -> None:
    """Wait until so many clients are being answered."""
    await eventually(lambda: sum(one.busy for one in connections(cache)) >= count)
    await asyncio.sleep(0.1)


@asynccontextmanager
async def watched() -> AsyncIterator[None]:
    """The loop is never away for long meanwhile."""
    loop = asyncio.get_running_loop()
    worst = 0.0

    async def watch() -> None:
        nonlocal worst
        while True:
            before = loop.time()
            await asyncio.sleep(0.005)
            worst = max(worst, loop.time() - before - 0.005)

    watching = spawn(watch(), name="watch")
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert worst < LONGEST_GAP


async def test_herd_on_large_manifests(start: Start) -> None:
    """Clients that read nothing of large manifests, the same or different ones, keep nothing of them in memory."""
    images = [large(number) for number in range(4)]
    async with FakeRegistry() as upstream:
        for number, image in enumerate(images):
            upstream.add("library/app", str(number), image)
        async with start(upstream.url) as cache:
            for number in range(4):
                assert (await cache.manifest(str(number))).status == 200
            asked = [get(f"manifests/{number % 4}") for number in range(CLIENTS)]
            async with deaf(cache.port, *asked), watched():
                await under_way(cache, CLIENTS)

                assert cache.running.listeners.shared.budget.kept == 0
                assert sum(unsent(cache)) <= CLIENTS * 4096
                assert (await cache.manifest("1")).body == images[1].manifests[images[1].top].body


async def test_herd_on_a_list(start: Start) -> None:
    """A list that is in memory is there once for all who read it, and what waits in each connection is a piece."""
    async with FakeRegistry() as upstream:
        upstream.add("library/app", "1", SMALL)
        for number in range(60_000):
            upstream.add("library/app", f"{number:060}", SMALL)
        async with start(upstream.url) as cache:
            length = len((await cache.get("/v2/library/app/tags/list")).body)
            assert length > 3 << 20
            async with deaf(cache.port, *[get("tags/list")] * CLIENTS):
                await under_way(cache, CLIENTS)

                assert cache.running.listeners.shared.budget.kept <= 2 * length
                assert max(unsent(cache)) <= 2 * PIECE


async def test_heads_of_a_large_manifest(start: Start) -> None:
    """However many ways there are to ask for the head of a manifest, its body is kept by none of them."""
    image = large(0)
    async with start.over(image) as (_upstream, cache):
        await cache.manifest("1")
        for number in range(50):
            accept = ("Accept", f"{OCI_MANIFEST}, a/b{number}")
            reply = await cache.get("/v2/library/app/manifests/1", accept, method="HEAD")
            assert (reply.status, reply.body) == (200, b"")

        (handler,) = cache.running.listeners._handlers.values()
        kept = handler._ready._by_meaning.items()
        assert len(kept) >= 50
        assert sum(len(answer.body) for _, answer in kept) == 0


async def test_loud_and_silent_clients(start: Start) -> None:
    """Heads of a megabyte, half heads and rubbish, many at a time, hold nobody else up."""
    rubbish = [
        b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n" + b"Accept: " + b"a/b," * 2000 + b"\r\n",
        b"GET /v2/library/app/manifests/1 HTTP/1.1\r\nHost: localhost\r\n" + b"Accept: a/b\r\n" * 1200,
        b"GET /v2/ HTTP/1.1\r\nHost: loc",
        b"\x16\x03\x01\x02\x00" * 1000,
        b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n" * 300,
    ]
    async with start.over(SMALL) as (_upstream, cache):
        await cache.manifest("1")
        async with deaf(cache.port, *rubbish * 20), watched():
            for _ in range(20):
                assert (await cache.manifest("1")).status == 200
