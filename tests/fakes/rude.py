"""Clients that attack, over raw sockets: they flood, dawdle, lie and leave."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

WITHIN = 10.0
"""Seconds that a rude client stays at most."""

Rude = Callable[[int, str], Awaitable[None]]
"""What one does to the port given, where the path given is that of something real."""


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection, closed without manners."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def say(port: int, *pieces: bytes, pause: float = 0.0, read: int = 1 << 16) -> None:
    """Send pieces, with pauses, and read a little of what comes."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(WITHIN), connected(port) as (reader, writer):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause)
            if read:
                await reader.read(read)


def head(path: str, *fields: str, method: str = "GET") -> bytes:
    """A request."""
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: localhost", *fields, "", "")).encode("latin-1")


async def accept_flood(port: int, path: str) -> None:
    """Very long and very many Accept lines."""
    await say(port, head(path, "Accept: " + "a/b;q=0.1, " * 5000))
    await say(port, head(path, *["Accept: application/x-" + "y" * 200] * 90))
    await say(port, head(path, "Accept: " + "x" * (1 << 20)))


async def many_accepts(port: int, path: str) -> None:
    """A HEAD and a GET with another Accept each time."""
    for number in range(20):
        accept = f"Accept: application/vnd.oci.image.manifest.v1+json, x/{number}-{random.random()}"
        await say(port, head(path, accept, method="HEAD"))


async def slow_readers(port: int, path: str) -> None:
    """Sixty-four who ask and read nothing."""

    async def one() -> None:
        await say(port, head(path), pause=4.0, read=0)

    await asyncio.gather(*(one() for _ in range(64)))


async def half_heads(port: int, path: str) -> None:
    """Heads that are never finished."""
    await asyncio.gather(*(say(port, f"GET {path} HTTP/1.1\r\nHost: local".encode(), pause=3.0) for _ in range(50)))


async def garbage(port: int, path: str) -> None:
    """What is no HTTP, or nearly."""
    await say(port, random.randbytes(50_000))
    await say(port, head(path, "Content-Length: -1"), head(path, "Transfer-Encoding: chunked, x"), b"zz\r\n")
    await say(port, head(path, *(f"X-{number}: y" for number in range(3000))))
    await say(port, head("/" + "a/" * 30_000))


async def pipelined(port: int, path: str) -> None:
    """Many requests at once, none of whose answers is read."""
    await say(port, head(path) * 300, pause=1.0, read=0)


async def made_up(port: int, path: str) -> None:
    """Names that nobody has."""
    for _ in range(50):
        await say(port, head(f"/v2/none/{random.getrandbits(60):x}/manifests/latest"))
        await say(port, head(f"/v2/none/x/blobs/sha256:{random.getrandbits(255):064x}"))


async def ranges(port: int, path: str) -> None:
    """Ranges of every kind."""
    for wanted in ("0-0", "-1", "99999999999-", "5-2", "0-1,3-4", "a-b", "0-" + "9" * 400, ",".join(["0-1"] * 2000)):
        await say(port, head(path, f"Range: bytes={wanted}"))


RUDE: dict[str, Rude] = {
    "accept flood": accept_flood,
    "many accepts": many_accepts,
    "slow readers": slow_readers,
    "half heads": half_heads,
    "garbage": garbage,
    "pipelined": pipelined,
    "made-up names": made_up,
    "ranges": ranges,
}
