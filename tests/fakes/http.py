"""A tiny HTTP/1.1 client over asyncio streams, for what a well-behaved client cannot send or will not tell.

It writes the target as it is given (also a bad one) and reports how an answer ended: complete or cut.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.limits import scaled

TIMEOUT = 30.0
_LONGEST_HEAD = 4 << 20
_PIECE = 1 << 18

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer.

    `status` is 0 when the connection ended before a status line. `complete` is False when it ended before
    Content-Length or the final chunk. `first_byte_after` is in seconds from just before the connection was opened.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    complete: bool
    first_byte_after: float

    def header(self, name: str) -> str | None:
        """The first header of that name in any case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class Conversation:
    """One request on a connection of its own, read as slowly as the test likes."""

    def __init__(self, reader: asyncio.StreamReader, method: str, opened: float) -> None:
        self._reader = reader
        self._method = method
        self._opened = opened
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.first_byte_after = 0.0

    async def head(self) -> int:
        """Read status line and headers, past any 1xx, and return the status; 0 if there was none."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                start = await self._reader.readexactly(1)
                self.first_byte_after = self.first_byte_after or loop.time() - self._opened
                lines = (start + await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return 0
            status = int(lines[0].split(" ")[1])
            if status >= 200:
                break
        self.status = status
        self.headers = [(key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in lines[1:-2])]
        return status

    async def read(self, size: int) -> bytes:
        """Up to `size` bytes as they come on the wire, chunk framing included; empty at the end."""
        return await self._reader.read(size)

    async def exactly(self, size: int) -> bytes:
        """The next `size` bytes on the wire; asyncio.IncompleteReadError if the connection ends before them."""
        return await self._reader.readexactly(size)

    async def body(self) -> tuple[bytes, bool]:
        """The rest of the answer's body, and whether it was complete."""
        if self._method == "HEAD" or self.status in {0, 204, 304}:
            return b"", self.status != 0
        fields = {key.lower(): value for key, value in self.headers}
        if "chunked" in fields.get("transfer-encoding", "").lower():
            return await self._chunks()
        length = fields.get("content-length")
        return await self._plain(None if length is None else int(length))

    async def _plain(self, length: int | None) -> tuple[bytes, bool]:
        data = bytearray()
        try:
            while length is None or len(data) < length:
                piece = await self._reader.read(_PIECE if length is None else min(_PIECE, length - len(data)))
                if not piece:
                    break
                data += piece
        except ConnectionError:
            return bytes(data), False
        return bytes(data), length is None or len(data) == length

    async def _chunks(self) -> tuple[bytes, bool]:
        data = bytearray()
        try:
            while size := int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16):
                data += await self._reader.readexactly(size)
                await self._reader.readexactly(2)
            while await self._reader.readuntil(b"\r\n") != b"\r\n":
                pass
        except asyncio.IncompleteReadError as end:
            return bytes(data) + end.partial, False
        except (ConnectionError, ValueError):
            return bytes(data), False
        return bytes(data), True


@asynccontextmanager
async def talk(
    port: int,
    method: str,
    target: str | bytes,
    headers: Headers = (),
    *,
    host: str = "127.0.0.1",
    host_header: str | None = None,
    body: bytes | None = None,
) -> AsyncIterator[Conversation]:
    """Send one request and hand out the conversation; leaving the block drops the connection.

    `Host` is `host_header`, or the address that is dialled; an empty string leaves the header out.
    """
    opened = asyncio.get_running_loop().time()
    reader, writer = await asyncio.open_connection(host, port, limit=_LONGEST_HEAD)
    try:
        named = f"{host}:{port}" if host_header is None else host_header
        fields = [("Host", named)] if named else []
        fields += [*headers, ("Connection", "close")]
        if body is not None:
            fields.append(("Content-Length", str(len(body))))
        raw = target if isinstance(target, bytes) else target.encode("latin-1")
        head = "".join(f"{key}: {value}\r\n" for key, value in fields).encode("latin-1")
        writer.write(method.encode() + b" " + raw + b" HTTP/1.1\r\n" + head + b"\r\n" + (body or b""))
        yield Conversation(reader, method, opened)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def request(
    port: int,
    method: str,
    target: str | bytes,
    headers: Headers = (),
    *,
    host: str = "127.0.0.1",
    host_header: str | None = None,
    read_body: bool = True,
    body: bytes | None = None,
) -> Reply:
    """One request on a connection of its own, answered within 30 s (scaled), else TimeoutError.

    Without `read_body` the connection is dropped after the headers, and the reply has an empty body, not complete.
    OSError when nobody listens.
    """
    async with (
        asyncio.timeout(scaled(TIMEOUT)),
        talk(port, method, target, headers, host=host, host_header=host_header, body=body) as conversation,
    ):
        await conversation.head()
        content, complete = await conversation.body() if read_body else (b"", False)
        return Reply(conversation.status, conversation.headers, content, complete, conversation.first_byte_after)
