"""The body of one answer, piece by piece, within limits of our own.

aiohttp tells some errors of a body to the connection alone (a malformed chunk, an impossible trailer): it wakes no
reader, and takes its own time limit off. So we listen to the end of the connection, and limit each wait ourselves.
"""

from __future__ import annotations

import asyncio

import aiohttp

from obol.registry.upstream.ports import Unavailable

IDLE = 30.0
"""Seconds without a byte after which a body is given up, where the caller names no limit."""


async def piece(response: aiohttp.ClientResponse, within: float = IDLE) -> bytes:
    """The next bytes of the body, b"" at its end.

    Raises Unavailable where the body is cut, malformed, or brings nothing within `within` seconds.
    """
    try:
        async with asyncio.timeout(within):
            return await response.content.readany()
    except TimeoutError as problem:
        raise Unavailable("the upstream did not answer in time") from problem
    except Exception as problem:  # a body can break in many ways, and aiohttp has a class for each
        raise Unavailable("the upstream cut the connection") from problem


def notice_loss(response: aiohttp.ClientResponse) -> None:
    """Wake the reader of a body whose connection ends, also where aiohttp does not."""
    content, connection = response.content, response.connection
    if connection is None or connection.protocol is None or content.is_eof():
        return
    closed = connection.protocol.closed

    def lost(ended: asyncio.Future[None]) -> None:
        if not ended.cancelled():
            ended.exception()  # or asyncio reports that nobody looked at it
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the body broke off"))

    if closed is None:
        content.set_exception(aiohttp.ClientPayloadError("the body broke off"))
        return
    closed.add_done_callback(lost)

    def whole() -> None:
        closed.remove_done_callback(lost)

    # A connection that is used again must not gather what listened for its earlier answers.
    content.on_eof(whole)
