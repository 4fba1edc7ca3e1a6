from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from obol.registry.upstream.connector import HEAD_LIMIT
from obol.registry.upstream.ports import Unavailable
from obol.registry.upstream.reading import read_bounded
from tests.limits import scaled
from tests.unit.registry.upstream.reach import transport_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BODY = b"x" * (3 * HEAD_LIMIT)
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


@asynccontextmanager
async def speaking(*pieces: bytes, times: int = 1) -> AsyncIterator[str]:
    """The URL of a server that answers each request with these bytes, `times` over, whatever it is."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                for data in pieces * times:
                    writer.write(data)
                    await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.mark.parametrize(
    "flood",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %b\r\n" % (n, b"y" * 8000) for n in range(20)),
        b"HTTP/1.1 200 OK\r\nSet-Cookie: " + b"y" * (HEAD_LIMIT * 2),
    ],
    ids=["100 Continue", "103 Early Hints", "many lines", "one line"],
)
async def test_a_head_without_end_is_refused(flood: bytes) -> None:
    """Interim answers and header lines have a limit in all, so that no head keeps us busy."""
    async with speaking(flood, times=20_000) as url, transport_to(url) as transport:
        with pytest.raises(Unavailable, match="proper HTTP"):
            async with asyncio.timeout(scaled(1.5)):
                await transport.send("GET", f"{url}/v2/", {}, None)


@pytest.mark.parametrize("interim", [0, 3])
async def test_a_body_is_none_of_the_head(interim: int) -> None:
    """A body of any length passes, a few interim answers before it too, and the connection is used again."""
    async with (
        speaking(b"HTTP/1.1 103 Early Hints\r\n\r\n" * interim + WHOLE) as url,
        transport_to(url) as transport,
    ):
        for _ in range(3):
            arrived = await transport.send("GET", f"{url}/v2/", {}, None)
            assert await read_bounded(arrived.response, len(BODY)) == BODY
