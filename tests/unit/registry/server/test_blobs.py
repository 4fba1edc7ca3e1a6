import asyncio
import json
import os
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obol.machine.tasks import spawn
from obol.oci.ranges import Part, Whole, parse_range
from obol.oci.references import Digest
from obol.registry.server import blobs as blobs_module
from obol.registry.store.ports import StoreError, transfer_id
from obol.registry.upstream.ports import Unavailable
from tests.fakes.content import blob as make_blob
from tests.fakes.http import Reply, talk
from tests.fakes.store import MemoryReadable, MemoryStore
from tests.fakes.upstream import FakeBlob, FakeUpstream
from tests.limits import eventually
from tests.unit.registry.server.serving import Serving, serving, session
from tests.unit.registry.world import FILL

DIGEST, DATA = make_blob(70_000, "large")
SMALL, SMALL_DATA = make_blob(2000, "small")
TARGET = f"/v2/team/app/blobs/{DIGEST}"
TINY = f"/v2/team/app/blobs/{SMALL}"
SIZE = len(DATA)
RANGES = [
    "bytes=500-1499", "bytes=500-", "bytes=-500", "bytes=69999-69999", "bytes=60000-99999", "bytes=0-0", "bytes=0-",
    "bytes=-99999", "BYTES=1-2",
]  # fmt: skip
IGNORED = ["items=0-5", "bytes=500-0x", "bytes=0-3,5-9", "bytes=--5", "bytes=a-b", "bytes=", "nonsense"]
OUTSIDE = [f"bytes={SIZE}-", f"bytes={SIZE + 5}-{SIZE + 9}", "bytes=-0"]


def held(data: bytes = DATA) -> tuple[FakeUpstream, FakeBlob]:
    """An upstream with a large blob, to be scripted, and a small one."""
    one = FakeUpstream()
    one.add_blob("team/app", SMALL, SMALL_DATA)
    blob = one.add_blob("team/app", DIGEST, data)
    blob.piece = 8192
    return one, blob


async def ranged(header: str, *, is_warm: bool) -> Reply:
    """The answer to a range of the large blob, which is fetched once, before or for it."""
    one, blob = held()
    async with serving(one) as s:
        if is_warm:
            await warm(s)
        reply = await s.ask("GET", TARGET, ("Range", header))
        await s.world.idle()
    assert blob.sent == SIZE
    return reply


async def warm(s: Serving) -> None:
    """Pull both once."""
    for target in (TARGET, TINY):
        assert (await s.ask("GET", target)).status == 200
    await s.world.idle()


async def test_cold_and_warm() -> None:
    """A blob comes whole, with its digest and as plain bytes, the first time and afterwards."""
    one, blob = held()
    async with serving(one) as s:
        cold = await s.ask("GET", TARGET, ("Accept", "text/html"))
        await s.world.idle()
        stored = await s.ask("GET", TARGET)

    for reply in (cold, stored):
        assert (reply.status, reply.body, reply.complete) == (200, DATA, True)
        assert reply.header("Content-Type") == "application/octet-stream"
        assert reply.header("Docker-Content-Digest") == DIGEST
        assert reply.header("Accept-Ranges") == "bytes"
        assert reply.header("X-Content-Type-Options") == "nosniff"
    assert [reply.header("Obol-Cache") for reply in (cold, stored)] == ["miss", "hit"]
    assert s.world.scope.counters.bytes_from_cache == SIZE
    assert blob.sent == SIZE


@pytest.mark.parametrize("header", RANGES)
@pytest.mark.parametrize("is_warm", [False, True])
async def test_range(header: str, is_warm: bool) -> None:
    """A single range is given exactly, whether the blob is held or on its way, and is fetched once."""
    part = parse_range(header, SIZE)
    assert isinstance(part, Part)
    reply = await ranged(header, is_warm=is_warm)

    assert (reply.status, reply.body, reply.complete) == (206, DATA[part.start : part.stop], True)
    assert reply.header("Content-Range") == f"bytes {part.start}-{part.stop - 1}/{SIZE}"
    assert reply.header("Content-Length") == str(part.stop - part.start)


@pytest.mark.parametrize("header", IGNORED)
@pytest.mark.parametrize("is_warm", [False, True])
async def test_ignored_range(header: str, is_warm: bool) -> None:
    """What we do not follow (several ranges, other units, nonsense) gives the whole blob."""
    reply = await ranged(header, is_warm=is_warm)

    assert (reply.status, reply.body, reply.header("Content-Range")) == (200, DATA, None)


@pytest.mark.parametrize("header", OUTSIDE)
@pytest.mark.parametrize("is_warm", [False, True])
async def test_outside(header: str, is_warm: bool) -> None:
    """A range outside the blob is 416 with its size, also while it is on its way."""
    reply = await ranged(header, is_warm=is_warm)

    assert (reply.status, reply.header("Content-Range")) == (416, f"bytes */{SIZE}")
    assert json.loads(reply.body)["errors"][0]["code"] == "RANGE_INVALID"


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, SIZE + 10), st.integers(0, SIZE + 10)), min_size=1, max_size=8))
def test_ranges_are_slices(spans: list[tuple[int, int]]) -> None:
    """Whatever range is asked of a held blob, the answer is the slice, or 416, or the whole."""

    async def run() -> None:
        store = MemoryStore()
        await store.content.put(Digest(DIGEST), DATA)
        one, _ = held()
        async with serving(one, store=store) as s, session(s.ports[0]) as client:
            for first, last in spans:
                header = f"bytes={first}-{last}"
                reply = await client.ask("GET", TARGET, ("Range", header))
                match parse_range(header, SIZE):
                    case Part(start, stop):
                        assert (reply.status, reply.body) == (206, DATA[start:stop])
                    case Whole():
                        assert (reply.status, reply.body) == (200, DATA)
                    case _:
                        assert reply.status == 416

    asyncio.run(run())


@pytest.mark.parametrize(
    ("value", "status"), [(f'"{DIGEST}"', 206), (f'W/"{DIGEST}"', 200), ('"other"', 200), ("Sat, 01 Jan 2000", 200)]
)
async def test_if_range(value: str, status: int) -> None:
    """A range on condition is followed where the client names this very blob, else the whole is given."""
    one, _ = held()
    async with serving(one) as s:
        reply = await s.ask("GET", TARGET, ("Range", "bytes=0-9"), ("If-Range", value))

    assert reply.status == status


async def test_not_modified() -> None:
    """Who holds the blob already is told so, without a body or a length."""
    one, _ = held()
    async with serving(one) as s:
        await warm(s)
        reply = await s.ask("GET", TARGET, ("If-None-Match", f'"{DIGEST}"'))

    assert (reply.status, reply.body, reply.header("Content-Length")) == (304, b"", None)
    assert reply.header("ETag") == f'"{DIGEST}"'


async def test_many_open_ranges_that_hang_up() -> None:
    """A client that opens many ranges to the end and hangs up after its piece disturbs nothing."""
    one, blob = held()
    async with serving(one) as s:

        async def piece(at: int) -> bytes:
            async with talk(s.ports[0], "GET", TARGET, [("Range", f"bytes={at}-")]) as conversation:
                assert await conversation.head() == 206
                return await conversation.exactly(1000)

        starts = range(0, 64_000, 8000)
        pieces = await asyncio.gather(*(piece(at) for at in starts))
        assert pieces == [DATA[at : at + 1000] for at in starts]
        await s.world.idle()
        assert await s.world.store.content.size(Digest(DIGEST)) == SIZE
    assert blob.sent == SIZE


async def test_empty_blob() -> None:
    """A blob of no bytes is 200 with length 0, cold and warm; any range of it is 416."""
    one = FakeUpstream()
    empty = Digest.of(b"")
    one.add_blob("team/app", empty, b"").ranges = False
    target = f"/v2/team/app/blobs/{empty}"
    async with serving(one) as s:
        for _ in range(3):
            head, get = await s.ask("HEAD", target), await s.ask("GET", target)
            assert (head.status, head.header("Content-Length")) == (200, "0")
            assert (get.status, get.body, get.complete, get.header("Content-Length")) == (200, b"", True, "0")
            await s.world.idle()
        assert (await s.ask("GET", target, ("Range", "bytes=0-"))).status == 416


@pytest.mark.parametrize(("version", "coding"), [("1.1", "chunked"), ("1.0", None)])
async def test_size_not_told(version: str, coding: str | None) -> None:
    """A body of unknown length is chunked, and ends only when it is verified; to HTTP/1.0, with the connection."""
    one, blob = held()
    blob.total, blob.ranges = None, False
    async with serving(one) as s, session(s.ports[0]) as client:
        reply = await client.ask("GET", TARGET, ("Range", "bytes=5-9"), ("Connection", "keep-alive"), version=version)

    assert (reply.status, reply.body, reply.complete) == (200, DATA, True)
    assert (reply.header("Transfer-Encoding"), reply.header("Content-Length")) == (coding, None)


async def test_wrong_and_size_not_told() -> None:
    """A wrong blob never ends cleanly, even when chunked."""
    one, blob = held(DATA[:-1] + b"!")
    blob.total, blob.ranges = None, False
    async with serving(one) as s:
        reply = await s.ask("GET", TARGET)

    assert (reply.status, reply.complete) == (200, False)
    assert len(reply.body) <= SIZE - FILL.withhold


@pytest.mark.parametrize("at", [0, 35_000, SIZE - 1])
async def test_wrong_byte(at: int) -> None:
    """A wrong blob is never served whole: the connection is closed, not reset, before its end; nothing is kept."""
    wrong = bytearray(DATA)
    wrong[at] ^= 1
    one, _ = held(bytes(wrong))
    async with serving(one) as s:
        reply = await s.ask("GET", TARGET)
        await s.world.idle()

        assert (reply.status, reply.complete) == (200, False)
        assert len(reply.body) <= SIZE - FILL.withhold
        assert await s.world.store.content.size(Digest(DIGEST)) is None
        assert (await s.ask("GET", TARGET, ("Range", f"bytes={len(reply.body)}-"))).status == 502


async def test_cut_in_the_middle() -> None:
    """When the upstream breaks for good, the client sees a short body at once, and its retry is 502."""
    one, blob = held()
    blob.failing_at, blob.cuts = 35_000, deque()
    async with serving(one) as s:
        reply = await s.ask("GET", TARGET)
        await s.world.idle()
        again = await s.ask("GET", TARGET, ("Range", "bytes=30000-"))

    assert (reply.status, reply.complete, again.status) == (200, False, 502)
    assert DATA.startswith(reply.body)


async def test_refused_before_the_first_byte() -> None:
    """Trouble before the first byte has an error status, and counts as an error."""
    one, _ = held()
    one.problems["open"] = Unavailable("down")
    async with serving(one) as s:
        reply = await s.ask("GET", TARGET)

    assert (reply.status, json.loads(reply.body)["errors"][0]["code"]) == (502, "UPSTREAM_BROKEN")


async def test_full_disk() -> None:
    """A disk that fills up in the middle costs the client nothing."""
    one, _ = held()
    store = MemoryStore()
    store.partials.fail_after = 30_000
    async with serving(one, store=store) as s:
        reply = await s.ask("GET", TARGET)

    assert (reply.body, reply.complete) == (DATA, True)


async def test_client_leaves() -> None:
    """A client that goes away in the middle of a cold blob leaves the transfer to go on."""
    one, blob = held()
    blob.hold(30_000)
    async with serving(one) as s:
        async with talk(s.ports[0], "GET", TARGET) as conversation:
            await conversation.head()
            await conversation.exactly(10_000)
        blob.let_go()
        await s.world.idle()

        assert (await s.ask("GET", TARGET)).header("Obol-Cache") == "hit"


async def test_resumed_transfer_says_so() -> None:
    """A client is told how much of its blob was there before it came."""
    store = MemoryStore()
    partial = await store.partials.open(transfer_id(Digest(DIGEST), "registry.test"))
    await partial.write(0, DATA[:30_000])
    await partial.checkpoint(30_000)
    partial.close()
    one, blob = held()
    async with serving(one, store=store) as s:
        reply = await s.ask("GET", TARGET)

    assert (reply.body, reply.header("Obol-Held")) == (DATA, "30000")
    assert blob.sent == SIZE - 30_000


async def test_joined_client_counts_as_a_hit() -> None:
    """Who joins a transfer that somebody else started is told so, and counts as served from the cache."""
    one, blob = held()
    blob.hold(30_000)
    async with serving(one) as s:
        first = spawn(s.ask("GET", TARGET), name="first")
        await eventually(lambda: blob.sent >= 30_000)
        second = spawn(s.ask("GET", TARGET), name="second")
        await asyncio.sleep(0.01)
        blob.let_go()

        assert [(await one).header("Obol-Cache") for one in (first, second)] == ["miss", "filling"]
        await eventually(lambda: s.world.scope.counters.bytes_from_cache == SIZE)


async def test_ready_small_blob() -> None:
    """A small blob is given from memory the second time, whatever becomes of the store; and counted."""
    one, _ = held()
    async with serving(one) as s, session(s.ports[0]) as client:
        await warm(s)
        before = s.world.scope.counters.bytes_from_cache
        first = await client.ask("GET", TINY)
        s.world.store.content._held.clear()
        again = await client.ask("GET", TINY)

        assert first.body == again.body == SMALL_DATA
        assert again.header("Obol-Cache") == "hit"
        assert s.world.scope.counters.bytes_from_cache == before + 2 * len(SMALL_DATA)


@pytest.mark.parametrize(("size", "kept"), [(blobs_module.SMALL, 2), (blobs_module.SMALL + 1, 0)])
async def test_how_large_a_hot_blob_may_be(size: int, kept: int) -> None:
    """What is called small is kept in memory by both keys, with its head; what is larger stays on the disk."""
    digest, data = make_blob(size, "limit")
    one, _ = held()
    one.add_blob("team/app", digest, data)
    target = f"/v2/team/app/blobs/{digest}"
    async with serving(one) as s, session(s.ports[0]) as client:
        await s.ask("GET", target)
        await s.world.idle()

        assert (await client.ask("GET", target)).body == data
        assert s.kept() == kept


@pytest.mark.parametrize("target", [TARGET, TINY])
async def test_truncated_while_served(target: str) -> None:
    """A stored file that is shorter than it should be is never served as if it were whole, and never kept ready."""
    one, _ = held()
    async with serving(one) as s:
        await warm(s)
        content = s.world.store.content
        real = content.open

        async def shortened(digest: Digest) -> object:
            readable = await real(digest)
            assert readable is not None
            os.ftruncate(readable.run(0, 1).descriptor, 1000)
            return readable

        content.open = shortened  # type: ignore[assignment, method-assign]  # a disk that loses bytes
        async with session(s.ports[0]) as client:
            reply = await client.ask("GET", target)

        assert reply.status == 503 or not reply.complete
        assert s.kept() == 0


async def test_small_blob_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails is 503: the client goes elsewhere."""
    one, _ = held()
    async with serving(one) as s, session(s.ports[0]) as client:
        await warm(s)

        async def fail(_readable: object) -> bytes:
            raise StoreError("the cache's disk is failing")

        monkeypatch.setattr(MemoryReadable, "read", fail)
        reply = await client.ask("GET", TINY)

        assert (reply.status, reply.header("Obol-Problem")) == (503, "disk")
