"""Reading answers: what a status means, bodies within bounds, connections given back."""

from __future__ import annotations

import asyncio
import re
import zlib
from typing import TYPE_CHECKING

import aiohttp

from obol.registry.policy.retry import backoff
from obol.registry.upstream.base import Absent, Denied, Misbehaved, RateLimit, RateLimited, Unavailable, UpstreamError
from obol.registry.upstream.transport import give_back, translate

if TYPE_CHECKING:
    from collections.abc import Mapping

SMALL_BODY = 64 * 1024
DRAIN_SECONDS = 1.0

_BUDGET = re.compile(r"\s*(-?[0-9]{1,9})\s*(?:;\s*w=([0-9]{1,9})\s*)?")


async def drain(response: aiohttp.ClientResponse) -> None:
    """Take a small body off the connection so that it can be used again; drop the connection otherwise."""
    length = response.content_length
    try:
        if length is not None and length <= SMALL_BODY:
            async with asyncio.timeout(DRAIN_SECONDS):
                await response.read()
    except (aiohttp.ClientError, OSError):
        pass
    finally:
        give_back(response)


async def judge(response: aiohttp.ClientResponse, wall: float) -> None:
    """Return for 200 and 206; otherwise give the connection back and raise what the status means at `wall` time."""
    if response.status in {200, 206}:
        return
    problem = meaning(response.status, response.headers.get("Retry-After"), wall)
    await drain(response)
    raise problem


def meaning(status: int, retry_after: str | None, wall: float) -> UpstreamError:
    """The error that an unsuccessful status stands for."""
    match status:
        case 404 | 410:
            return Absent("the upstream does not have it")
        case 401 | 403:
            return Denied("the upstream does not give this without credentials")
        case 429:
            return RateLimited(backoff(retry_after, wall))
        case _ if status == 408 or status >= 500:
            return Unavailable(f"the upstream answered {status}")
        case _:
            return Misbehaved(f"the upstream answered {status}")


async def read_bounded(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The whole body, of at most `limit` bytes. Raises Misbehaved (longer), Unavailable (cut short, idle)."""
    pieces: list[bytes] = []
    size = 0
    try:
        while piece := await response.content.readany():
            size += len(piece)
            if size > limit:
                raise Misbehaved("the upstream's answer is too long")
            pieces.append(piece)
    except (aiohttp.ClientError, OSError, ValueError) as problem:
        raise translate(problem) from problem
    finally:
        give_back(response)
    return b"".join(pieces)


def decoded(body: bytes, encoding: str, limit: int) -> bytes | None:
    """`body` without its Content-Encoding, or None: unknown, not of that encoding, longer than `limit`."""
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        return None
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        plain = decoder.decompress(body, limit + 1)
    except zlib.error:
        return None
    return plain if decoder.eof and len(plain) <= limit else None


def rate_limit(headers: Mapping[str, str]) -> RateLimit | None:
    """What Docker Hub's `ratelimit-limit: 100;w=21600` and `ratelimit-remaining` say; None where they are absent."""
    limit, window = _budget(headers.get("ratelimit-limit"))
    remaining, _ = _budget(headers.get("ratelimit-remaining"))
    if limit is None and remaining is None:
        return None
    return RateLimit(limit, remaining, window)


def _budget(text: str | None) -> tuple[int | None, int | None]:
    found = _BUDGET.fullmatch(text or "")
    if found is None:
        return None, None
    return int(found[1]), (None if found[2] is None else int(found[2]))
