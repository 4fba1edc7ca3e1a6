import asyncio
import gzip
import zlib
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import aiohttp
import pytest

from obol.registry.upstream.blobs import BlobRange, Body, RegistryStream, Trickle
from obol.registry.upstream.ports import Misbehaved, RangesRefused, Unavailable, UpstreamError
from tests.fakes.behaviours import (
    BAD_RANGES,
    BROKEN_TRANSFER,
    Behaviour,
    Exchange,
    empty,
    extra_byte,
    gzip_label,
    gzipped,
    html,
    missing_byte,
    range_ignored,
    stall_mid_body,
    trickle,
)
from tests.fakes.clock import FakeClock
from tests.fakes.hostile import HostileRegistry
from tests.fakes.registry import FakeRegistry, Forced
from tests.unit.registry.upstream.reach import DATA, DIGEST, LIMITS, SIZE, collect, everything, reached, shelved


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (BlobRange(0, None, plain=False), None),
        (BlobRange(0, 10, plain=True), None),
        (BlobRange(0, 10, plain=False), "bytes=0-9"),
        (BlobRange(5, 10, plain=False), "bytes=5-9"),
        (BlobRange(5, None, plain=False), "bytes=5-"),
    ],
)
def test_ranges_are_closed_where_the_end_is_known(wanted: BlobRange, field: str | None) -> None:
    """The whole blob is asked for without a Range, the rest with as exact a one as can be had."""
    assert wanted.headers().get("Range") == field


@pytest.mark.parametrize("content_length", [True, False])
async def test_a_whole_blob(*, content_length: bool) -> None:
    """A plain answer begins at 0 and is not a range; a chunked one is as long as the descriptor says."""
    async with FakeRegistry() as server, reached(server.url) as at:
        shelved(server)
        server.content_length = content_length

        stream = await at.blob.open_once(0, None)

        assert (stream.start, stream.total, stream.ranged) == (0, SIZE, False)
        assert await everything(stream) == DATA
        assert server.log[0].header("Range") is None


async def test_a_blob_of_unknown_size_is_read_to_its_end() -> None:
    """Neither a descriptor nor a Content-Length: the total is not known, the end is."""
    async with FakeRegistry() as server, reached(server.url, None) as at:
        shelved(server)
        server.content_length = False

        stream = await at.blob.open_once(0, None)

        assert stream.total is None
        assert await everything(stream) == DATA


@pytest.mark.parametrize("advertised", [True, False])
async def test_a_range_of_a_blob(*, advertised: bool) -> None:
    """A segment is what was asked for, whether or not the upstream advertises ranges."""
    async with FakeRegistry() as server, reached(server.url) as at:
        shelved(server)
        server.advertise_ranges = advertised
        server.open_ranges = False

        stream = await at.blob.open_once(1000, 3000)

        assert (stream.start, stream.total, stream.ranged) == (1000, SIZE, True)
        assert await everything(stream) == DATA[1000:3000]
        assert server.log[0].header("Range") == "bytes=1000-2999"


async def test_a_range_tells_a_size_that_nobody_knew() -> None:
    """Without a descriptor the total comes from Content-Range, and an end beyond it is cut to it."""
    async with FakeRegistry() as server, reached(server.url, None) as at:
        shelved(server)

        stream = await at.blob.open_once(SIZE - 10, SIZE + 90)

        assert stream.total == SIZE
        assert await everything(stream) == DATA[-10:]
        assert await at.fetch(SIZE - 5, None) == DATA[-5:]


async def test_a_range_may_leave_the_total_open() -> None:
    """`bytes a-b/*` is as good as a total, if the descriptor has one."""

    async def starred(exchange: Exchange) -> None:
        headers = [(key, value.replace(f"/{SIZE}", "/*")) for key, value in exchange.honest.headers]
        await exchange.say(replace(exchange.honest, headers=tuple(headers)))

    async with HostileRegistry({"blob": starred}) as server, reached(server.url) as at:
        shelved(server)

        assert await at.fetch(10, 20) == DATA[10:20]
    async with HostileRegistry({"blob": starred}) as server, reached(server.url, None) as at:
        shelved(server)

        stream = await at.blob.open_once(10, 20)
        assert stream.total is None
        stream.close()
        with pytest.raises(RangesRefused):
            await at.blob.open_once(10, None)


@pytest.mark.parametrize("start", [0, 1000])
async def test_an_ignored_range_is_told(start: int) -> None:
    """A 200 to a range is the whole blob from 0, and says so."""
    async with HostileRegistry({"blob": range_ignored}) as server, reached(server.url) as at:
        shelved(server)

        stream = await at.blob.open_once(start, start + 1000)

        assert (stream.start, stream.ranged) == (0, False)
        assert await everything(stream) == DATA


@pytest.mark.parametrize(
    ("name", "size"),
    [(name, SIZE) for name in BAD_RANGES if name != "ignored"]
    + [(name, None) for name in ("wrong start", "wrong length", "refused")],
)
async def test_a_range_that_does_not_fit_is_refused(name: str, size: int | None) -> None:
    """Another start, another length, or 416: the range is not used, and a plain request still is possible."""
    async with HostileRegistry({"blob": BAD_RANGES[name]}) as server, reached(server.url, size) as at:
        shelved(server)

        with pytest.raises(RangesRefused):
            await at.fetch(1000, 3000)

        if name != "refused":
            assert await at.fetch(0, SIZE, plain=True) == DATA


async def test_a_206_that_nobody_asked_for_is_refused() -> None:
    """A part is no answer to a plain request."""
    async with FakeRegistry() as server, reached(server.url) as at:
        server.status_for = {DIGEST: Forced(206, (("Content-Range", f"bytes 0-9/{SIZE}"),), DATA[:10])}

        with pytest.raises(RangesRefused):
            await at.blob.open_once(0, None, plain=True)


@pytest.mark.parametrize("field", [None, "bytes */100000", "bytes 5-4/100000", "lines 1000-1999/100000", "nonsense"])
async def test_a_206_without_a_proper_content_range_is_refused(field: str | None) -> None:
    """A part that does not say which is of no use."""
    async with FakeRegistry() as server, reached(server.url) as at:
        headers = () if field is None else (("Content-Range", field),)
        server.status_for = {DIGEST: Forced(206, headers, DATA[1000:2000])}

        with pytest.raises(RangesRefused):
            await at.blob.open_once(1000, 2000)


@pytest.mark.parametrize("name", sorted(BROKEN_TRANSFER))
@pytest.mark.parametrize("stop", [None, 3000])
async def test_a_broken_transfer_may_pass(name: str, stop: int | None) -> None:
    """A body that ends early is cut short, not wrong: what came is good, and the rest can be asked for."""
    async with HostileRegistry({"blob": BROKEN_TRANSFER[name]}) as server, reached(server.url) as at:
        shelved(server)

        with pytest.raises(Unavailable):
            await at.fetch(0, stop)

        server.behaviours.clear()
        assert await at.fetch(2000, 3000) == DATA[2000:3000]


async def test_bytes_before_a_cut_are_delivered() -> None:
    """What arrived is handed on before the error."""
    async with FakeRegistry() as server, reached(server.url) as at:
        shelved(server)
        server.cuts = [50_000]
        stream = await at.blob.open_once(0, None)
        received = bytearray()

        with pytest.raises(Unavailable, match="cut"):
            await collect(stream, received)

        assert bytes(received) == DATA[:50_000]


@pytest.mark.parametrize(("behaviour"), [extra_byte, missing_byte, empty], ids=["extra", "missing", "empty"])
async def test_a_length_other_than_the_descriptors_is_refused(behaviour: Behaviour) -> None:
    """A whole answer of another length is known to be wrong before a byte of it is read."""
    async with HostileRegistry({"blob": behaviour}) as server, reached(server.url) as at:
        shelved(server)

        with pytest.raises(Misbehaved, match="another length"):
            await at.blob.open_once(0, None)


async def test_surplus_bytes_are_noticed() -> None:
    """A chunked body that goes on after the descriptor's size is stopped."""
    async with FakeRegistry() as server, reached(server.url, SIZE - 1) as at:
        shelved(server)
        server.content_length = False

        with pytest.raises(Misbehaved, match="longer"):
            await at.fetch(0, None)


async def test_a_short_body_without_length_is_noticed() -> None:
    """A chunked body that ends before the descriptor's size is cut short."""
    async with FakeRegistry() as server, reached(server.url, SIZE + 1) as at:
        shelved(server)
        server.content_length = False

        with pytest.raises(Unavailable, match="cut short"):
            await at.fetch(0, None)


async def test_a_web_page_is_no_blob() -> None:
    """Where no length could tell, the page of a captive portal is known by its type."""
    async with HostileRegistry({"blob": html}) as server, reached(server.url, None) as at:
        shelved(server)

        with pytest.raises(Misbehaved, match="web page"):
            await at.blob.open_once(0, None)


@pytest.mark.parametrize("size", [SIZE, None])
async def test_a_blob_that_is_only_labelled_is_taken_as_it_is(size: int | None) -> None:
    """Where the length is that of the blob, or nobody knows it, Content-Encoding is taken for a label."""
    async with HostileRegistry({"blob": gzip_label}) as server, reached(server.url, size) as at:
        shelved(server)

        assert await at.fetch(0, None) == DATA


async def test_a_blob_that_really_is_encoded_is_decoded() -> None:
    """What was encoded though nobody asked is undone; the size is that of the descriptor."""
    async with HostileRegistry({"blob": gzipped}) as server, reached(server.url) as at:
        shelved(server)

        stream = await at.blob.open_once(0, None)

        assert (stream.total, stream.ranged) == (SIZE, False)
        assert await everything(stream) == DATA


async def test_an_encoded_blob_that_grows_much_is_decoded_piece_by_piece() -> None:
    """A small body that decodes to a lot comes in bounded pieces."""
    size = 5_000_000
    packed = zlib.compress(b"\0" * size)
    async with FakeRegistry() as server, reached(server.url, size) as at:
        server.status_for = {DIGEST: Forced(200, (("Content-Encoding", "deflate"),), packed)}
        stream = await at.blob.open_once(0, None)
        lengths = []
        while piece := await stream.read():
            lengths.append(len(piece))

        stream.close()
        assert sum(lengths) == size
        assert max(lengths) <= 1024 * 1024


PACKED = gzip.compress(DATA, mtime=0)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"not gzip", Misbehaved),
        (PACKED[:-20_000], Unavailable),
        (gzip.compress(DATA[:-1], mtime=0), Unavailable),
        (gzip.compress(DATA + b"!", mtime=0), Misbehaved),
        (PACKED + b"x" * 5_000_000, Misbehaved),
    ],
    ids=["not encoded", "cut", "short", "long", "trailing"],
)
async def test_a_badly_encoded_blob_is_refused(body: bytes, kind: type[UpstreamError]) -> None:
    """Not of its encoding, or decoded to another length than the descriptor's."""
    async with FakeRegistry() as server, reached(server.url) as at:
        server.status_for = {DIGEST: Forced(200, (("Content-Encoding", "gzip"),), body)}

        with pytest.raises(kind):
            await at.fetch(0, None)


async def test_an_unknown_encoding_is_refused() -> None:
    """What we cannot undo is of no use."""
    async with FakeRegistry() as server, reached(server.url) as at:
        server.status_for = {DIGEST: Forced(200, (("Content-Encoding", "zstd"),), b"x" * 10)}

        with pytest.raises(Misbehaved, match="not asked for"):
            await at.blob.open_once(0, None)


async def test_an_encoded_range_is_refused() -> None:
    """A part of encoded bytes cannot be placed; a plain request remains."""
    async with HostileRegistry({"blob": gzip_label}) as server, reached(server.url) as at:
        shelved(server)

        with pytest.raises(RangesRefused, match="encodes"):
            await at.blob.open_once(10, 20)


async def test_silence_in_a_body_is_not_waited_out() -> None:
    """A body that stops is given up after the idle limit."""
    limits = replace(LIMITS, idle=0.05)
    async with HostileRegistry({"blob": stall_mid_body}) as server, reached(server.url, limits=limits) as at:
        shelved(server)

        with pytest.raises(Unavailable, match="in time"):
            await at.fetch(0, None)


async def test_a_trickle_is_given_up() -> None:
    """A body that brings next to nothing for a whole window is given up, though it is never silent."""
    async with HostileRegistry({"blob": trickle(0.001)}) as server, reached(server.url) as at:
        shelved(server)
        stream = await at.blob.open_once(0, None)

        with pytest.raises(Unavailable, match="next to nothing"):
            await collect(stream, bytearray(), lambda: at.clock.advance(0.5))


def test_slow_but_steady_is_not_a_trickle() -> None:
    """As long as each window brings enough, a transfer may take as long as it likes."""
    clock = FakeClock()
    watch = Trickle(clock, window=20.0, least=1000)

    for _ in range(10_000):
        clock.advance(19.0)
        assert watch.saw(1000)

    clock.advance(19.0)
    assert watch.saw(999)
    clock.advance(2.0)
    assert not watch.saw(0)


async def test_closing_early_drops_the_connection() -> None:
    """A stream that is closed with bytes left gives nothing back; one that was read does."""
    async with FakeRegistry() as server, reached(server.url) as at:
        shelved(server)
        server.gate = asyncio.Event()
        server.gate_at = 50_000
        stream = await at.blob.open_once(0, None)
        await stream.read()

        stream.close()

        server.gate.set()
        server.gate = None
        assert await at.fetch(0, None) == DATA
        assert await at.fetch(0, None) == DATA
        assert server.connections == 1


class Dribble:
    """A body that arrives byte by byte."""

    def __init__(self, data: bytes) -> None:
        self._left = [data[at : at + 1] for at in range(len(data))]

    async def readany(self) -> bytes:
        return self._left.pop(0) if self._left else b""


async def test_an_encoded_body_may_come_in_any_pieces() -> None:
    """A piece that decodes to nothing yet is not the end."""
    response = cast("aiohttp.ClientResponse", SimpleNamespace(content=Dribble(gzip.compress(b"abc" * 100))))
    body = Body(0, 300, 300, decoder=zlib.decompressobj(zlib.MAX_WBITS | 32))
    progress: list[None] = []
    stream = RegistryStream(response, body, Trickle(FakeClock(), 1.0, 1), lambda: progress.append(None))
    received = b""

    while piece := await stream.read():
        received += piece

    assert received == b"abc" * 100
    assert progress
