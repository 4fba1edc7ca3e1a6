import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from obol.machine import probe
from obol.machine.probe import status_of, status_on_loopback


class Writer:
    """Keeps what is written."""

    def __init__(self, written: list[bytes]) -> None:
        self.write = written.append

    async def drain(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is open."""


@asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that says this to everybody, or nothing at all; its port, and what it was asked."""
    asked: list[bytes] = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        if answer is None:
            await reader.read()
        writer.write(answer or b"")
        writer.close()

    async with await asyncio.start_server(converse, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], asked


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 200),
        (b"HTTP/1.0 503 Service Unavailable\r\n\r\n", 503),
        (b"HTTP/1.1 204\r\n\r\n", 204),
        (b"SSH-2.0 200 x\r\n", None),
        (b"HTTP/1.1 many\r\n", None),
        (b"", None),
    ],
)
async def test_answers(answer: bytes, status: int | None) -> None:
    """The status is what the first line says, if that is HTTP."""
    async with answering(answer) as (port, asked):
        assert await status_on_loopback(port, "/health") == status

    assert asked[0].startswith(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1:")


async def test_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that says nothing is not waited for."""
    monkeypatch.setattr(probe, "LIMIT", 0.05)

    async with answering(None) as (port, _):
        assert await status_on_loopback(port, "/") is None


async def test_nobody() -> None:
    """Where nobody listens there is no status."""
    async with answering(b"") as (port, _):
        pass

    assert await status_on_loopback(port, "/") is None


async def test_another_address() -> None:
    """An address of a cluster is asked in the same way, by its own name."""
    async with answering(b"HTTP/1.1 200 OK\r\n\r\n") as (port, asked):
        assert await status_of("127.0.0.1", port, "/health") == 200

    assert f"Host: 127.0.0.1:{port}".encode() in asked[0]


async def test_address_in_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another address is asked by its own name, as a Host header has it."""
    asked: list[bytes] = []

    async def open_connection(_host: str, _port: int, *, ssl: None) -> tuple[asyncio.StreamReader, Writer]:
        assert ssl is None
        reader = asyncio.StreamReader()
        reader.feed_data(b"HTTP/1.1 200 OK\r\n")
        return reader, Writer(asked)

    monkeypatch.setattr(asyncio, "open_connection", open_connection)

    assert await status_of("fd00::1", 5000, "/healthz") == 200
    assert b"Host: [fd00::1]:5000\r\n" in asked[0]
