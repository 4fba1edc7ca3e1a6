from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tempfile
from typing import TYPE_CHECKING, cast

import pytest

from obol.registry.server.outlet import AT_ONCE, Outlet, corked, unread
from tests.unit.descriptors import descriptors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

LARGE = 4 * AT_ONCE
"""More than the buffers of any loopback connection take."""


@pytest.fixture
def file() -> Iterator[int]:
    """An open file, large and sparse."""
    with tempfile.TemporaryFile() as opened:
        opened.truncate(LARGE)
        yield opened.fileno()


@contextlib.asynccontextmanager
async def connection() -> AsyncIterator[tuple[asyncio.Transport, asyncio.StreamReader]]:
    """The server's end of a connection, and what the client reads."""
    accepted: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(lambda _, writer: accepted.set_result(writer), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), limit=2**16)
    transport = cast("asyncio.Transport", (await accepted).transport)
    try:
        yield transport, reader
    finally:
        transport.abort()
        writer.transport.abort()
        server.close()


async def taken(reader: asyncio.StreamReader, count: int) -> int:
    """Read so many bytes, or to the end."""
    left = count
    while left and (data := await reader.read(min(left, 1 << 20))):
        left -= len(data)
    return count - left


async def test_all_of_it(file: int) -> None:
    """A part of a file arrives whole, and the descriptor for it is given back."""
    async with connection() as (transport, reader):
        before = descriptors()
        with Outlet(transport) as outlet:
            sent, came = await asyncio.gather(outlet.send(file, 5, LARGE - 5), taken(reader, LARGE - 5))
        assert sent == came == LARGE - 5
        assert descriptors() == before


async def test_short_file(file: int) -> None:
    """Of a file that ends before its part does, what there is is sent, and counted."""
    os.ftruncate(file, 100)
    async with connection() as (transport, _):
        with Outlet(transport) as outlet:
            assert await outlet.send(file, 40, 1000) == 60


async def test_turns(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes all that it gets leaves the others their turns."""
    sent: list[str] = []

    def send(descriptor: int, file: int, start: int, count: int) -> int:
        sent.append(f"{descriptor} {count}")
        return count

    monkeypatch.setattr(os, "sendfile", send)
    async with connection() as (one, _), connection() as (another, _):
        with Outlet(one) as first, Outlet(another) as second:
            await asyncio.gather(first.send(file, 0, 2 * AT_ONCE), second.send(file, 0, AT_ONCE + 1))

    (a, whole), (b, _), (c, _), (d, rest) = (line.split() for line in sent)
    assert (a, b) == (c, d)
    assert a != b
    assert (int(whole), int(rest)) == (AT_ONCE, 1)


async def test_file_fails(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system says against a file that cannot be read is told, also after a part of it was sent."""
    taken_before = iter((1000,))

    def send(*_: int) -> int:
        for count in taken_before:
            return count
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "sendfile", send)
    async with connection() as (transport, _):
        with Outlet(transport) as outlet, pytest.raises(OSError, match="Input/output"):
            await outlet.send(file, 0, LARGE)


async def test_closed(file: int) -> None:
    """A connection that is closed before, or between two turns, is a client that went away."""
    async with connection() as (transport, _):
        with Outlet(transport) as outlet:
            transport.close()
            with pytest.raises(ConnectionResetError):
                await outlet.send(file, 0, LARGE)
        with pytest.raises(ConnectionResetError):
            Outlet(transport)


async def test_given_up(file: int) -> None:
    """Who is cancelled while the client takes nothing leaves nothing behind."""
    async with connection() as (transport, _):
        with Outlet(transport) as outlet:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(outlet.send(file, 0, LARGE), 0.05)
            assert not asyncio.get_running_loop().remove_writer(outlet._descriptor)


@pytest.mark.parametrize("reads", [True, False])
async def test_unread(reads: bool) -> None:
    """Reading is as it was afterwards, unless the connection was closed."""
    async with connection() as (transport, _):
        if not reads:
            transport.pause_reading()
        with unread(transport):
            assert not transport.is_reading()
        assert transport.is_reading() is reads
        with unread(transport):
            transport.close()
        assert not transport.is_reading()


async def test_corked() -> None:
    """A connection that is corked sends what fills segments; afterwards it sends at once again."""
    async with connection() as (transport, reader):
        with corked(transport):
            assert _is_corked(transport)
            transport.write(b"some")
        assert not _is_corked(transport)
        assert await reader.read(10) == b"some"


async def test_corked_and_closed() -> None:
    """A connection that is closed meanwhile is no error."""
    async with connection() as (transport, _):
        with corked(transport):
            transport.abort()
            await asyncio.sleep(0)


async def test_no_corks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no such option, nothing is done."""
    monkeypatch.delattr(socket, "TCP_CORK")
    async with connection() as (transport, reader):
        with corked(transport):
            transport.write(b"some")
            assert await reader.read(10) == b"some"


def _is_corked(transport: asyncio.Transport) -> bool:
    return bool(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_CORK))
