"""Connections to an upstream, as aiohttp makes them, and what they put up with.

aiohttp limits each header line and the number of lines. That leaves room for 128 lines of 32 KiB, and for interim
answers (1xx) without end, all parsed on the event loop. So what comes before the body is counted here as well. aiohttp
also tells some errors of a body to the connection alone (a malformed chunk, an impossible trailer) and wakes no reader.
So we listen to the end of the connection.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD

if TYPE_CHECKING:
    import asyncio
    import ssl

    from aiohttp.connector import SocketFactoryType

HEAD_LIMIT = 64 * 1024
"""Bytes of a head, with the interim answers before it. Presigned URLs in a Location have been seen to take 12 KiB."""
INTERIM_LIMIT = 8 * 1024
"""Bytes of a head where interim answers came before it: each costs a thousand times what its bytes do."""
SLICE = 4 * 1024
"""Bytes that are parsed before the limits are looked at again."""

SIP = 64 * 1024
"""Bytes that are read at once of what may be chunked. asyncio has 256 KiB, which are 40,000 chunks of one byte."""


class BoundedHead(ResponseHandler):
    """aiohttp's side of one connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._head_left = 0
        self._awaited = False
        """A head is awaited: no body has begun since the last request."""

    def set_response_params(self, **params: Any) -> None:
        """What aiohttp calls when it has sent a request."""
        self._head_left = HEAD_LIMIT
        self._awaited = True
        self._payload = None
        self._read_at_once(SIP)
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """What asyncio calls."""
        start = 0
        while self._awaited and start < len(data):
            part = data[start : start + SLICE]
            start += len(part)
            super().data_received(part)
            self._head_left -= len(part)
            interim = self._payload is EMPTY_PAYLOAD
            self._awaited = self._payload is None or interim
            if self._awaited and self._head_left < (HEAD_LIMIT - INTERIM_LIMIT if interim else 0):
                self._refuse()
                return
        if start < len(data) or not data:
            super().data_received(data[start:])

    def read_freely(self) -> None:
        """The body is not chunked: read as much of it at once as asyncio does."""
        self._read_at_once(getattr(type(self.transport), "max_size", SIP))

    def _read_at_once(self, size: int) -> None:
        transport = self.transport
        if transport is not None and hasattr(transport, "max_size"):
            transport.max_size = size

    def _refuse(self) -> None:
        self.set_exception(HttpProcessingError(code=400, message="the head is too long"))
        if self.transport is not None:
            self.transport.abort()


def expect_body(response: aiohttp.ClientResponse) -> None:
    """Prepare the connection for the body of an answer whose head is there."""
    connection = response.connection
    if connection is not None and "Transfer-Encoding" not in response.headers:
        protocol = connection.protocol
        if isinstance(protocol, BoundedHead):
            protocol.read_freely()


class Connector(aiohttp.TCPConnector):
    """Makes such connections, as many as are asked for: who asks has limits of its own."""

    def __init__(self, tls: ssl.SSLContext | bool, socket_factory: SocketFactoryType | None = None) -> None:  # noqa: FBT001 - aiohttp's own type
        super().__init__(limit=0, ssl=tls, socket_factory=socket_factory)
        self._factory = functools.partial(_new_handler, loop=self._loop)


def _new_handler(loop: asyncio.AbstractEventLoop) -> ResponseHandler:
    return BoundedHead(loop)


def notice_loss(response: aiohttp.ClientResponse) -> None:
    """Wake the reader of a body whose connection ends, also where aiohttp does not."""
    content, connection = response.content, response.connection
    if connection is None or connection.protocol is None or content.is_eof():
        return
    closed = connection.protocol.closed

    def lost(ended: asyncio.Future[None]) -> None:
        if not ended.cancelled():
            ended.exception()  # or asyncio reports an exception that was never retrieved
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the body broke off"))

    if closed is None:
        content.set_exception(aiohttp.ClientPayloadError("the body broke off"))
        return
    closed.add_done_callback(lost)

    def whole() -> None:
        closed.remove_done_callback(lost)

    # A connection that is used again must not gather what listened for its earlier answers.
    content.on_eof(whole)
