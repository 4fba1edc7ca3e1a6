"""One client's connection: a request that was answered a moment ago, byte for byte, is answered again unparsed.

What the same bytes mean does not change, so nothing is read in them; they are only looked up. All others go to aiohttp,
and then to the handler, which finds a ready answer by what they mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from aiohttp import web

from obol.registry.server.incoming import END, Incoming
from obol.registry.server.ready import Keys
from obol.registry.server.replies import PIECE

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from obol.registry.server.door import Door
    from obol.registry.server.incoming import Shared

LOOKED_AT = ("Range", "If-None-Match")
"""A part, or that nothing has changed, is found out each time."""
SECRETS = ("Authorization", "Proxy-Authorization", "Cookie")
"""They change no answer, and are not ours to keep."""

Repeat = Callable[[bytes, int, asyncio.BaseTransport], bytes | None]
"""From the bytes of a request to those of its answer, if it is known and no longer than so many bytes; else None."""


class Connections(web.Server):
    """What is asked for a protocol for each connection that is accepted."""

    def __init__(
        self,
        handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        repeat: Repeat,
        shared: Shared,
        door: Door,
    ) -> None:
        # Nobody is waited for by whoever has left: what goes on without him does so in work of its own.
        super().__init__(handle, handler_cancellation=True)
        self._repeat = repeat
        self.shared = shared
        self.door = door

    def __call__(self) -> Connection:
        """A new connection."""
        return Connection(self, self._repeat)

    @property
    def everybody(self) -> list[Connection]:
        """Who is connected."""
        return [one for one in self._connections if isinstance(one, Connection)]


class Connection(Incoming):
    """One that is left aside while a client only repeats what it or others have asked."""

    __slots__ = ("_between", "_handed_over", "_now", "_patience", "_repeat", "asked", "door", "heard")

    def __init__(self, server: Connections, repeat: Repeat) -> None:
        super().__init__(server, server.shared)
        self._repeat = repeat
        self.door = server.door
        self._between = True
        """All that was asked is answered, and what comes next begins with a request."""
        self.asked: bytes | None = None
        """The bytes of the one request under way; None if it came in pieces or has company."""
        # aiohttp closes what is idle; it must hear of a request now and then.
        self._patience = server.shared.limits.keepalive / 2
        self._now = asyncio.get_running_loop().time
        self._handed_over = self.heard = self._now()

    def connection_lost(self, exc: BaseException | None) -> None:
        """What asyncio calls."""
        super().connection_lost(exc)
        # asyncio gives the descriptor back after this call.
        self._loop.call_soon(self.door.left)

    def data_received(self, data: bytes) -> None:
        """What asyncio calls, and aiohttp, with nothing, to go on with what it has put aside."""
        self.asked = None
        self.heard = self._now()
        if self._between and 0 <= data.find(END) == len(data) - len(END):
            if self._repeated(data):
                return
            self.asked = data
        self._between = False
        self._handed_over = self.heard
        super().data_received(data)

    def _repeated(self, data: bytes) -> bool:
        transport = self.transport
        if transport is None or self.heard - self._handed_over >= self._patience:
            return False
        # Whoever reads too little is waited for, and let go, where answers are made.
        if transport.get_write_buffer_size():
            return False
        answer = self._repeat(data, PIECE, transport)
        if answer is None:
            return False
        transport.write(answer)
        return True

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """What aiohttp calls to have a response written, also that of an error."""
        resp, reset = await super().finish_response(request, resp, start_time)
        alone, self.asked = self.asked is not None, None
        self._between = alone and repeatable(request) and bool(resp.keep_alive) and not reset
        return resp, reset


def repeatable(request: web.BaseRequest) -> bool:
    """Whether nothing but another request can follow this one."""
    return request.method in {"GET", "HEAD"} and not request.body_exists and "Upgrade" not in request.headers


def keys_of(request: web.BaseRequest) -> Keys | None:
    """What the answer to a request may be kept under; None for one that has to be looked at each time."""
    headers = request.headers
    if request.method not in {"GET", "HEAD"} or any(name in headers for name in LOOKED_AT):
        return None
    lines = headers.getall("Accept", None)
    accept = None if lines is None else ",".join(lines)
    return Keys((request.method, request.raw_path, headers.get("Host"), accept), _bytes_of(request))


def _bytes_of(request: web.BaseRequest) -> bytes | None:
    connection = request.protocol
    if not isinstance(connection, Connection) or not repeatable(request):
        return None
    if request.version < (1, 1) or not request.keep_alive:
        return None
    return None if any(name in request.headers for name in SECRETS) else connection.asked
