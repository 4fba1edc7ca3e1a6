import asyncio
import logging
import time
from dataclasses import replace

import pytest
import structlog

from obol.machine.tasks import spawn
from obol.registry.server.connection import END
from obol.registry.settings import TimeLimits
from tests.limits import eventually, scaled
from tests.unit.registry.server.manifests import OTHER, connections, get, handed_over, parsed, same, upstream
from tests.unit.registry.server.serving import Session, serving, session
from tests.unit.registry.world import LIMITS

WISHES = [
    ("Connection: Upgrade", "Upgrade: websocket"),
    ("Connection: Upgrade, HTTP2-Settings", "UPGRADE: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"),
    ("Connection: keep-alive, upgrade", "Upgrade: TLS/1.0, anything"),
    ("Upgrade: h2c",),
]


@pytest.mark.parametrize("wish", WISHES)
async def test_upgrade(wish: tuple[str, ...]) -> None:
    """A wish for another protocol is passed over, and all requests are answered, also those that come with it."""
    asked = get("v1", *wish)
    together = asked + get("v1") + asked + asked + get("v1")
    async with serving(upstream()) as s, session(s.ports[0]) as client:
        for request in (asked, asked, get("v1"), together, asked, together):
            client.send(request)
            assert same(*[await client.answer() for _ in range(request.count(END))])
        assert (await client.give(get("v2"))).body == OTHER.index.body


async def test_upgrade_with_a_body() -> None:
    """Nor is anything lost behind a body that follows such a wish, or behind a wish that comes in pieces."""
    asked = get("v2", "Connection: Upgrade", "Upgrade: h2c", "Content-Length: 5", method="PUT")
    async with serving(upstream()) as s, session(s.ports[0]) as client:
        assert (await client.give(asked + b"abcde" + get("v1"))).status == 405
        assert same(await client.answer())
        wish = get("v1", "Connection: Upgrade", "Upgrade: websocket")
        client.send(wish[:-20])
        await handed_over(s)
        assert same(await client.give(wish[-20:]))
        assert same(await client.give(get("v1")))


@pytest.mark.parametrize("cut", range(1, 10))
async def test_upgrade_in_pieces(cut: int) -> None:
    """Wherever a wish for another protocol is cut, what comes with its end is answered."""
    wish = get("v1", "Connection: Upgrade", "Upgrade: h2c")
    at = wish.index(b"\r\nUpgrade:") + cut
    async with serving(upstream()) as s, session(s.ports[0]) as client:
        client.send(wish[:at])
        await handed_over(s)
        client.send(wish[at:] + get("v1"))
        assert same(await client.answer(), await client.answer())


async def test_a_refused_client_that_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends what is no HTTP and leaves before it is told so causes no failure."""

    def gone(*_: object) -> None:
        raise OSError(107, "not connected")

    monkeypatch.setattr("asyncio.selector_events._SelectorSocketTransport.write_eof", gone)
    async with serving(upstream()) as s, session(s.ports[0]) as client:
        assert (await client.give(b"rubbish\r\n\r\n")).status == 400

        assert {event for event, _ in s.shared.seldom._told} == {"bad requests"}


async def test_chunks_of_an_old_version() -> None:
    """Behind chunks in HTTP/1.0 nothing is taken for another request, and the connection ends."""
    wish = get("v1", "Transfer-Encoding: chunked", "Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0")
    async with serving(upstream()) as s, session(s.ports[0]) as client:
        assert same(await client.give(wish + b"0\r\n\r\n" + get("v2")))
        assert await client.reader.read() == b""


def short(seconds: float = 0.05) -> TimeLimits:
    """Limits under which a request must come quickly."""
    return replace(LIMITS, request=seconds)


async def rest(client: Session, within: float = 3.0) -> bytes:
    """All that comes until the connection is closed, which must be soon."""
    async with asyncio.timeout(scaled(within)):
        try:
            return await client.reader.read()
        except ConnectionResetError:
            return b""


@pytest.mark.parametrize("cut", [1, 10, -1])
async def test_half_a_head(cut: int) -> None:
    """A head whose end does not come in time is refused, and the connection is closed, however slowly it goes on."""
    async with serving(upstream(), limits=short()) as s, session(s.ports[0]) as client:
        client.send(get("v1")[:cut])
        answer = await rest(client)

        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"Connection: close" in answer


async def test_trickled_head() -> None:
    """The time counts from the first byte of a head, so sending a byte now and then does not stretch it."""
    async with serving(upstream(), limits=short(0.1)) as s, session(s.ports[0]) as client:
        reading = spawn(rest(client), name="reading")
        for byte in get("v1", "X: " + "y" * 1000)[:-1]:
            client.send(bytes([byte]))
            await asyncio.sleep(0.005)
            if reading.done():
                break

        assert (await reading).startswith(b"HTTP/1.1 408 ")
        assert parsed(s) == 0


async def test_half_a_head_behind_a_request() -> None:
    """So it is with half a head behind a request that was answered, and with one that comes after a pause."""
    async with serving(upstream(), limits=short()) as s:
        for before, after in ((get("v1") + get("v1")[:20], b""), (get("v1"), get("v1")[:20])):
            async with session(s.ports[0]) as client:
                assert same(await client.give(before))
                client.send(after)
                await rest(client)


async def test_body_that_does_not_come() -> None:
    """A body that is announced and does not come is waited for no longer than a head."""
    async with serving(upstream(), limits=short()) as s:
        for line in ("Content-Length: 5", "Transfer-Encoding: chunked", "Content-Length: 5\r\nExpect: 100-continue"):
            async with session(s.ports[0]) as client:
                assert same(await client.give(get("v1", line)))
                await rest(client)


async def test_idle_connection_stays() -> None:
    """A connection on which nothing is asked is kept, before and after a request, for longer than a head may take."""
    async with serving(upstream(), limits=short(0.01)) as s, session(s.ports[0]) as client:
        for request in (get("v1"), get("v1") * 3, get("v2", method="PUT"), get("v1")):
            client.send(request)
            for _ in range(request.count(END)):
                await client.answer()
            await asyncio.sleep(0.05)
        assert same(await client.give(get("v1")))
        assert len(connections(s)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "Accept: a/b" + ", a/b" * 200_000,
        "\r\n".join(["Accept: " + "a/b," * 2000] * 128),
        "X: y\r\n" * 1000,
        "X" * 9000 + ": y",
    ],
    ids=["long line", "many long lines", "many lines", "long name"],
)
async def test_large_head(line: str) -> None:
    """A head that is too large in all is refused at once, before all of it has come, and costs next to nothing."""
    async with serving(upstream()) as s, session(s.ports[0]) as client:
        began = time.process_time()
        client.send(get("v1", line.rstrip("\r\n")))
        answer = await rest(client)
        took = time.process_time() - began

        assert answer[:13] in {b"HTTP/1.1 431 ", b"HTTP/1.1 400 "}
        assert b"Connection: close" in answer
        assert s.world.upstream.asked == []
        assert took < 0.2
        assert (await s.ask("GET", "/v2/")).status == 200


async def test_head_that_is_large_enough() -> None:
    """A head as registry clients send them at most is no trouble: a long token and many types."""
    async with serving(upstream()) as s, session(s.ports[0]) as client:
        assert same(
            await client.give(
                get("v1", "Authorization: Bearer " + "x" * 8000, *[f"Accept: a/b{number}" for number in range(40)])
            )
        )


async def test_little_is_taken_while_a_client_waits() -> None:
    """What a client sends on behind a request that is being answered stays in the system's memory, not in ours."""
    async with serving(upstream()) as s, session(s.ports[0]) as client:
        gate = s.world.upstream.gates["get_manifest"] = asyncio.Event()
        client.send(get("v2"))
        await eventually(lambda: s.world.upstream.count("get_manifest", "v2") == 1)
        client.send(get("v1") * 2000)
        (connection,) = connections(s)
        await eventually(lambda: connection._held_back)
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert connection.transport is not None
        assert not connection.transport.is_reading()
        assert len(connection._messages) <= 32
        gate.set()

        assert (await client.answer()).body == OTHER.index.body
        for _ in range(2000):
            assert same(await client.answer())


CANARY = "s3cr3t"
BAD = [
    f"GET /v2/{CANARY} HTTP/9.9\r\n\r\n",
    f"{CANARY}\x00\r\n\r\n",
    f"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nCookie: {CANARY}\x00\r\n\r\n",
    f"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic\r\n {CANARY}\r\n\r\n",
    f"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: {CANARY}{'A' * 9000}\r\n\r\n",
    f"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: {CANARY}\r\n\r\n",
    f"GET http://[{CANARY}/v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    f"GET /v2/{CANARY}/blobs/x HTTP/1.1\r\nHost: {CANARY}\r\n\r\n",
    f"PUT /v2/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{CANARY}\r\n",
    f"CONNECT {CANARY}:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    f"GET /v2/ HTTP/1.1\r\n{CANARY}: x\r\n\r\n",
]


async def test_nothing_of_a_request_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """What is no HTTP is refused with a word of ours, and told in the log once with a count, without a byte of it."""
    with caplog.at_level(logging.DEBUG), structlog.testing.capture_logs() as told:
        async with serving(upstream()) as s:
            for bad in BAD * 3:
                async with session(s.ports[0]) as client:
                    client.send(bad.encode("latin-1"))
                    answer = await rest(client) if "CONNECT" not in bad and "/blobs/x" not in bad else b""
                    assert CANARY.encode() not in answer
            s.world.clock.advance(1.0)
            async with session(s.ports[0]) as client:
                client.send(BAD[1].encode("latin-1"))
                await rest(client)

    assert CANARY not in caplog.text + str(told)
    assert "Traceback" not in caplog.text
    first, second = [line for line in told if line["event"] == "bad requests"]
    assert "left_out" not in first
    assert second["left_out"] > 10


async def test_failure_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that nobody expected is told with its place, and not with its text; the client gets 500."""
    async with serving(upstream()) as s:
        monkeypatch.setattr(s.world.engine.manifests, "get", broken)
        with structlog.testing.capture_logs() as told:
            reply = await s.ask("GET", "/v2/team/app/manifests/v1")

    assert reply.status == 500
    assert s.world.scope.counters.error == 1
    assert reply.header("Connection") == "close"
    (line,) = told
    assert (line["problem"], CANARY in str(line), "broken" in line["where"]) == ("ValueError", False, True)


async def broken(*_: object, **__: object) -> None:
    """Fail with what a client sent."""
    raise ValueError(CANARY)
