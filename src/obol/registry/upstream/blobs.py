"""One blob at its upstream: where its bytes are to be had, and whether an answer keeps what its head promises.

A registry usually answers a blob with a redirect to a presigned URL. It is asked once, and the other segments go to
where it pointed; when that URL is refused (it expired) the registry is asked again, once for all segments.

A promise is checked before the first byte is handed on: where the bytes begin, how many they are, of how many. What
the body does then (stops, drips, goes on too long) is an error of ours, never a short or long read.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from obol.oci.ranges import parse_content_range
from obol.registry.policy.statuses import Question
from obol.registry.upstream.ports import Busy, Denied, Misbehaved, RangesRefused, RateLimited, Unavailable
from obol.registry.upstream.reading import IDLE, drain, is_page, judge, piece
from obol.registry.upstream.transport import Arrived, Transport, give_back

if TYPE_CHECKING:
    import aiohttp

    from obol.machine.clock import Clock
    from obol.registry.upstream.asking import About, Asking

REFUSED_LINK = frozenset({400, 401, 403, 404, 410})
"""What object stores answer to a presigned URL that expired."""
MAX_REFRESHES = 4

AskRegistry = Callable[[Mapping[str, str]], Awaitable[Arrived]]


class RegistryBlob:
    """A blob of one repository; `size` as its descriptor says, if one is known."""

    def __init__(
        self, ask_registry: AskRegistry, transport: Transport, asking: Asking, about: About, size: int | None
    ) -> None:
        self._ask_registry = ask_registry
        self._transport = transport
        self._asking = asking
        self._about = about
        self._size = size
        self._direct: str | None = None
        self._redirects = True
        self._refreshes = 0
        self._ranges = False
        """A range was honoured."""
        self._refreshing = asyncio.Lock()

    async def open(self, start: int, stop: int | None, *, plain: bool = False) -> RegistryStream:
        """See `BlobSource.open`: asks as often as the upstream's health and time limits allow."""
        return await self._asking.ask(self._about, lambda: self.open_once(start, stop, plain=plain))

    async def open_once(self, start: int, stop: int | None, *, plain: bool = False) -> RegistryStream:
        """Ask once, whatever the upstream's health is."""
        wanted = BlobRange(start, stop, plain)
        ranged = bool(wanted.headers())
        try:
            response = await self._answer(wanted.headers())
        except Denied as problem:
            if not ranged:
                raise
            raise RangesRefused("the upstream refuses the range") from problem
        # Where ranges were honoured before, a failure of the server's is one; any other refusal may be of this range.
        asked = Question.RANGE if ranged and (response.status < 500 or not self._ranges) else Question.BLOB
        try:
            await judge(response, asked, self._asking.clock.wall())
        except RateLimited as limited:
            if self._transport.is_own(str(response.url)):
                raise
            if self._ranges and "Retry-After" not in response.headers:
                raise Unavailable("the upstream wants fewer connections at a time (429)") from limited
            # It is the store's limit, for what is there: the registry may be asked as ever.
            raise Busy(limited.seconds, 429) from limited
        try:
            body = body_of(response, wanted, self._size)
        except BaseException:
            response.close()
            raise
        self._ranges = self._ranges or body.ranged
        limits = self._asking.limits
        trickle = Trickle(self._asking.clock, limits.trickle_window, limits.trickle_bytes)
        return RegistryStream(response, body, trickle, self._progressed, limits.idle)

    async def _answer(self, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        if not headers and not self._ranges:
            # Where a range was led to may be a place for ranges only: that they are refused there, or a page.
            return await self._new_link(headers)
        refused: str | None = None
        while self._redirects:
            direct = self._direct
            if direct is not None and direct != refused:
                arrived = await self._transport.send("GET", direct, headers, None)
                if arrived.response.status not in REFUSED_LINK:
                    return arrived.response
                await drain(arrived.response)
                refused = direct
            async with self._refreshing:
                if self._direct == refused and self._redirects:
                    self._count_refresh(refused)
                    return await self._new_link(headers)
        return (await self._ask_registry(headers)).response

    async def _new_link(self, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """Ask the registry. One that sends the blob itself wants its token each time, so its own URL is no link."""
        arrived = await self._ask_registry(headers)
        if arrived.moved:
            self._direct = arrived.url
        elif arrived.response.status in {200, 206}:
            self._redirects = False
        return arrived.response

    def _count_refresh(self, refused: str | None) -> None:
        if refused is None:
            return
        self._refreshes += 1
        if self._refreshes > MAX_REFRESHES:
            raise Unavailable("the upstream's links expire faster than they can be used")

    def _progressed(self) -> None:
        """Bytes came through the present link: an expiry later on is a new one."""
        self._refreshes = 0


DECODED_PIECE = 1024 * 1024
END_WITHIN = 1.0
"""Seconds for the mark that ends a chunked body, when all that it promised has come."""


@dataclass(frozen=True, slots=True)
class BlobRange:
    """Bytes `start` to `stop` of a blob (None: to its end); `plain`: all of it, asked without a Range."""

    start: int
    stop: int | None
    plain: bool

    def headers(self) -> dict[str, str]:
        """The Range header. Closed wherever the end is known: some registries answer 416 to an open range."""
        if self.plain or (self.start == 0 and self.stop is None):
            return {}
        return {"Range": f"bytes={self.start}-{'' if self.stop is None else self.stop - 1}"}


@dataclass(frozen=True, slots=True)
class Body:
    """What the head of an answer says of its body: `length` bytes from `start` of `total`, None where it is not told.

    `decoder` undoes a Content-Encoding that was not asked for; the numbers are of the decoded bytes.
    """

    start: int
    length: int | None
    total: int | None
    ranged: bool = False
    decoder: zlib._Decompress | None = None


def body_of(response: aiohttp.ClientResponse, wanted: BlobRange, size: int | None) -> Body:
    """Read the head of a 200 or 206 to what was `wanted` of a blob; `size` as its descriptor says, if one is known.

    Raises RangesRefused (a part that does not fit), Misbehaved (another length, a web page, an unknown encoding).
    """
    length = response.content_length
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    encoded = encoding not in {"", "identity"}
    if response.status == 206:
        if encoded:
            raise RangesRefused("the upstream encodes ranges")
        return _part(response, wanted, size)
    # What is not the blob may be a page that only those are sent who ask for a range.
    wrong = RangesRefused if wanted.headers() else Misbehaved
    # A body that claims to be encoded though its length is the blob's is not; of an unknown size there is no telling.
    if encoded and size is not None and length != size:
        return Body(0, size, size, decoder=_decoder(encoding))
    if size is not None and length is not None and length != size:
        raise wrong("the upstream's blob has another length than its descriptor says")
    if (size is None or length is None) and is_page(response):
        raise wrong("the upstream answered a blob with a web page")
    total = size if length is None else length
    return Body(0, total, total)


def _decoder(encoding: str) -> zlib._Decompress:
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise Misbehaved("the upstream encodes the blob in a way that was not asked for")
    return zlib.decompressobj(zlib.MAX_WBITS | 32)


def _part(response: aiohttp.ClientResponse, wanted: BlobRange, size: int | None) -> Body:
    told = parse_content_range(response.headers.get("Content-Range"))
    asked = bool(wanted.headers())
    if told is None or told.start != wanted.start:
        raise RangesRefused("the upstream answers another range than it was asked for")
    total = told.total if told.total is not None else size
    if size is not None and total != size:
        raise RangesRefused("the upstream's range is of a blob of another length")
    # Without a range, some caches call the whole a part.
    stop = wanted.stop if asked else None
    end = stop if total is None or stop is None else min(stop, total)
    if told.stop != (total if end is None else end):
        raise RangesRefused("the upstream answers another range than it was asked for")
    if response.content_length not in {None, told.stop - told.start}:
        raise RangesRefused("the upstream's range has another length than it says")
    return Body(told.start, told.stop - told.start, total, ranged=asked)


class Trickle:
    """Tells a connection that brings next to nothing from one that is merely slow."""

    def __init__(self, clock: Clock, window: float, least: int) -> None:
        self._clock = clock
        self._window = window
        self._least = least
        self._since = clock.monotonic()
        self._count = 0

    def saw(self, count: int) -> bool:
        """Account for bytes; False when a whole window brought too few."""
        self._count += count
        now = self._clock.monotonic()
        if self._count >= self._least:
            self._since, self._count = now, 0
            return True
        return now - self._since < self._window


class RegistryStream:
    """The body of one answer; see `BlobStream`.

    `progressed` is called after each piece; `idle` are the seconds that one may take.
    """

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        body: Body,
        trickle: Trickle,
        progressed: Callable[[], None],
        idle: float = IDLE,
    ) -> None:
        self.start = body.start
        self.total = body.total
        self.ranged = body.ranged
        self._response = response
        self._left = body.length
        self._decoder = body.decoder
        self._trickle = trickle
        self._progressed = progressed
        self._idle = idle

    async def read(self) -> bytes:
        """The next bytes, b"" at the end."""
        try:
            data = await self._next()
        except zlib.error as problem:
            raise Misbehaved("the upstream's blob is not encoded as it says") from problem
        if not data:
            if self._left:
                raise Unavailable("the upstream's body is cut short")
            return b""
        if not self._trickle.saw(len(data)):
            raise Unavailable("the upstream sends next to nothing")
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise Misbehaved("the upstream's body is longer than it should be")
        self._progressed()
        return data

    async def _next(self) -> bytes:
        if self._left != 0:
            return await self._decoded(await piece(self._response, self._idle))
        try:
            return await self._decoded(await piece(self._response, min(self._idle, END_WITHIN)))
        except Unavailable:
            # All bytes are there. An end that is malformed or does not come takes none of them away.
            return b""

    async def _decoded(self, data: bytes) -> bytes:
        decoder = self._decoder
        if decoder is None:
            return data
        while data or decoder.unconsumed_tail:
            if decoder.eof:
                raise Misbehaved("the upstream's body is longer than it should be")
            plain = decoder.decompress(decoder.unconsumed_tail + data, DECODED_PIECE)
            if plain:
                return plain
            data = await piece(self._response, self._idle)
        return decoder.flush()

    def close(self) -> None:
        """Give the connection back, or drop it if bytes are left."""
        give_back(self._response)
