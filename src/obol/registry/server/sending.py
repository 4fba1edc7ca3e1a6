"""Blob bytes to a client: from file to socket by the kernel (sendfile), or piece by piece from a relay.

When the rest of a body will not come, the connection is closed by FIN before Content-Length is reached. Clients notice
that; a reset makes containerd give up without asking anybody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING

from obol.registry.engine.answers import CutShort
from obol.registry.server.incoming import Incoming
from obol.registry.server.outlet import Outlet, corked, unread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from aiohttp import web

    from obol.registry.store.ports import FileRun, Run

BYTES_ACKED = 120
"""Offset of tcpi_bytes_acked in Linux's struct tcp_info (linux/tcp.h)."""


class Sender:
    """Writes one body to one client."""

    def __init__(self, request: web.BaseRequest, stall: float) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client went away")
        self._transport = transport
        self._request = request
        self._stall = stall
        self.count = 0
        """Bytes of the body that were handed to the kernel."""

    def head(self, head: bytes) -> None:
        """Write the head."""
        if isinstance(self._request.protocol, Incoming):
            self._request.protocol.begun = True
        self._transport.write(head)

    async def all(self, runs: AsyncGenerator[Run, None], *, chunked: bool = False) -> None:
        """Write a body as its bytes become available. Raises CutShort, ConnectionError."""
        async with contextlib.aclosing(runs):
            with Outlet(self._transport) as outlet:
                await self._all(runs, outlet, chunked=chunked)
        if chunked:
            self._transport.write(b"0\r\n\r\n")

    async def _all(self, runs: AsyncGenerator[Run, None], outlet: Outlet, *, chunked: bool) -> None:
        async for run in runs:
            if chunked:
                self._transport.write(b"%x\r\n" % (len(run) if isinstance(run, bytes) else run.stop - run.start))
            await self._one(run, outlet)
            if chunked:
                self._transport.write(b"\r\n")

    async def file(self, run: Run) -> None:
        """Write a part of a file that is complete. Raises CutShort, ConnectionError."""
        with Outlet(self._transport) as outlet, unread(self._transport), corked(self._transport):
            await self._one(run, outlet)

    async def _one(self, run: Run, outlet: Outlet) -> None:
        if self._transport.is_closing():
            raise ConnectionResetError("the client went away")
        if isinstance(run, bytes):
            self._transport.write(run)
            self.count += len(run)
            async with asyncio.timeout(self._stall):
                await self._request.writer.drain()
            return
        length = run.stop - run.start
        if length:
            count = await self._send(run, length, outlet)
            self.count += count
            if count < length:
                raise CutShort("the file is shorter than it should be")

    async def _send(self, run: FileRun, length: int, outlet: Outlet) -> int:
        try:
            async with _unless_stalled(self._transport, self._stall):
                await self._flushed()
                return await outlet.send(run.descriptor, run.start, length)
        except TimeoutError:
            raise ConnectionResetError("the client takes nothing any more") from None

    async def _flushed(self) -> None:
        """Wait until what was written before has left; asyncio keeps what the socket did not take at once."""
        if self._transport.get_write_buffer_size():
            self._transport.set_write_buffer_limits(high=0)
            try:
                await self._request.writer.drain()
            finally:
                self._transport.set_write_buffer_limits()


@contextlib.asynccontextmanager
async def _unless_stalled(transport: asyncio.Transport, seconds: float) -> AsyncIterator[None]:
    """Raise TimeoutError in the body when the client acknowledges nothing for `seconds`.

    A slow client is no stalled one, and how far a sendfile has come is not told by it; the kernel's count of what was
    acknowledged is. Where there is no such count, nothing is limited.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as deadline:
        timer: asyncio.TimerHandle | None = None

        def look(before: int | None) -> None:
            nonlocal timer
            now = acknowledged(transport)
            if now is not None and now == before:
                deadline.reschedule(loop.time())
                return
            timer = loop.call_later(seconds, look, now)

        timer = loop.call_later(seconds, look, acknowledged(transport))
        try:
            yield
        finally:
            timer.cancel()


def acknowledged(transport: asyncio.Transport) -> int | None:
    """Bytes that the other side has acknowledged on this connection, or None where the system does not tell."""
    option = getattr(socket, "TCP_INFO", None)
    connection = transport.get_extra_info("socket")
    if option is None or connection is None:
        return None
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, option, BYTES_ACKED + 8)
    except OSError:
        return None
    if len(info) < BYTES_ACKED + 8:
        return None
    return int(struct.unpack_from("=Q", info, BYTES_ACKED)[0])
