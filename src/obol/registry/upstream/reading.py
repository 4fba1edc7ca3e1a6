"""Reading answers: what a status means, bodies within bounds, connections given back."""

from __future__ import annotations

import asyncio
import re
import zlib
from typing import TYPE_CHECKING

from obol.registry.control.api import RateLimit
from obol.registry.policy.retry import backoff
from obol.registry.policy.statuses import Meaning, Question, explained, meaning
from obol.registry.upstream.large import LARGE, take_turn
from obol.registry.upstream.pieces import piece
from obol.registry.upstream.ports import (
    Absent,
    Busy,
    Denied,
    MethodRefused,
    Misbehaved,
    RangesRefused,
    RateLimited,
    Unavailable,
    UpstreamError,
)
from obol.registry.upstream.transport import give_back

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp

NEEDS_CREDENTIALS = "the upstream does not give this without credentials"
SMALL_BODY = 64 * 1024
DRAIN_SECONDS = 1.0

_ERRORS: dict[Meaning, type[UpstreamError]] = {
    Meaning.ABSENT: Absent,
    Meaning.METHOD_REFUSED: MethodRefused,
    Meaning.PATH_FAILS: Unavailable,
    Meaning.BUSY: Unavailable,
}
_BUDGET = re.compile(r"\s*(-?[0-9]{1,9})\s*(?:;\s*w=([0-9]{1,9})\s*)?")


async def drain(response: aiohttp.ClientResponse) -> None:
    """Take a small body off the connection so that it can be used again; drop the connection otherwise."""
    length = response.content_length
    try:
        if length is not None and length <= SMALL_BODY:
            async with asyncio.timeout(DRAIN_SECONDS):
                while await piece(response, DRAIN_SECONDS):
                    pass
    except (Unavailable, TimeoutError):
        pass
    finally:
        give_back(response)


async def judge(response: aiohttp.ClientResponse, phase: Question, wall: float) -> None:
    """Return for an answer; otherwise give the connection back and raise what the status means at `wall` time."""
    found = meaning(phase, response.status)
    if found is Meaning.GIVEN:
        return
    problem = error(found, phase, response.status, response.headers.get("Retry-After"), wall)
    await drain(response)
    raise problem


def error(found: Meaning, phase: Question, status: int, retry_after: str | None, wall: float) -> UpstreamError:
    """The error that a meaning other than GIVEN stands for."""
    match found:
        case Meaning.DENIED:
            bare = status in {401, 403}
            problem: UpstreamError = Denied(NEEDS_CREDENTIALS if bare else explained(status))
        case Meaning.LIMITED:
            problem = RateLimited(backoff(retry_after, wall))
        case Meaning.METHOD_REFUSED if phase is Question.RANGE:
            problem = RangesRefused(f"the upstream refuses the range ({status})")
        case Meaning.BUSY if retry_after:
            problem = Busy(backoff(retry_after, wall))
        case _:
            problem = _ERRORS.get(found, Misbehaved)(explained(status))
    return problem


def is_page(response: aiohttp.ClientResponse) -> bool:
    """Whether this is a page for people: a captive portal, a proxy's error, a web gallery."""
    kind = response.headers.get("Content-Type", "").strip().lower()
    return kind.startswith(("text/html", "application/xhtml"))


async def read_bounded(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The whole body, of at most `limit` bytes. Raises Misbehaved (longer), Unavailable (cut short, idle)."""
    pieces: list[bytes] = []
    size = 0
    try:
        while data := await piece(response):
            size += len(data)
            if size > limit:
                raise Misbehaved("the upstream's answer is too long")
            pieces.append(data)
            if size > LARGE:
                await take_turn()
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
    limit, remaining = _budget(headers.get("ratelimit-limit")), _budget(headers.get("ratelimit-remaining"))
    return None if limit is None and remaining is None else RateLimit(limit, remaining)


def _budget(text: str | None) -> int | None:
    found = _BUDGET.fullmatch(text or "")
    return None if found is None else int(found[1])
