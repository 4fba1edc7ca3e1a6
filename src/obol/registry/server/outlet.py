"""sendfile(2) on a connection that asyncio manages, in turns.

asyncio's own hands over whatever the socket takes, and a fast client takes a whole layer: everybody else waits, and
eight clients at once cost a sixth more processor time than eight that take turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

AT_ONCE = 4 << 20
"""Bytes of one turn, half a millisecond's worth of what is in memory. nginx takes half of it (`sendfile_max_chunk`),
but between two turns Python takes longer than nginx does."""


class Outlet:
    """The way of files into one connection; a context manager. Raises ConnectionError where it is closed already."""

    def __init__(self, transport: asyncio.Transport) -> None:
        if transport.is_closing():
            raise ConnectionResetError("the client went away")
        self._transport = transport
        # asyncio lets nobody wait for a descriptor that one of its transports has.
        connection: socket.socket = transport.get_extra_info("socket")
        self._descriptor = os.dup(connection.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._descriptor)

    async def send(self, file: int, start: int, length: int) -> int:
        """Send a part of a file, after all that was written before has left; how many bytes there were of it.

        Each turn is the event loop's own: no task wakes up between two of them. Raises ConnectionError.
        """
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[int] = loop.create_future()
        sent = 0

        def turn() -> None:
            nonlocal sent
            if ended.done():
                return
            try:
                count = self._send(file, start + sent, min(AT_ONCE, length - sent))
            except BlockingIOError:
                return
            except OSError as problem:
                ended.set_exception(problem)
                return
            sent += count
            if not count or sent == length:
                ended.set_result(sent)

        turn()
        if not ended.done():
            loop.add_writer(self._descriptor, turn)
            try:
                await ended
            finally:
                loop.remove_writer(self._descriptor)
        return ended.result()

    def _send(self, file: int, start: int, count: int) -> int:
        if self._transport.is_closing():
            raise ConnectionResetError("the client went away")
        return os.sendfile(self._descriptor, file, start, count)


@contextlib.contextmanager
def unread(transport: asyncio.Transport) -> Iterator[None]:
    """Read nothing from a client meanwhile: one that has said all that it had to say is served all the same."""
    was_reading = transport.is_reading()
    transport.pause_reading()
    try:
        yield
    finally:
        if was_reading and not transport.is_closing():
            transport.resume_reading()


@contextlib.contextmanager
def corked(transport: asyncio.Transport) -> Iterator[None]:
    """Send full segments only meanwhile: a turn that ends within one is no reason for a short one (Linux: TCP_CORK).

    Not for a body that is still on its way: its last bytes would wait for more, for up to 200 ms.
    """
    _cork(transport, on=True)
    try:
        yield
    finally:
        _cork(transport, on=False)


def _cork(transport: asyncio.Transport, *, on: bool) -> None:
    option = getattr(socket, "TCP_CORK", None)
    if option is not None:
        with contextlib.suppress(OSError):  # the connection may be closed
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, option, on)
