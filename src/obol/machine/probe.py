"""Asking an HTTP server on this machine how it is: one request, one number."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from obol.machine.ports import bracketed

if TYPE_CHECKING:
    import ssl

LIMIT = 2.0
"""Seconds for the whole of it."""


Probe = Callable[[int, str], Awaitable[int | None]]
"""Asks for a path on a port of 127.0.0.1: the status, or None where nothing that speaks HTTP answers."""


async def status_on_loopback(port: int, path: str) -> int | None:
    """Ask; see `Probe`."""
    return await status_of("127.0.0.1", port, path)


async def status_of(address: str, port: int, path: str, *, tls: ssl.SSLContext | None = None) -> int | None:
    """The status that an address of this machine, or of a cluster on it, answers with; None as for `Probe`."""
    with contextlib.suppress(OSError, ValueError, TimeoutError):
        async with asyncio.timeout(LIMIT):
            reader, writer = await asyncio.open_connection(address, port, ssl=tls)
            try:
                host = f"{bracketed(address)}:{port}"
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                await writer.drain()
                version, code, *_ = (await reader.readline()).decode("latin-1").split(" ", 2)
                return int(code) if version.startswith("HTTP/") else None
            finally:
                writer.close()
    return None
