"""Reading answers: what a status means, bodies within bounds, connections given back.

Large answers are in memory one at a time. Each is bounded, but many clients may ask for many of them at once, and to
read one takes several times its length. So an answer beyond a length that no usual manifest has waits for its turn, and
has it until the work in which the answer is used ends: `LargeAnswers.during` marks that work. An upstream that takes
its time holds up no other: the turns of registries are apart until the whole answer is there. What is made of it then
takes several times its length again, but no time of an upstream, so there is one turn for all registries.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from obol.registry.control.api import RateLimit
from obol.registry.policy.retry import backoff
from obol.registry.policy.statuses import Meaning, Question, explained, meaning
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
    import aiohttp

T = TypeVar("T")

NEEDS_CREDENTIALS = "the upstream does not give this without credentials"
SMALL_BODY = 64 * 1024
DRAIN_SECONDS = 1.0
IDLE = 30.0
"""Seconds without a byte after which a body is given up, where the caller names no limit."""
LARGE = 128 * 1024
"""Bytes of an answer that needs no turn. Manifests of images have a tenth of it."""

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


async def judge(response: aiohttp.ClientResponse, asked: Question, wall: float) -> None:
    """Return for an answer; otherwise give the connection back and raise what the status means at `wall` time."""
    found = meaning(asked, response.status)
    if found is Meaning.GIVEN:
        return
    problem = error(found, asked, response.status, response.headers.get("Retry-After"), wall)
    await drain(response)
    raise problem


def error(found: Meaning, asked: Question, status: int, retry_after: str | None, wall: float) -> UpstreamError:
    """The error that a meaning other than GIVEN stands for."""
    match found:
        case Meaning.DENIED:
            bare = status in {401, 403}
            problem: UpstreamError = Denied(NEEDS_CREDENTIALS if bare else explained(status))
        case Meaning.LIMITED:
            problem = RateLimited(backoff(retry_after, wall))
        case Meaning.METHOD_REFUSED if asked is Question.RANGE:
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
    if size > LARGE:
        await take_turn(whole=True)
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


class _Turn:
    def __init__(self, arriving: asyncio.Lock, whole: asyncio.Lock) -> None:
        self._locks = {False: arriving, True: whole}
        self._taken: list[asyncio.Lock] = []

    async def take(self, *, whole: bool) -> None:
        lock = self._locks[whole]
        if lock not in self._taken:
            await lock.acquire()
            self._taken.append(lock)

    def end(self) -> None:
        while self._taken:
            self._taken.pop().release()


_current: ContextVar[_Turn | None] = ContextVar("turn", default=None)


class LargeAnswers:
    """The turns of one engine at having a large answer in memory."""

    def __init__(self) -> None:
        self._arriving: dict[str, asyncio.Lock] = {}
        self._whole = asyncio.Lock()

    @asynccontextmanager
    async def during(self, registry: str) -> AsyncIterator[None]:
        """Do work in which one answer of a registry is in memory; its turn, if it needs one, ends with the work."""
        turn = _Turn(self._arriving.setdefault(registry, asyncio.Lock()), self._whole)
        token = _current.set(turn)
        try:
            yield
        finally:
            _current.reset(token)
            turn.end()

    async def take(self, registry: str, work: Coroutine[Any, Any, T]) -> T:
        """The outcome of such work."""
        async with self.during(registry):
            return await work


async def take_turn(*, whole: bool = False) -> None:
    """Wait until a large answer may be read, or worked on where it is `whole`.

    At once where the work has its turn, or is not limited.
    """
    turn = _current.get()
    if turn is not None:
        await turn.take(whole=whole)
