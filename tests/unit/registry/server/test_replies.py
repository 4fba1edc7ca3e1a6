from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest

from obol.oci.errors import NAME_INVALID, UNAVAILABLE, UNSUPPORTED, OciError
from obol.oci.references import Digest
from obol.registry.server import replies as replies_module
from obol.registry.server.replies import (
    DRAIN_ABOVE,
    DateLine,
    Rendered,
    Reply,
    connection,
    content_headers,
    refusal_headers,
    sent,
)

if TYPE_CHECKING:
    from aiohttp import web

DIGEST = Digest.of(b"data")


@dataclass
class Transport:
    """What was written."""

    written: list[bytes] = field(default_factory=list)
    aborted: bool = False

    def abort(self) -> None:
        self.aborted = True

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.written))


@dataclass
class Incoming:
    """As much of a request as an answer looks at."""

    version: tuple[int, int] = (1, 1)
    keep_alive: bool = True
    transport: Transport | None = field(default_factory=Transport)
    drained: int = 0

    @property
    def writer(self) -> Incoming:
        return self

    async def drain(self) -> None:
        self.drained += 1

    def request(self) -> web.BaseRequest:
        """As the type that is declared."""
        return cast("web.BaseRequest", self)


def test_head() -> None:
    """A head has the status line, the date, the headers in order, and ours on every answer."""
    head = Rendered(200, [("Content-Type", "text/plain")]).head(b"NOW", b"Connection: close\r\n")

    assert head.decode().split("\r\n") == [
        "HTTP/1.1 200 OK",
        "Date: NOW",
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


def test_date() -> None:
    """The date is that of RFC 9110, made anew when the second changes, also when the clock goes back."""
    line = DateLine()

    assert line.at(0.9) == b"Thu, 01 Jan 1970 00:00:00 GMT"
    assert line.at(0.1) is line.at(0.2)
    assert line.at(1.0) == b"Thu, 01 Jan 1970 00:00:01 GMT"
    assert line.at(0.0) == b"Thu, 01 Jan 1970 00:00:00 GMT"


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
    assert connection(Incoming(version, keep_alive).request()) == expected


@pytest.mark.parametrize("size", [1, DRAIN_ABOVE + 1])
async def test_reply(size: int) -> None:
    """An answer is one write; a large one waits until the client has taken enough."""
    incoming = Incoming()
    transport = incoming.transport
    reply = Reply(bytes(size), keep_alive=True)

    await reply.prepare(incoming.request())
    await reply.write_eof()

    assert transport is not None
    assert transport.written == [bytes(size)]
    assert incoming.drained == (size > DRAIN_ABOVE)
    assert reply.response() is cast("web.StreamResponse", reply)


@pytest.mark.parametrize("gone", [True, False])
async def test_reply_to_a_stalled_client(gone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not take a large answer in time is let go."""
    monkeypatch.setattr(replies_module, "LONGEST_WRITE", 0.01)
    incoming = Incoming()
    transport = incoming.transport
    assert transport is not None

    async def never() -> None:
        if gone:
            incoming.transport = None
        await asyncio.Event().wait()

    monkeypatch.setattr(incoming, "drain", never)

    with pytest.raises(ConnectionResetError):
        await Reply(bytes(DRAIN_ABOVE + 1), keep_alive=True).prepare(incoming.request())
    assert transport.aborted is not gone


async def test_reply_to_nobody() -> None:
    """There is nothing to write to a client that has gone."""
    with pytest.raises(ConnectionResetError):
        await Reply(b"x", keep_alive=True).prepare(Incoming(transport=None).request())


async def test_sent() -> None:
    """What was written already is not written again."""
    incoming = Incoming()

    await sent(keep_alive=False).prepare(incoming.request())

    assert incoming.transport == Transport([])


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
