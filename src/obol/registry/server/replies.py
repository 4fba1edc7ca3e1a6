"""Answers as bytes.

aiohttp's own response classes build their headers anew for every answer; ours are rendered once, so that the same
answer given again costs one write. What the protocol loop of aiohttp needs of a response is `prepare`, `write_eof` and
`keep_alive`, and that is what a `Reply` has.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
from email.utils import formatdate
from typing import TYPE_CHECKING, TypeVar, cast

from obol.oci.conditions import etag
from obol.oci.errors import UNSUPPORTED, OciError
from obol.registry.server.budget import OverBudget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from aiohttp import web

    from obol.oci.references import Digest
    from obol.registry.server.budget import Budget, Kept

Header = tuple[str, str]

API_VERSION: Header = ("Docker-Distribution-API-Version", "registry/2.0")
NO_SNIFF: Header = ("X-Content-Type-Options", "nosniff")
IMMUTABLE: Header = ("Cache-Control", "public, max-age=31536000, immutable")
ASK_AGAIN: Header = ("Cache-Control", "no-cache")
PIECE = 64 * 1024
"""Bytes of an answer in memory that a connection is given at once; the next ones when it has sent them."""
LONGEST_WRITE = 60.0
"""Seconds in which a client must take a piece."""

T = TypeVar("T", bytes, int)

_PHRASES = {status.value: status.phrase for status in http.HTTPStatus}


class Rendered:
    """A status line and headers but for Date and Connection, ready to be written again and again."""

    __slots__ = ("after", "before")

    def __init__(self, status: int, headers: Iterable[Header]) -> None:
        self.before = f"HTTP/1.1 {status} {_PHRASES.get(status, 'Unknown')}\r\nDate: ".encode("ascii")
        lines = [f"\r\n{name}: {value}" for name, value in (*headers, API_VERSION, NO_SNIFF)]
        self.after = "".join([*lines, "\r\n"]).encode("latin-1")

    def head(self, date: bytes, connection: bytes) -> bytes:
        """All of the head, with the empty line."""
        return b"".join((self.before, date, self.after, connection, b"\r\n"))


class DateLine:
    """The value of the Date header, made once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = b""

    def at(self, wall: float) -> bytes:
        """The date for a moment in wall time."""
        second = int(wall)
        if second != self._second:
            self._second = second
            self._text = date(second)
        return self._text


def date(wall: float) -> bytes:
    """The value of a Date header."""
    return formatdate(int(wall), usegmt=True).encode("ascii")


class Reply:
    """A head and a body, to be written as they are; what `web.Server` takes for a response.

    A small one is a single write. Of a large body each client's connection is given a piece at a time, so that the
    body itself is all that is in memory, however many read it.
    """

    __slots__ = ("_body", "_budget", "_head", "keep_alive")

    def __init__(self, head: bytes, body: bytes, budget: Budget, *, keep_alive: bool) -> None:
        self._head = head
        self._body = body
        self._budget = budget
        self.keep_alive = keep_alive

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write; aiohttp calls this."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client went away")
        if len(self._body) > PIECE:
            await self._in_pieces(request, transport)
            return
        transport.write(self._head + self._body)
        # Not the length of this answer alone: a client may ask for many small ones and read none.
        if unsent := transport.get_write_buffer_size():
            with _kept(self._budget.keep_unsent, unsent, transport):
                await drained(request, LONGEST_WRITE)

    async def _in_pieces(self, request: web.BaseRequest, transport: asyncio.Transport) -> None:
        with _kept(self._budget.keep, self._body, transport) as kept:
            transport.write(self._head)
            rest = memoryview(self._body)
            while rest:
                if transport.is_closing():
                    raise ConnectionResetError("the client was let go")
                transport.write(rest[:PIECE])
                rest = rest[PIECE:]
                if transport.get_write_buffer_size():
                    await drained(request, LONGEST_WRITE)
                kept.moved()

    async def write_eof(self) -> None:
        """There is nothing after the body; aiohttp calls this."""

    def response(self) -> web.StreamResponse:
        """As the type that aiohttp's handlers are declared with."""
        return cast("web.StreamResponse", self)


class Sent:
    """What `web.Server` takes for a response where everything has been written already."""

    __slots__ = ("keep_alive",)

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing is left to do; aiohttp calls this."""
        if request.transport is None:
            raise ConnectionResetError("the client went away")

    async def write_eof(self) -> None:
        """There is nothing after it; aiohttp calls this."""

    def response(self) -> web.StreamResponse:
        """As the type that aiohttp's handlers are declared with."""
        return cast("web.StreamResponse", self)


@contextlib.contextmanager
def _kept(keep: Callable[[T, Callable[[], None]], Kept], what: T, transport: asyncio.Transport) -> Iterator[Kept]:
    """Something is in memory for a client meanwhile. Raises ConnectionResetError where there is no room for it."""
    try:
        kept = keep(what, transport.abort)
    except OverBudget:
        transport.abort()
        raise ConnectionResetError("too much waits for clients that read slowly") from None
    try:
        yield kept
    finally:
        kept.release()


async def drained(request: web.BaseRequest, seconds: float) -> None:
    """Wait until the client's side has taken all that was written, so that we keep none of it.

    Raises ConnectionResetError, also for a client that does not take it within `seconds` and is let go.
    """
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client went away")
    transport.set_write_buffer_limits(high=0)
    try:
        async with asyncio.timeout(seconds):
            await request.writer.drain()
    except TimeoutError:
        transport.abort()
        raise ConnectionResetError("the client takes nothing any more") from None
    finally:
        transport.set_write_buffer_limits()
    if transport.is_closing():
        raise ConnectionResetError("the client was let go")


def connection(request: web.BaseRequest) -> bytes:
    """The Connection line that this request needs: none for most."""
    if request.version >= (1, 1):
        return b"" if request.keep_alive else b"Connection: close\r\n"
    return b"Connection: keep-alive\r\n" if request.keep_alive else b"Connection: close\r\n"


def content_headers(digest: Digest, media_type: str, size: int, *, immutable: bool) -> list[Header]:
    """What goes with a manifest or a blob, the same for HEAD and GET."""
    return [
        ("Content-Type", media_type),
        ("Content-Length", str(size)),
        ("Docker-Content-Digest", str(digest)),
        ("ETag", etag(digest)),
        IMMUTABLE if immutable else ASK_AGAIN,
    ]


def refusal_headers(refusal: OciError, length: int) -> list[Header]:
    """What goes with an error body."""
    headers = [("Content-Type", "application/json"), ("Content-Length", str(length))]
    if refusal.retry_after is not None:
        headers.append(("Retry-After", str(refusal.retry_after)))
    if refusal.kind is UNSUPPORTED:
        headers.append(("Allow", "GET, HEAD"))
    if refusal.problem:
        headers.append(("Obol-Problem", refusal.problem))
    return headers
