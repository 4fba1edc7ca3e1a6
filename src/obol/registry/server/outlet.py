"""The way of a body into one connection: pieces from memory, and files by the kernel (sendfile).

asyncio's own sendfile hands over all that the socket takes, and a fast client takes a whole layer: all others wait, and
eight clients at once cost a sixth more processor time than eight that take turns.

When the rest of a body will not come, the connection is closed by FIN before Content-Length is reached. Clients notice
that; a reset makes containerd give up without asking another source.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web

    from obol.registry.store.ports import FileRun, Run

AT_ONCE = 4 << 20
"""Bytes of one turn, half a millisecond's worth of what is in memory. nginx takes half of it (`sendfile_max_chunk`),
but between two turns Python takes longer than nginx does."""
BYTES_ACKED = 120
"""Offset of tcpi_bytes_acked in Linux's struct tcp_info (linux/tcp.h)."""


class Outlet:
    """Writes one body to one client, which is let go when it takes nothing for `stall` seconds."""

    def __init__(self, request: web.BaseRequest, stall: float) -> None:
        """Raises ConnectionError where the client has gone."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client went away")
        self.transport = transport
        self._request = request
        self._stall = stall
        self.count = 0
        """Bytes of the body that were handed to the kernel."""

    async def file(self, run: Run) -> None:
        """Write a part of what is stored. Raises OSError."""
        with self._descriptor() as own, undisturbed(self.transport):
            await self._write(run, own)

    async def all(self, runs: AsyncGenerator[Run, None], *, chunked: bool = False) -> None:
        """Write a body as its bytes become available. Raises OSError, and what `runs` raises."""
        async with contextlib.aclosing(runs):
            with self._descriptor() as own:
                async for run in runs:
                    if chunked:
                        size = len(run) if isinstance(run, bytes) else run.stop - run.start
                        self.transport.write(b"%x\r\n" % size)
                    await self._write(run, own)
                    if chunked:
                        self.transport.write(b"\r\n")
        if chunked:
            self.transport.write(b"0\r\n\r\n")

    @contextlib.contextmanager
    def _descriptor(self) -> Iterator[int]:
        """The connection once more: asyncio lets no other code wait for a descriptor that one of its transports has."""
        own = os.dup(self.transport.get_extra_info("socket").fileno())
        try:
            yield own
        finally:
            os.close(own)

    async def _write(self, run: Run, own: int) -> None:
        if self.transport.is_closing():
            raise ConnectionResetError("the client went away")
        if isinstance(run, bytes):
            self.transport.write(run)
            self.count += len(run)
            async with asyncio.timeout(self._stall):
                await self._request.writer.drain()
            return
        if self.transport.get_write_buffer_size():
            async with _unless_stalled(self.transport, self._stall):
                await self._flushed()
        if run.stop > run.start:
            await self._send(run, own)

    async def _send(self, run: FileRun, own: int) -> None:
        """Send a part of a file. Each turn is the event loop's own: no task wakes up between two of them."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        at = run.start

        def turn() -> None:
            nonlocal at
            if ended.done():
                return
            try:
                if self.transport.is_closing():
                    raise ConnectionResetError("the client went away")
                count = os.sendfile(own, run.descriptor, at, min(AT_ONCE, run.stop - at))
            except BlockingIOError:
                return
            except OSError as problem:
                ended.set_exception(problem)
                return
            at += count
            self.count += count
            if not count:
                ended.set_exception(OSError(errno.EIO, "the file is shorter than it should be"))
            elif at == run.stop:
                ended.set_result(None)

        turn()
        if not ended.done():
            loop.add_writer(own, turn)
            try:
                async with _unless_stalled(self.transport, self._stall):
                    await ended
            finally:
                loop.remove_writer(own)
        ended.result()

    async def _flushed(self) -> None:
        """Wait until what was written before has left; asyncio keeps what the socket did not take at once."""
        self.transport.set_write_buffer_limits(high=0)
        try:
            await self._request.writer.drain()
        finally:
            self.transport.set_write_buffer_limits()


@contextlib.contextmanager
def undisturbed(transport: asyncio.Transport) -> Iterator[None]:
    """Read nothing from a client meanwhile, so that one that has closed its half is still served; send full segments.

    A turn that ends within a segment is no reason for a short one (Linux: TCP_CORK). That is not for a body that is
    still on its way: its last bytes would wait for more, for up to 200 ms.
    """
    was_reading = transport.is_reading()
    transport.pause_reading()
    connection, option = transport.get_extra_info("socket"), getattr(socket, "TCP_CORK", None)
    if option is not None:
        with contextlib.suppress(OSError):  # the connection may be closed
            connection.setsockopt(socket.IPPROTO_TCP, option, True)
    try:
        yield
    finally:
        if option is not None:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, option, False)
        if was_reading and not transport.is_closing():
            transport.resume_reading()


@contextlib.asynccontextmanager
async def _unless_stalled(transport: asyncio.Transport, seconds: float) -> AsyncIterator[None]:
    """Raise TimeoutError in the body when the client acknowledges nothing for `seconds`.

    A slow client is no stalled one, and a sendfile does not tell how far it has come; the kernel's count of what was
    acknowledged does. Where there is no such count, nothing is limited.
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
