import asyncio
import io
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from obol.demo.images import Collection
from obol.demo.origin import (
    FIRST_PIECE,
    PIECE,
    BytesSent,
    ImagesMade,
    LinkConnection,
    Order,
    OriginEvent,
    OriginReady,
    OriginServer,
    SlowLink,
    main,
    pieces,
    serve,
)
from obol.oci.mediatypes import OCI_INDEX
from tests.fakes.clock import FakeClock
from tests.fakes.http import request, talk
from tests.limits import scaled

MANIFEST = "/v2/demo/app/manifests/1"


def a_blob(collection: Collection) -> tuple[str, bytes]:
    """The target of the largest layer, and its bytes."""
    (repository, digest), _ = max(collection.blobs.items(), key=lambda item: item[1])
    return f"/v2/{repository}/blobs/{digest}", collection.path(digest).read_bytes()


async def test_ping(origin: OriginServer) -> None:
    """It says that it is a registry."""
    assert (await request(origin.port, "GET", "/v2/")).status == 200


async def test_manifest(origin: OriginServer, collection: Collection) -> None:
    """A tag gives the index, with its type and digest; HEAD gives the same headers."""
    reply = await request(origin.port, "GET", MANIFEST)
    head = await request(origin.port, "HEAD", MANIFEST)

    document = next(one for (_, name), one in collection.documents.items() if name == "1")
    assert (reply.status, reply.body) == (200, document.body)
    assert reply.header("Content-Type") == OCI_INDEX
    assert reply.header("Docker-Content-Digest") == document.digest
    assert (head.status, head.body) == (200, b"")
    assert head.header("Content-Length") == str(len(document.body))


async def test_blob(origin: OriginServer, collection: Collection) -> None:
    """A blob comes whole."""
    target, content = a_blob(collection)

    reply = await request(origin.port, "GET", target)

    assert (reply.status, reply.complete) == (200, True)
    assert reply.body == content
    assert reply.header("Accept-Ranges") == "bytes"


async def test_range(origin: OriginServer, collection: Collection) -> None:
    """A range of a blob comes as asked for, unless If-Range names something else."""
    target, content = a_blob(collection)
    wanted = ("Range", "bytes=100000-250000")

    reply = await request(origin.port, "GET", target, [wanted])
    other = await request(origin.port, "GET", target, [wanted, ("If-Range", '"other"')])

    assert (reply.status, reply.body) == (206, content[100_000:250_001])
    assert reply.header("Content-Range") == f"bytes 100000-250000/{len(content)}"
    assert (other.status, len(other.body)) == (200, len(content))


async def test_refusals(origin: OriginServer, collection: Collection) -> None:
    """What is not there, lies outside or is not offered is refused as the specification says."""
    target, content = a_blob(collection)
    absent = "sha256:" + "0" * 64

    replies = [
        await request(origin.port, "GET", "/v2/demo/app/manifests/2"),
        await request(origin.port, "GET", f"/v2/demo/app/blobs/{absent}"),
        await request(origin.port, "GET", target.replace("demo/app", "demo/tool")),
        await request(origin.port, "GET", "/v2/demo/app/tags/list"),
        await request(origin.port, "GET", target, [("Range", f"bytes={len(content)}-")]),
        await request(origin.port, "DELETE", target),
    ]

    told = [(reply.status, json.loads(reply.body)["errors"][0]["code"]) for reply in replies]
    assert told == [
        (404, "MANIFEST_UNKNOWN"),
        (404, "BLOB_UNKNOWN"),
        (404, "BLOB_UNKNOWN"),
        (404, "NOT_FOUND"),
        (416, "RANGE_INVALID"),
        (405, "UNSUPPORTED"),
    ]


async def test_what_was_sent_is_counted(origin: OriginServer, collection: Collection) -> None:
    """Bodies count, parts as parts; HEAD counts nothing."""
    target, content = a_blob(collection)

    await request(origin.port, "HEAD", target)
    assert origin.sent == 0
    await request(origin.port, "GET", target)
    await request(origin.port, "GET", target, [("Range", "bytes=0-99")])

    assert origin.sent == len(content) + 100


async def test_the_link_slows_it(collection: Collection) -> None:
    """A body takes as long as the link says, after two round trips on a new connection."""
    target, content = a_blob(collection)
    loop = asyncio.get_running_loop()
    async with OriginServer(collection, SlowLink(len(content) * 8 / 0.2, latency=0.02)) as slow:
        since = loop.time()

        reply = await request(slow.port, "GET", target)

    assert reply.complete
    assert reply.first_byte_after >= 0.04
    assert 0.23 < loop.time() - since < scaled(1.5)


async def test_a_client_that_goes_away(collection: Collection, caplog: pytest.LogCaptureFixture) -> None:
    """A client that is gone before its answer, or in the middle of it, is nothing to write about."""
    target, content = a_blob(collection)
    link = SlowLink(len(content) * 8 / 0.2, latency=0.01)
    async with OriginServer(collection, link) as origin:
        async with talk(origin.port, "GET", target):
            pass
        async with talk(origin.port, "GET", target) as conversation:
            await conversation.head()
            await conversation.exactly(20_000)
        last = await request(origin.port, "GET", target)

    assert last.complete
    assert caplog.records == []


class Telling(io.BytesIO):
    """Standard output that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.told = asyncio.Event()

    def flush(self) -> None:
        self.told.set()

    async def next(self) -> OriginEvent:
        await self.told.wait()
        self.told.clear()
        return heard(self)[-1]


async def test_it_serves_until_it_is_told_no_more(collection: Collection) -> None:
    """It says its port, answers each line with what it has sent, and ends with its standard input."""
    reading, writing = os.pipe()
    out = Telling()
    with os.fdopen(reading, "rb") as questions, os.fdopen(writing, "wb", buffering=0) as asking:
        serving = asyncio.gather(serve(collection, SlowLink(), questions, out))
        ready = await out.next()
        assert isinstance(ready, OriginReady)
        manifest = await request(ready.port, "GET", MANIFEST)
        asking.write(b"\n")
        assert await out.next() == BytesSent(len(manifest.body))
        asking.close()
        await serving

    with pytest.raises(ConnectionRefusedError):
        await request(ready.port, "GET", "/v2/")


def test_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told what to be, it makes the images, says how far it is, and serves; it ends when nobody asks any more."""
    order = Order(str(tmp_path), 1_000_000, 1e9, 1e9, 0.0)
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(msgspec.json.encode(order) + b"\n\n")))
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=out))

    main()

    *made, ready, sent = heard(out)
    sizes = [one.size for one in made if isinstance(one, ImagesMade)]
    assert sizes == sorted(sizes)
    assert len(sizes) == len(made) == 49
    assert isinstance(ready, OriginReady)
    assert sent == BytesSent(0)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) > 990_000


def heard(out: io.BytesIO) -> list[OriginEvent]:
    """What it said."""
    return [msgspec.json.decode(line, type=OriginEvent) for line in out.getvalue().splitlines()]


async def body(connection: LinkConnection, size: int) -> None:
    """Carry a body as a server does."""
    async with connection:
        for start, stop in pieces(0, size):
            await connection.carry(stop - start)


@pytest.mark.parametrize(("total", "each", "seconds"), [(8e6, None, 1.0), (8e6, 2e6, 4.0), (None, 4e6, 2.0)])
async def test_the_slower_limit_holds(total: float | None, each: float | None, seconds: float) -> None:
    """A body takes as long as the slower of the link and its connection needs."""
    clock = FakeClock()

    await body(SlowLink(total, each, clock=clock).connection(), 1_000_000)

    assert clock.now - 1000.0 == pytest.approx(seconds, rel=0.02)


async def test_connections_share_the_link() -> None:
    """Three bodies at once take as long as one of their length."""
    clock = FakeClock()
    link = SlowLink(8e6, clock=clock)

    await asyncio.gather(*(body(link.connection(), 1_000_000) for _ in range(3)))

    # The clock sums the sleeps of all, so what is exact here is only the last moment that the link gave out.
    assert clock.now - 1000.0 >= 2.9


async def test_without_limits_nobody_waits() -> None:
    """A link without limits and latency costs no time."""
    clock = FakeClock()
    connection = SlowLink(clock=clock).connection()

    await connection.round_trip()
    await body(connection, 10_000_000)

    assert clock.sleeps == []


async def test_latency() -> None:
    """A round trip takes the latency, as it is at that moment."""
    clock = FakeClock()
    link = SlowLink(latency=0.02, clock=clock)
    connection = link.connection()

    await connection.round_trip()
    link.latency = 0.5
    await connection.round_trip()

    assert clock.sleeps == [0.02, 0.5]


async def test_idle_time_is_not_saved_up() -> None:
    """After a pause a body is as slow as one before it."""
    clock = FakeClock()
    connection = SlowLink(8e6, 8e6, clock=clock).connection()
    await body(connection, 100_000)
    clock.advance(60.0)
    since = clock.now

    await body(connection, 1_000_000)

    assert clock.now - since == pytest.approx(1.0, rel=0.02)


async def test_lateness_is_made_good() -> None:
    """A wake-up that comes late does not slow a body down: the pieces after it leave sooner."""

    class Late(FakeClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds + 0.003)

    clock = Late()

    await body(SlowLink(8e6, clock=clock).connection(), 1_000_000)

    assert clock.now - 1000.0 == pytest.approx(1.0, abs=0.01)


def test_pieces() -> None:
    """A body is cut without gaps; its first piece is small, so that the first byte is not late."""
    cut = list(pieces(10, 10 + FIRST_PIECE + PIECE + 1))

    assert [stop - start for start, stop in cut] == [FIRST_PIECE, PIECE, 1]
    assert (cut[0][0], cut[-1][1]) == (10, 10 + FIRST_PIECE + PIECE + 1)
    assert list(pieces(5, 5)) == []
