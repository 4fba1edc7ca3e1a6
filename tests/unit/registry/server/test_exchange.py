from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import cast

import pytest
from aiohttp import web

from obol.machine.logs import Seldom
from obol.machine.tasks import spawn
from obol.oci.errors import NAME_INVALID, UNAVAILABLE, UNSUPPORTED, OciError
from obol.oci.references import Digest
from obol.registry.control.api import Source
from obol.registry.engine.accounts import Accounts
from obol.registry.engine.scopes import Scope
from obol.registry.server import exchange as exchange_module
from obol.registry.server.budget import Budget
from obol.registry.server.exchange import (
    PIECE,
    Exchange,
    Rendered,
    Shared,
    content_headers,
    refusal_headers,
)
from obol.registry.server.hosts import Hosts
from obol.registry.settings import TimeLimits
from tests.fakes.clock import FakeClock
from tests.fakes.upstream import FakeUpstream

DIGEST = Digest.of(b"data")


@dataclass
class Transport:
    """What was written; what the client does not take stays unsent."""

    written: list[bytes] = field(default_factory=list)
    takes_all: bool = True
    unsent: int = 0
    aborted: bool = False

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def write(self, data: bytes | memoryview) -> None:
        self.written.append(bytes(data))
        if not self.takes_all:
            self.unsent += len(data)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def set_write_buffer_limits(self, high: int | None = None) -> None:
        pass


@dataclass
class Incoming:
    """As much of a request as an answer looks at."""

    version: tuple[int, int] = (1, 1)
    keep_alive: bool = True
    transport: Transport | None = field(default_factory=Transport)
    drained: int = 0
    budget: Budget = field(default_factory=lambda: Budget(1 << 20, FakeClock().monotonic))
    kept: list[int] = field(default_factory=list)
    """What was kept at each wait."""
    method: str = "GET"
    begun: bool = False

    @property
    def writer(self) -> Incoming:
        return self

    @property
    def protocol(self) -> Incoming:
        return self

    async def drain(self) -> None:
        self.drained += 1
        self.kept.append(self.budget.kept)
        if self.transport is not None:
            self.transport.unsent = 0

    def request(self) -> web.BaseRequest:
        return cast("web.BaseRequest", self)


def shared(clock: FakeClock | None = None, budget: Budget | None = None) -> Shared:
    """What exchanges share."""
    clock = clock or FakeClock()
    return Shared(Hosts(()), budget or Budget(1, clock.monotonic), Seldom(clock), clock, TimeLimits(), 1)


def exchange(incoming: Incoming) -> Exchange:
    """The exchange of a request."""
    scope = Scope("registry.test", FakeUpstream())
    one = Exchange(incoming.request(), None, scope, Accounts(), shared(budget=incoming.budget))
    one.serves(Source.HIT)
    return one


HEAD = shared().head(Rendered(200, ()))


def test_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head has the status line, the date, the headers in order, and ours on every answer."""
    monkeypatch.setattr(FakeClock, "wall", lambda _: 0.9)
    head = shared().head(Rendered(200, [("Content-Type", "text/plain")]), b"Connection: close\r\n")

    assert head.decode().split("\r\n") == [
        "HTTP/1.1 200 OK",
        "Date: Thu, 01 Jan 1970 00:00:00 GMT",
        "Content-Type: text/plain",
        "Docker-Distribution-API-Version: registry/2.0",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
        "",
        "",
    ]


def test_unknown_status() -> None:
    """A status without a name of its own is written all the same."""
    assert Rendered(299, ()).before.startswith(b"HTTP/1.1 299 Unknown\r\n")


def test_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """The date is made anew when the second changes, also when the clock goes back."""
    ours = shared()
    dates = []
    for wall in (0.9, 0.1, 1.0, 0.0):
        monkeypatch.setattr(FakeClock, "wall", lambda _, wall=wall: wall)
        dates.append(ours.head(Rendered(200, ())).split(b"\r\n")[1][-12:-4])

    assert dates == [b"00:00:00", b"00:00:00", b"00:00:01", b"00:00:00"]


@pytest.mark.parametrize(
    ("version", "keep_alive", "expected"),
    [
        ((1, 1), True, b""),
        ((1, 1), False, b"Connection: close\r\n"),
        ((1, 0), True, b"Connection: keep-alive\r\n"),
        ((1, 0), False, b"Connection: close\r\n"),
    ],
)
def test_connection(version: tuple[int, int], keep_alive: bool, expected: bytes) -> None:
    """The Connection header says what is not the rule of the client's version of HTTP."""
    incoming = Incoming(version, keep_alive)

    assert exchange(incoming)._head(Rendered(200, ())) == HEAD[:-2] + expected + b"\r\n"


@pytest.mark.parametrize("takes_all", [True, False])
@pytest.mark.parametrize("size", [0, 1, PIECE])
async def test_small_reply(size: int, takes_all: bool) -> None:
    """A small answer is one write; what the client does not take at once is waited for, and counted meanwhile."""
    incoming = Incoming(transport=Transport(takes_all=takes_all))
    one = exchange(incoming)

    await one.reply(Rendered(200, ()), bytes(size))
    await one.prepare(incoming.request())
    await one.write_eof()
    one.end()

    assert incoming.transport is not None
    assert incoming.transport.written == [HEAD + bytes(size)]
    assert incoming.kept == ([] if takes_all else [len(HEAD) + size])
    assert incoming.budget.kept == 0
    assert (one.scope.counters.hit, one.scope.counters.bytes_from_cache) == (1, size)


async def test_large_reply() -> None:
    """A large answer is given to the connection piece by piece, and is in memory once for all who read it."""
    body = bytes(3 * PIECE + 5)
    slow, other = Incoming(transport=Transport(takes_all=False)), Incoming(transport=Transport(takes_all=False))
    other.budget = slow.budget
    gate = asyncio.Event()

    async def held() -> None:
        slow.kept.append(slow.budget.kept)
        await gate.wait()

    slow.drain = held  # type: ignore[method-assign]  # one that does not drain
    reading = spawn(exchange(slow).reply(Rendered(200, ()), body), name="slow")
    await asyncio.sleep(0)
    await exchange(other).reply(Rendered(200, ()), bytes(body))
    gate.set()
    await reading

    for one in (slow, other):
        assert one.transport is not None
        assert b"".join(one.transport.written) == HEAD + body
        assert max(map(len, one.transport.written)) == PIECE
        assert set(one.kept) == {len(body)}
    assert slow.budget.kept == 0


async def test_reply_to_head() -> None:
    """Where the client asked for the head, no body is sent, nor counted."""
    incoming = Incoming(method="HEAD")
    one = exchange(incoming)

    await one.whole(200, (), b"body")
    one.end()

    assert incoming.transport is not None
    assert b"".join(incoming.transport.written).endswith(b"\r\n\r\n")
    assert (one.scope.counters.hit, one.scope.counters.bytes_from_cache) == (1, 0)


async def test_no_room() -> None:
    """Where there is no room for what a client does not take, the client is let go; one that is new is refused."""
    incoming = Incoming(transport=Transport(takes_all=False))
    incoming.budget.keep(bytes(incoming.budget.total), lambda: None)

    with pytest.raises(OciError) as refusal:
        await exchange(incoming).reply(Rendered(200, ()), bytes(PIECE + 1))
    assert refusal.value.kind is UNAVAILABLE
    with pytest.raises(ConnectionResetError):
        await exchange(incoming).reply(Rendered(200, ()), bytes(PIECE))
    assert incoming.transport is not None
    assert incoming.transport.aborted


@pytest.mark.parametrize("gone", [True, False])
@pytest.mark.parametrize("size", [1, PIECE + 1])
async def test_reply_to_a_stalled_client(size: int, gone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not take an answer in time is let go, and nothing is kept for it any more."""
    monkeypatch.setattr(exchange_module, "LONGEST_WRITE", 0.01)
    incoming = Incoming(transport=Transport(takes_all=False))
    transport = incoming.transport
    assert transport is not None

    async def never() -> None:
        transport.aborted = gone
        await asyncio.Event().wait()

    monkeypatch.setattr(incoming, "drain", never)
    one = exchange(incoming)

    with pytest.raises(ConnectionResetError):
        await one.reply(Rendered(200, ()), bytes(size))
    one.end()
    assert transport.aborted
    assert incoming.budget.kept == 0
    assert one.scope.counters.bytes_from_cache == min(size, PIECE)


async def test_client_that_was_let_go() -> None:
    """A client whose connection was closed while it was waited for gets nothing more."""
    incoming = Incoming(transport=Transport(takes_all=False))

    async def closed() -> None:
        assert incoming.transport is not None
        incoming.transport.abort()

    incoming.drain = closed  # type: ignore[method-assign]  # one that goes while it drains

    with pytest.raises(ConnectionResetError):
        await exchange(incoming).reply(Rendered(200, ()), bytes(2 * PIECE))


async def test_client_that_has_gone() -> None:
    """To a client that has gone nothing is written, and it counts for nothing."""
    incoming = Incoming(transport=None)
    one = exchange(incoming)
    for answer in (one.reply(Rendered(200, ())), one.prepare(incoming.request())):
        with pytest.raises(ConnectionResetError):
            await answer
    one.end()
    with pytest.raises(ConnectionResetError):
        await exchange_module.drained(incoming.request(), 1.0)

    assert one.scope.counters.hit == 0


@pytest.mark.parametrize("begun", [True, False])
async def test_failure_of_ours(begun: bool) -> None:
    """An answer that fails before it has begun is an error; one that fails later counts as what it is."""
    one = exchange(Incoming())
    if begun:
        await one.reply(Rendered(200, ()), b"body")
    one.failed()
    one.end()

    counters = one.scope.counters
    assert (counters.hit, counters.error) == ((1, 0) if begun else (0, 1))


@pytest.mark.parametrize(("immutable", "cache"), [(True, "public, max-age=31536000, immutable"), (False, "no-cache")])
def test_content_headers(immutable: bool, cache: str) -> None:
    """Content by digest may be kept for good, an answer for a tag may not; the entity tag is quoted."""
    assert dict(content_headers(DIGEST, "a/b", 4, immutable=immutable)) == {
        "Content-Type": "a/b",
        "Content-Length": "4",
        "Docker-Content-Digest": DIGEST,
        "ETag": f'"{DIGEST}"',
        "Cache-Control": cache,
    }


def test_refusal_headers() -> None:
    """A refusal is JSON; 503 says when to come back, 405 what is allowed."""
    plain = dict(refusal_headers(OciError(NAME_INVALID), 7))
    later = dict(refusal_headers(OciError(UNAVAILABLE, retry_after=30), 7))
    never = dict(refusal_headers(OciError(UNSUPPORTED), 7))

    assert plain == {"Content-Type": "application/json", "Content-Length": "7"}
    assert later["Retry-After"] == "30"
    assert never["Allow"] == "GET, HEAD"
