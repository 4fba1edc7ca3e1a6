"""One blob at its upstream: streams of its bytes, opened where they are wanted.

A registry usually answers a blob with a redirect to a presigned URL. It is asked once, and the other segments go to
where it pointed; when that URL is refused (it expired) the registry is asked again, once for all segments.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

from obol.oci.ranges import parse_content_range
from obol.registry.upstream.base import Misbehaved, RangesRefused, Unavailable
from obol.registry.upstream.reading import drain, judge
from obol.registry.upstream.transport import Arrived, Transport, give_back, translate

if TYPE_CHECKING:
    from obol.machine.clock import Clock
    from obol.registry.settings import TimeLimits

REFUSED_LINK = frozenset({400, 401, 403, 404, 410})
"""What object stores answer to a presigned URL that expired."""
MAX_REFRESHES = 4

AskRegistry = Callable[[Mapping[str, str]], Awaitable[Arrived]]


@dataclass(frozen=True, slots=True)
class Wanted:
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


class RegistryBlob:
    """A blob of one repository; `size` as its descriptor says, if one is known."""

    def __init__(
        self, ask_registry: AskRegistry, transport: Transport, clock: Clock, limits: TimeLimits, size: int | None
    ) -> None:
        self._ask_registry = ask_registry
        self._transport = transport
        self._clock = clock
        self._limits = limits
        self._size = size
        self._direct: str | None = None
        self._redirects = True
        self._refreshes = 0
        self._refreshing = asyncio.Lock()

    async def open(self, start: int, stop: int | None, *, plain: bool = False) -> RegistryStream:
        """See `BlobSource.open`."""
        wanted = Wanted(start, stop, plain)
        response = await self._answer(wanted.headers())
        await self._judge_range(response, wanted)
        try:
            return self._stream(response, wanted)
        except BaseException:
            response.close()
            raise

    async def _answer(self, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
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

    def progressed(self) -> None:
        """Bytes came through the present link: an expiry later on is a new one."""
        self._refreshes = 0

    async def _judge_range(self, response: aiohttp.ClientResponse, wanted: Wanted) -> None:
        if response.status == 416 and wanted.headers():
            await drain(response)
            raise RangesRefused("the upstream refuses the range")
        await judge(response, self._clock.wall())

    def _stream(self, response: aiohttp.ClientResponse, wanted: Wanted) -> RegistryStream:
        length = response.content_length
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        decoder = None
        if encoding not in {"", "identity"}:
            decoder = self._decoder(encoding, length, ranged=response.status == 206)
        if response.status == 206:
            return RegistryStream(self, response, self._range(response, wanted))
        if decoder is not None:
            return RegistryStream(self, response, Body(0, self._size, self._size, decoder=decoder))
        if self._size is not None and length is not None and length != self._size:
            raise Misbehaved("the upstream's blob has another length than its descriptor says")
        if (self._size is None or length is None) and is_page(response):
            raise Misbehaved("the upstream answered a blob with a web page")
        total = self._size if length is None else length
        return RegistryStream(self, response, Body(0, total, total))

    def _decoder(self, encoding: str, length: int | None, *, ranged: bool) -> zlib._Decompress | None:
        """A body that claims to be encoded though its length is the blob's is not; a range of one is of no use."""
        if ranged:
            raise RangesRefused("the upstream encodes ranges")
        if self._size is None or length == self._size:
            return None
        if encoding not in {"gzip", "x-gzip", "deflate"}:
            raise Misbehaved("the upstream encodes the blob in a way that was not asked for")
        return zlib.decompressobj(zlib.MAX_WBITS | 32)

    def _range(self, response: aiohttp.ClientResponse, wanted: Wanted) -> Body:
        told = parse_content_range(response.headers.get("Content-Range"))
        if told is None or told.start != wanted.start or not wanted.headers():
            raise RangesRefused("the upstream answers another range than it was asked for")
        total = told.total if told.total is not None else self._size
        if self._size is not None and total != self._size:
            raise RangesRefused("the upstream's range is of a blob of another length")
        end = wanted.stop if total is None or wanted.stop is None else min(wanted.stop, total)
        if told.stop != (total if end is None else end):
            raise RangesRefused("the upstream answers another range than it was asked for")
        if response.content_length not in {None, told.stop - told.start}:
            raise RangesRefused("the upstream's range has another length than it says")
        return Body(told.start, told.stop - told.start, total, ranged=True)

    def watch(self) -> Trickle:
        """A watch over one stream of this blob."""
        return Trickle(self._clock, self._limits.trickle_window, self._limits.trickle_bytes)


def is_page(response: aiohttp.ClientResponse) -> bool:
    """Whether this is a page for people: a captive portal, a proxy's error, a web gallery."""
    return response.headers.get("Content-Type", "").lower().startswith("text/html")


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
    """The body of one answer; see `BlobStream`."""

    def __init__(self, blob: RegistryBlob, response: aiohttp.ClientResponse, body: Body) -> None:
        self.start = body.start
        self.total = body.total
        self.ranged = body.ranged
        self._blob = blob
        self._response = response
        self._left = body.length
        self._decoder = body.decoder
        self._trickle = blob.watch()

    async def read(self) -> bytes:
        """The next bytes, b"" at the end."""
        try:
            data = await self._response.content.readany()
            if self._decoder is not None:
                data = await self._decode(data)
        except zlib.error as problem:
            raise Misbehaved("the upstream's blob is not encoded as it says") from problem
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            raise translate(problem) from problem
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
        self._blob.progressed()
        return data

    async def _decode(self, data: bytes) -> bytes:
        decoder = self._decoder
        assert decoder is not None
        while data or decoder.unconsumed_tail:
            if decoder.eof:
                raise Misbehaved("the upstream's body is longer than it should be")
            plain = decoder.decompress(decoder.unconsumed_tail + data, 1024 * 1024)
            if plain:
                return plain
            data = await self._response.content.readany()
        return decoder.flush()

    def close(self) -> None:
        """Give the connection back, or drop it if bytes are left."""
        give_back(self._response)
