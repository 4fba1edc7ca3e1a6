import asyncio

import pytest

from obol.registry.server.connection import RECEIVED
from obol.registry.server.exchange import PIECE
from tests.fakes.clock import FakeClock
from tests.fakes.content import blob as make_blob
from tests.limits import eventually
from tests.unit.registry.server.manifests import IMAGE, OTHER, connections, get, handed_over, parsed, same, upstream
from tests.unit.registry.server.serving import serving, session


async def test_repeated() -> None:
    """A request that comes again byte for byte is answered without being parsed, also on a connection of its own."""
    async with serving(upstream()) as s, session(s.ports[0]) as first, session(s.ports[0]) as second:
        asked = await first.give(get("v1"))
        for client in (first, second, second, first):
            asked = await client.give(get("v1"))
            assert same(asked)

        assert parsed(s) == 1
        assert s.world.scope.counters.hit == 4


async def test_other_bytes() -> None:
    """One byte that is another makes it another request, and the connection goes on with it."""
    async with serving(upstream()) as s, session(s.ports[0]) as client:
        for request in (get("v1"), get("v1"), get("v2"), get("v1", "Accept: */*"), get("v1"), get("v2")):
            reply = await client.give(request)
            assert reply.body == (OTHER if b"/v2 " in request else IMAGE).index.body

        assert parsed(s) == 3


async def test_little_is_received_at_once() -> None:
    """What a client sends is read into a small piece of memory."""
    async with serving(upstream()) as s, session(s.ports[0]) as client:
        await client.give(get("v1"))

        (connection,) = connections(s)
        assert getattr(connection.transport, "max_size", None) == RECEIVED


async def test_same_meaning() -> None:
    """Other bytes that mean the same are parsed once, then they are known as well."""
    async with serving(upstream()) as s, session(s.ports[0]) as client:
        for request in (get("v1"), get("v1", "User-Agent: a"), get("v1", "User-Agent: a"), get("v1")):
            assert same(await client.give(request))

        assert parsed(s) == 2
        assert s.world.scope.counters.hit == 3


async def test_in_pieces() -> None:
    """A request that comes in pieces is parsed, and so is all that follows it on this connection."""
    for cut in (1, 3, 30, len(get("v1")) - 2):
        async with serving(upstream()) as s, session(s.ports[0]) as whole, session(s.ports[0]) as pieces:
            await whole.give(get("v1"))
            pieces.send(get("v1")[:cut])
            await handed_over(s)
            assert same(await pieces.give(get("v1")[cut:]))
            assert same(await pieces.give(get("v1")))

            assert parsed(s) == 3


async def test_several_at_once() -> None:
    """Requests that come together are all answered, each with its own answer and in their order, however often."""
    async with serving(upstream()) as s:
        for _ in range(2):
            async with session(s.ports[0]) as client:
                client.send(get("v1") * 3 + get("v2"))
                assert same(*[await client.answer() for _ in range(3)])
                assert (await client.answer()).body == OTHER.index.body


async def test_in_order() -> None:
    """A ready answer does not overtake one that is still on its way."""
    async with serving(upstream()) as s, session(s.ports[0]) as warm, session(s.ports[0]) as client:
        await warm.give(get("v1"))
        gate = s.world.upstream.gates["get_manifest"] = asyncio.Event()
        client.send(get("v2"))
        await eventually(lambda: s.world.upstream.count("get_manifest", "v2") == 1)
        client.send(get("v1"))
        await eventually(lambda: any(one._messages for one in connections(s)))
        gate.set()

        assert (await client.answer()).body == OTHER.index.body
        assert same(await client.answer())
        for either in (warm, client):
            assert (await either.give(get("v2"))).body == OTHER.index.body


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_body_is_no_request(method: str, chunked: bool) -> None:
    """A body that reads like a request is none, whenever it comes, and what follows it is one."""
    body = get("v1")
    head = get("v2", "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}", method=method)
    async with serving(upstream()) as s:
        for _ in range(2):
            async with session(s.ports[0]) as client:
                await client.give(get("v1"))
                client.send(head)
                await handed_over(s)
                if chunked:
                    client.send(b"%x\r\n" % len(body))
                    await asyncio.sleep(0)
                assert not same(await client.give(body))
                client.send(b"\r\n0\r\n\r\n" if chunked else b"")
                assert (await client.give(get("v2"))).body == OTHER.index.body


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("Range: bytes=0-1", "1.1"),
        ('If-None-Match: "x"', "1.1"),
        ("Authorization: Basic dTpw", "1.1"),
        ("Cookie: a=b", "1.1"),
        ("Connection: close", "1.1"),
        ("Connection: keep-alive", "1.0"),
    ],
)
async def test_not_kept(line: str, version: str) -> None:
    """The bytes of parts, conditions, secrets, last requests and old HTTP are parsed each time, and not kept."""
    async with serving(upstream()) as s:
        for _ in range(3):
            async with session(s.ports[0]) as client:
                assert same(await client.give(get("v1", line, version=version)))

        assert parsed(s) == 3
        assert len(s.handlers[0]._ready._by_bytes) == 0


@pytest.mark.parametrize(
    ("line", "version", "told"),
    [
        ("traceparent: 00-1-1-01", "1.1", None),
        ("Authorization: Basic dTpw", "1.1", None),
        ("Connection: close", "1.1", "close"),
        ("Connection: keep-alive", "1.0", "keep-alive"),
        ("Connection: close", "1.0", "close"),
    ],
)
async def test_found_by_meaning(monkeypatch: pytest.MonkeyPatch, line: str, version: str, told: str | None) -> None:
    """What changes no answer does not make the engine find it again; the connection is kept as this client wishes."""
    async with serving(upstream()) as s, session(s.ports[0]) as first, session(s.ports[0]) as client:
        await first.give(get("v1"))
        monkeypatch.setattr(s.world.engine.manifests, "get", None)

        reply = await client.give(get("v1", line, version=version))

        assert same(reply)
        assert (reply.header("Obol-Cache"), reply.header("Connection")) == ("hit", told)
        assert s.world.scope.counters.hit == 1


@pytest.mark.parametrize("line", ['If-None-Match: "x"', "Range: bytes=0-1"])
async def test_always_looked_at(line: str) -> None:
    """The answer to a request with a condition or a range is not kept at all."""
    async with serving(upstream()) as s, session(s.ports[0]) as client:
        assert same(await client.give(get("v1", line)))

        assert s.kept() == 0


async def test_kept_alive() -> None:
    """A connection whose requests are all repeated is not closed as an idle one: aiohttp hears of some of them."""
    async with serving(upstream()) as s, session(s.ports[0]) as client:
        await client.give(get("v1"))
        (connection,) = connections(s)
        now, clock = connection._now(), FakeClock(now=0.0)
        connection._now = lambda: now + clock.monotonic()
        for pause, expected in ((2.4, 1), (0.2, 2), (0.2, 2), (2.5, 3)):
            clock.advance(pause)
            assert same(await client.give(get("v1")))
            assert parsed(s) == expected


async def test_client_that_takes_nothing() -> None:
    """Answers do not pile up before a client that asks on and reads nothing; when it reads, it has them all."""
    digest, data = make_blob(60_000, "configuration")
    ask = f"GET /v2/team/app/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode("ascii")
    one, count = upstream(), 300
    most = PIECE + len(data) + 1024
    """One answer was made by aiohttp, which then waits."""
    one.add_blob("team/app", digest, data)
    async with serving(one) as s, session(s.ports[0]) as client:
        for _ in range(2):  # the second one from the store
            await client.give(ask)
            await s.world.idle()
        (connection,) = connections(s)
        assert connection.transport is not None
        for _ in range(count):
            client.send(ask)
            for _ in range(3):
                await asyncio.sleep(0)
            assert connection.transport.get_write_buffer_size() <= most

        assert [(await client.answer()).body == data for _ in range(count)] == [True] * count


async def test_forgotten() -> None:
    """An answer whose time has passed is found out anew."""
    async with serving(upstream(), tag_ttl=60.0) as s, session(s.ports[0]) as client:
        assert same(await client.give(get("v1")))
        s.world.upstream.add("team/app", "v1", OTHER)
        s.world.clock.advance(60.0)
        assert (await client.give(get("v1"))).body == OTHER.index.body
