from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tempfile
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from obol.registry.engine.answers import CutShort
from obol.registry.server import outlet as sendfile
from obol.registry.server import sending as sending_module
from obol.registry.server.replies import Sent
from obol.registry.server.sending import Sender, acknowledged
from obol.registry.store.ports import FileRun

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator

    from obol.registry.store.ports import Run

DATA = bytes(range(256)) * 40
LARGE = 64 * 1024 * 1024
"""More than the buffers of any loopback connection take."""


@pytest.fixture
def file() -> Iterator[int]:
    """An open file that holds DATA at its start, and is large and sparse."""
    with tempfile.TemporaryFile() as opened:
        opened.write(DATA)
        opened.truncate(LARGE)
        yield opened.fileno()


class Client:
    """One connection to a server that answers by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def rest(self) -> bytes:
        """What comes after the request's own head, to the end."""
        return await self.reader.read()


@contextlib.asynccontextmanager
async def answering(answer: Callable[[Sender], Awaitable[None]], stall: float = 0.2) -> AsyncIterator[Client]:
    """Serve one connection with `answer`, whose outcome is the name of what it raised, or "done"."""
    clients: list[Client] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        sender = Sender(request, stall)
        try:
            await answer(sender)
        except (CutShort, OSError) as problem:
            clients[0].outcome.set_result(type(problem).__name__)
        else:
            clients[0].outcome.set_result("done")
        assert request.transport is not None
        request.transport.abort()
        return Sent(keep_alive=False).response()

    runner = web.ServerRunner(web.Server(handle, access_log=None))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", runner.addresses[0][1], limit=2**16)
    clients.append(Client(reader, writer))
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    try:
        yield clients[0]
    finally:
        writer.transport.abort()
        await runner.cleanup()


async def runs(*given: Run) -> AsyncGenerator[Run, None]:
    """These runs."""
    for run in given:
        yield run


async def test_files_and_pieces(file: int) -> None:
    """Parts of files and pieces from memory leave in order, and are counted together."""
    counts = []

    async def answer(sender: Sender) -> None:
        sender.head(b"HEAD")
        await sender.all(runs(FileRun(file, 0, 1000), b"middle", FileRun(file, 1000, 1500), FileRun(file, 5, 5)))
        counts.append(sender.count)

    async with answering(answer) as client:
        assert await client.rest() == b"HEAD" + DATA[:1000] + b"middle" + DATA[1000:1500]
        assert await client.outcome == "done"
    assert counts == [1506]


async def test_chunked(file: int) -> None:
    """With chunks, each run is one, and the end is told."""

    async def answer(sender: Sender) -> None:
        await sender.all(runs(FileRun(file, 0, 10), b"abc"), chunked=True)

    async with answering(answer) as client:
        assert await client.rest() == b"a\r\n" + DATA[:10] + b"\r\n3\r\nabc\r\n0\r\n\r\n"


async def test_cut_while_chunked() -> None:
    """Chunks that are cut short have no end, and the runs are closed."""
    closed = []

    async def cut() -> AsyncGenerator[Run, None]:
        try:
            yield b"abc"
            raise CutShort("no more")
        finally:
            closed.append(True)

    async def answer(sender: Sender) -> None:
        await sender.all(cut(), chunked=True)

    async with answering(answer) as client:
        assert await client.rest() == b"3\r\nabc\r\n"
        assert await client.outcome == "CutShort"
    assert closed == [True]


async def test_file_too_short(file: int) -> None:
    """A file that ends too early cuts the body short: nothing is made up."""
    os.ftruncate(file, 100)

    async def answer(sender: Sender) -> None:
        await sender.file(FileRun(file, 0, 1000))

    async with answering(answer) as client:
        assert await client.rest() == DATA[:100]
        assert await client.outcome == "CutShort"


async def test_end_is_no_reset(file: int) -> None:
    """A connection that is given up ends as a short body does, so that clients turn elsewhere."""

    async def answer(sender: Sender) -> None:
        sender.head(b"HEAD")
        raise CutShort("no more")

    async with answering(answer) as client:
        assert await client.reader.read() == b"HEAD"


@pytest.mark.parametrize("run", ["file", "bytes"])
async def test_stalled_client(file: int, run: str) -> None:
    """A client that takes nothing for too long is let go."""

    async def answer(sender: Sender) -> None:
        if run == "file":
            await sender.file(FileRun(file, 0, LARGE))
        else:
            await sender.all(runs(bytes(LARGE)))

    async with answering(answer, stall=0.1) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is a two-way transport
        assert await client.outcome in {"ConnectionResetError", "TimeoutError"}


async def test_slow_client(file: int) -> None:
    """A client that is slow, but takes something now and then, is served to the end."""

    async def answer(sender: Sender) -> None:
        await sender.file(FileRun(file, 0, 16 * 1024 * 1024))

    async with answering(answer, stall=0.15) as client:
        taken = 0
        while len(data := await client.reader.read(1 << 20)):
            taken += len(data)
            if taken % (1 << 21) < len(data):
                await asyncio.sleep(0.05)

        assert taken == 16 * 1024 * 1024
        assert await client.outcome == "done"


async def test_client_leaves(file: int) -> None:
    """A client that goes away in the middle ends the sending."""

    async def answer(sender: Sender) -> None:
        await sender.file(FileRun(file, 0, LARGE))

    async with answering(answer) as client:
        await client.reader.readexactly(1000)
        client.writer.transport.abort()

        assert await client.outcome in {"ConnectionResetError", "BrokenPipeError"}


async def test_client_has_left(file: int) -> None:
    """To a connection that is closing already nothing is written."""

    async def answer(sender: Sender) -> None:
        sender._transport.close()
        await sender.file(FileRun(file, 0, 10))

    async with answering(answer) as client:
        assert await client.outcome == "ConnectionResetError"


async def test_closed_meanwhile(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is closed between two turns is a client that went away."""
    monkeypatch.setattr(sendfile, "AT_ONCE", 64 * 1024)

    async def answer(sender: Sender) -> None:
        asyncio.get_running_loop().call_soon(sender._transport.close)
        await sender.file(FileRun(file, 0, LARGE))

    async with answering(answer) as client:
        assert await client.outcome == "ConnectionResetError"


async def test_after_what_was_written(file: int) -> None:
    """A file leaves after the bytes that the socket has not taken yet."""
    before = bytes(8 * 1024 * 1024)
    left = []

    async def answer(sender: Sender) -> None:
        sender.head(before)
        left.append(sender._transport.get_write_buffer_size())
        await sender.file(FileRun(file, 0, len(DATA)))

    async with answering(answer, stall=5.0) as client:
        assert await client.rest() == before + DATA
        assert await client.outcome == "done"
    assert left[0] > 0


async def test_client_that_has_said_all(file: int) -> None:
    """A client that closes its own half of the connection is served to the end."""

    async def answer(sender: Sender) -> None:
        await sender.file(FileRun(file, 0, LARGE))

    async with answering(answer) as client:
        taken = len(await client.reader.readexactly(1))
        client.writer.write_eof()
        while data := await client.reader.read(1 << 20):
            taken += len(data)

        assert taken == LARGE
        assert await client.outcome == "done"


async def test_no_connection() -> None:
    """Without a connection there is no sender."""

    class Gone:
        transport = None

    with pytest.raises(ConnectionResetError):
        Sender(Gone(), 1.0)  # type: ignore[arg-type]  # all that it looks at


async def test_acknowledged() -> None:
    """The kernel tells how much the other side has taken."""
    done = asyncio.Event()
    told: list[int | None] = []

    async def answer(sender: Sender) -> None:
        sender.head(DATA)
        await done.wait()
        told.append(acknowledged(sender._transport))

    async with answering(answer) as client:
        await client.reader.readexactly(len(DATA))
        await asyncio.sleep(0.05)
        done.set()
        await client.outcome
    assert told in ([len(DATA)], [len(DATA) + 1])


@pytest.mark.parametrize("how", ["no option", "no socket", "error", "short"])
def test_not_acknowledged(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system does not tell, nothing is known."""

    class Socket:
        def getsockopt(self, *args: int) -> bytes:
            if how == "error":
                raise OSError(22, "invalid")
            return b"short"

    class Transport:
        def get_extra_info(self, name: str) -> Socket | None:
            return None if how == "no socket" else Socket()

    if how == "no option":
        monkeypatch.delattr(socket, "TCP_INFO")

    assert acknowledged(Transport()) is None  # type: ignore[arg-type]  # all that it looks at


async def test_no_limit_without_a_count(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is known of what was taken, nobody is let go for it."""
    monkeypatch.setattr(sending_module, "acknowledged", lambda _: None)

    async def answer(sender: Sender) -> None:
        await sender.file(FileRun(file, 0, LARGE))

    async with answering(answer, stall=0.02) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is a two-way transport
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(client.outcome), 0.2)
        client.writer.transport.abort()
        await client.outcome
