"""The bytes of a blob in one upstream answer: what its head promises, and whether the body keeps it.

A promise is checked before the first byte is handed on: where the bytes begin, how many they are, of how many. What
the body does then (stops, drips, goes on too long) is an error of ours, never a short or long read.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from obol.oci.ranges import parse_content_range
from obol.registry.upstream.pieces import IDLE, piece
from obol.registry.upstream.ports import Misbehaved, RangesRefused, Unavailable
from obol.registry.upstream.reading import is_page
from obol.registry.upstream.transport import give_back

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

    from obol.machine.clock import Clock

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
