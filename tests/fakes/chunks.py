"""Chunked bodies that are malformed, on a connection that stays open: nothing but the parser ends these."""

import asyncio
from dataclasses import replace

from tests.fakes.behaviours import Behaviour, Exchange


def broken_chunks(tail: bytes) -> Behaviour:
    """Half of the body as a chunk, then `tail` where another should begin; the connection stays open."""

    async def breaking(exchange: Exchange) -> None:
        if await exchange.start(replace(exchange.honest, chunked=True)):
            half = exchange.body[: len(exchange.body) // 2]
            await exchange.part(b"%x\r\n%b\r\n" % (len(half), half))
            await asyncio.sleep(0.02)  # or both come in one piece
            await exchange.part(tail)
            await asyncio.Event().wait()

    return breaking


BROKEN_CHUNKS: dict[str, Behaviour] = {
    "no number": broken_chunks(b"zz\r\n"),
    "negative": broken_chunks(b"-5\r\nhello\r\n"),
    "too large": broken_chunks(b"fffffffffffffffff\r\n"),
    "no size": broken_chunks(b"\r\n\r\n"),
    "head of another answer": broken_chunks(b"HTTP/1.1 200 OK\r\n\r\n"),
    "impossible trailer": broken_chunks(b"0\r\n\x00: \x00\r\n\r\n"),
    "oversized trailer": broken_chunks(b"0\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n"),
    "ends early": broken_chunks(b"0\r\n\r\n"),
    "zero bytes": broken_chunks(b"\x00" * 64),
}
"""By what is wrong with them."""
