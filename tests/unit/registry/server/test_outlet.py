import asyncio
import contextlib
import os
import socket
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator

import pytest
from aiohttp import web

from obol.registry.server import outlet as outlet_module
from obol.registry.server.outlet import AT_ONCE, Outlet, acknowledged, undisturbed
from obol.registry.store.ports import FileRun, Run
from obol.registry.transfers.transfer import TransferFailed
from obol.registry.upstream.ports import Unavailable

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
async def answering(answer: Callable[[Outlet], Awaitable[None]], stall: float = 0.2) -> AsyncIterator[Client]:
    """Serve one connection with `answer`, whose outcome is the name of what it raised, or "done"."""
    clients: list[Client] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        outlet = Outlet(request, stall)
        try:
            await answer(outlet)
        except (TransferFailed, OSError) as problem:
            clients[0].outcome.set_result(type(problem).__name__)
        else:
            clients[0].outcome.set_result("done")
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

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


def sending(file: int, stop: int) -> Callable[[Outlet], Awaitable[None]]:
    """An answer with the beginning of a file."""
    return lambda outlet: outlet.file(FileRun(file, 0, stop))


async def runs(*given: Run) -> AsyncGenerator[Run, None]:
    """These runs."""
    for run in given:
        yield run


async def test_files_and_pieces(file: int) -> None:
    """Parts of files and pieces from memory leave in order, and are counted together."""
    counts = []

    async def answer(outlet: Outlet) -> None:
        outlet.transport.write(b"HEAD")
        await outlet.all(runs(FileRun(file, 0, 1000), b"middle", FileRun(file, 1000, 1500), FileRun(file, 5, 5)))
        counts.append(outlet.count)

    async with answering(answer) as client:
        assert await client.rest() == b"HEAD" + DATA[:1000] + b"middle" + DATA[1000:1500]
        assert await client.outcome == "done"
    assert counts == [1506]


async def test_chunked(file: int) -> None:
    """With chunks, each run is one, and the end is told."""

    async def answer(outlet: Outlet) -> None:
        await outlet.all(runs(FileRun(file, 0, 10), b"abc"), chunked=True)

    async with answering(answer) as client:
        assert await client.rest() == b"a\r\n" + DATA[:10] + b"\r\n3\r\nabc\r\n0\r\n\r\n"


async def test_cut_while_chunked() -> None:
    """Chunks that are cut short have no end, and the runs are closed."""
    closed = []

    async def cut() -> AsyncGenerator[Run, None]:
        try:
            yield b"abc"
            raise TransferFailed(Unavailable("no more"))
        finally:
            closed.append(True)

    async def answer(outlet: Outlet) -> None:
        await outlet.all(cut(), chunked=True)

    async with answering(answer) as client:
        assert await client.rest() == b"3\r\nabc\r\n"
        assert await client.outcome == "TransferFailed"
    assert closed == [True]


async def test_file_too_short(file: int) -> None:
    """A file that ends too early cuts the body short: nothing is made up."""
    os.ftruncate(file, 100)

    async with answering(sending(file, 1000)) as client:
        assert await client.rest() == DATA[:100]
        assert await client.outcome == "OSError"


@pytest.mark.parametrize("run", ["file", "bytes"])
async def test_stalled_client(file: int, run: str) -> None:
    """A client that takes nothing for too long is let go."""

    async def answer(outlet: Outlet) -> None:
        if run == "file":
            await outlet.file(FileRun(file, 0, LARGE))
        else:
            await outlet.all(runs(bytes(LARGE)))

    async with answering(answer, stall=0.1) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is a two-way transport
        assert await client.outcome in {"ConnectionResetError", "TimeoutError"}


async def test_slow_client(file: int) -> None:
    """A client that is slow, but takes something now and then, is served to the end."""
    async with answering(sending(file, 16 * 1024 * 1024), stall=0.15) as client:
        taken = 0
        while len(data := await client.reader.read(1 << 20)):
            taken += len(data)
            if taken % (1 << 21) < len(data):
                await asyncio.sleep(0.05)

        assert taken == 16 * 1024 * 1024
        assert await client.outcome == "done"


async def test_client_leaves(file: int) -> None:
    """A client that goes away in the middle ends the sending."""
    async with answering(sending(file, LARGE)) as client:
        await client.reader.readexactly(1000)
        client.writer.transport.abort()

        assert await client.outcome in {"ConnectionResetError", "BrokenPipeError"}


async def test_client_has_left(file: int) -> None:
    """To a connection that is closing already nothing is written."""

    async def answer(outlet: Outlet) -> None:
        outlet.transport.close()
        await outlet.file(FileRun(file, 0, 10))

    async with answering(answer) as client:
        assert await client.outcome == "ConnectionResetError"


async def test_closed_meanwhile(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is closed between two turns is a client that went away."""
    monkeypatch.setattr(outlet_module, "AT_ONCE", 64 * 1024)

    async def answer(outlet: Outlet) -> None:
        asyncio.get_running_loop().call_soon(outlet.transport.close)
        await outlet.file(FileRun(file, 0, LARGE))

    async with answering(answer) as client:
        assert await client.outcome == "ConnectionResetError"


async def test_after_what_was_written(file: int) -> None:
    """A file leaves after the bytes that the socket has not taken yet."""
    before = bytes(8 * 1024 * 1024)
    left = []

    async def answer(outlet: Outlet) -> None:
        outlet.transport.write(before)
        left.append(outlet.transport.get_write_buffer_size())
        await outlet.file(FileRun(file, 0, len(DATA)))

    async with answering(answer, stall=5.0) as client:
        assert await client.rest() == before + DATA
        assert await client.outcome == "done"
    assert left[0] > 0


async def test_client_that_has_said_all(file: int) -> None:
    """A client that closes its own half of the connection is served to the end."""
    async with answering(sending(file, LARGE)) as client:
        taken = len(await client.reader.readexactly(1))
        client.writer.write_eof()
        while data := await client.reader.read(1 << 20):
            taken += len(data)

        assert taken == LARGE
        assert await client.outcome == "done"


async def test_no_connection() -> None:
    """To a client that has gone there is no way."""

    class Gone:
        transport = None

    with pytest.raises(ConnectionResetError):
        Outlet(Gone(), 1.0)  # type: ignore[arg-type]  # all that it looks at


async def test_acknowledged() -> None:
    """The kernel tells how much the other side has taken."""
    done = asyncio.Event()
    told: list[int | None] = []

    async def answer(outlet: Outlet) -> None:
        outlet.transport.write(DATA)
        await done.wait()
        told.append(acknowledged(outlet.transport))

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
    monkeypatch.setattr(outlet_module, "acknowledged", lambda _: None)

    async with answering(sending(file, LARGE), stall=0.02) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is a two-way transport
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(client.outcome), 0.2)
        client.writer.transport.abort()
        await client.outcome


async def test_turns(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that takes all that it gets leaves the others their turns."""
    sent: list[tuple[int, int]] = []

    def send(descriptor: int, _file: int, _start: int, count: int) -> int:
        sent.append((descriptor, count))
        return count

    monkeypatch.setattr(os, "sendfile", send)
    ready = asyncio.Barrier(2)

    async def first(outlet: Outlet) -> None:
        await ready.wait()
        await outlet.file(FileRun(file, 0, 2 * AT_ONCE))

    async def second(outlet: Outlet) -> None:
        await ready.wait()
        await outlet.file(FileRun(file, 0, AT_ONCE + 1))

    async with answering(first) as one, answering(second) as other:
        assert (await one.outcome, await other.outcome) == ("done", "done")

    assert len({descriptor for descriptor, _ in sent[:2]}) == 2
    assert [descriptor for descriptor, _ in sent[:2]] == [descriptor for descriptor, _ in sent[2:]]
    assert sorted(count for _, count in sent) == [1, AT_ONCE, AT_ONCE, AT_ONCE]


async def test_file_fails(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system says against a file that cannot be read is told, also after a part of it was sent."""
    taken_before = iter((1000,))

    def send(*_: int) -> int:
        for count in taken_before:
            return count
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "sendfile", send)

    async with answering(sending(file, LARGE)) as client:
        assert await client.outcome == "OSError"


async def test_given_up(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is cancelled while the client takes nothing leaves nothing behind."""
    made: list[int] = []
    dup = os.dup

    def noted(number: int) -> int:
        made.append(dup(number))
        return made[-1]

    monkeypatch.setattr(os, "dup", noted)
    reading: list[bool] = []

    async def answer(outlet: Outlet) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(outlet.file(FileRun(file, 0, LARGE)), 0.05)
        reading.append(outlet.transport.is_reading())
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(made[0])

    async with answering(answer, stall=5.0) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is a two-way transport
        assert await client.outcome == "done"
    assert (len(made), reading) == (1, [True])


@pytest.mark.parametrize("how", ["whole", "closed", "not reading", "no option"])
async def test_undisturbed(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Meanwhile nothing is read and only full segments are sent; afterwards all is as it was, unless it was closed."""
    option = socket.TCP_CORK
    if how == "no option":
        monkeypatch.delattr(socket, "TCP_CORK")

    async def answer(outlet: Outlet) -> None:
        transport = outlet.transport
        connection = transport.get_extra_info("socket")
        if how == "not reading":
            transport.pause_reading()
        with undisturbed(transport):
            assert not transport.is_reading()
            assert connection.getsockopt(socket.IPPROTO_TCP, option) == (how != "no option")
            transport.write(b"some")
            if how == "closed":
                transport.abort()
                await asyncio.sleep(0)
                return
        assert connection.getsockopt(socket.IPPROTO_TCP, option) == 0
        assert transport.is_reading() is (how != "not reading")

    async with answering(answer) as client:
        assert await client.outcome == "done"
