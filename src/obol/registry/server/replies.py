"""Answers as bytes.

aiohttp's own response classes build their headers anew for every answer; ours are rendered once, so that the same
answer given again costs one write. What the protocol loop of aiohttp needs of a response is `prepare`, `write_eof` and
`keep_alive`, and that is what a `Reply` has.
"""

from __future__ import annotations

import asyncio
import http
from email.utils import formatdate
from typing import TYPE_CHECKING, cast

from obol.oci.conditions import etag
from obol.oci.errors import UNSUPPORTED, OciError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp import web

    from obol.oci.references import Digest

Header = tuple[str, str]

API_VERSION: Header = ("Docker-Distribution-API-Version", "registry/2.0")
NO_SNIFF: Header = ("X-Content-Type-Options", "nosniff")
IMMUTABLE: Header = ("Cache-Control", "public, max-age=31536000, immutable")
ASK_AGAIN: Header = ("Cache-Control", "no-cache")
DRAIN_ABOVE = 64 * 1024
LONGEST_WRITE = 60.0
"""Seconds in which a client must take a manifest; the largest is a few MiB."""

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
            self._text = formatdate(second, usegmt=True).encode("ascii")
        return self._text


class Reply:
    """Bytes to be written as they are; what `web.Server` takes for a response."""

    __slots__ = ("_data", "keep_alive")

    def __init__(self, data: bytes, *, keep_alive: bool) -> None:
        self._data = data
        self.keep_alive = keep_alive

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write; aiohttp calls this."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client went away")
        if self._data:
            transport.write(self._data)
            # Not the length of this answer alone: a client may ask for many small ones and read none.
            if transport.get_write_buffer_size() > DRAIN_ABOVE:
                await _drain(request)

    async def write_eof(self) -> None:
        """There is nothing after the bytes; aiohttp calls this."""

    def response(self) -> web.StreamResponse:
        """As the type that aiohttp's handlers are declared with."""
        return cast("web.StreamResponse", self)


async def _drain(request: web.BaseRequest) -> None:
    try:
        async with asyncio.timeout(LONGEST_WRITE):
            await request.writer.drain()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the client takes nothing any more") from None


def sent(*, keep_alive: bool) -> Reply:
    """The answer has been written already."""
    return Reply(b"", keep_alive=keep_alive)


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
