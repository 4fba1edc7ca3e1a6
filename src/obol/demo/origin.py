"""A small honest registry behind a slow link, as a process of its own.

It answers what a registry must answer to clients that pull: the ping, manifests by tag and digest, and blobs, whole or
one range of them, each by HEAD and GET. It runs beside the pulling process, not in it: one loop and one interpreter
lock for both ends would measure each other.

The process reads on standard input what to do, and answers on standard output, both in lines of JSON. It ends when its
standard input does, so it cannot outlive the process that started it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self
from weakref import WeakKeyDictionary

import msgspec
from aiohttp import web

from obol.demo.images import STACK, Collection, make, scaled
from obol.machine.clock import Clock, SystemClock
from obol.oci.errors import BLOB_UNKNOWN, MANIFEST_UNKNOWN, NOT_FOUND, RANGE_INVALID, OciError
from obol.oci.mediatypes import OCTET_STREAM
from obol.oci.ranges import Part, Unsatisfiable, etag, parse_range, range_applies
from obol.oci.requests import BlobRequest, ManifestRequest, Ping, parse

if TYPE_CHECKING:
    from obol.oci.references import Digest

HOST = "127.0.0.1"
_JSON = "application/json"
_LAST_WORDS = 0.1
"""Seconds that connections get at the end. With 0, aiohttp would wait for as long as clients keep them open."""
PIECE = 64 << 10
FIRST_PIECE = 2 << 10
"""A body starts with a small piece: a slot ends before its bytes leave, and the first byte must not wait for 64 KiB."""
_LATENESS = 0.010
"""Seconds of unused time that may be made good; what goes beyond was idleness, and a link does not save it up."""
_NOT_WORTH_SLEEPING = 0.0002


class Order(msgspec.Struct, frozen=True):
    """What an origin is to be: the images' size in bytes, and a link in bits per second and seconds."""

    folder: str
    size: int
    total_bps: float
    per_connection_bps: float
    latency: float


class ImagesMade(msgspec.Struct, frozen=True, tag="made"):
    """So many bytes of images have been made."""

    size: int


class OriginReady(msgspec.Struct, frozen=True, tag="ready"):
    """It serves."""

    port: int


class BytesSent(msgspec.Struct, frozen=True, tag="sent"):
    """So many bytes of bodies have been sent so far."""

    size: int


OriginEvent = ImagesMade | OriginReady | BytesSent


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer to GET; HEAD gets its headers. The body is `start` to `stop` of `content`, which is bytes or a file."""

    status: int
    headers: dict[str, str]
    content: bytes | Path
    start: int
    stop: int

    @contextmanager
    def opened(self) -> Iterator[Callable[[int, int], bytes]]:
        """Give a way to read a part of the content, for the block."""
        content = self.content
        if isinstance(content, bytes):
            yield lambda start, stop: content[start:stop]
            return
        # The files were written a moment ago and are read from memory: a thread for each piece would cost more.
        descriptor = os.open(content, os.O_RDONLY)
        try:
            yield lambda start, stop: os.pread(descriptor, stop - start, start)
        finally:
            os.close(descriptor)


def _text(status: int, headers: dict[str, str], body: bytes) -> _Answer:
    return _Answer(status, headers, body, 0, len(body))


class OriginServer:
    """A registry of one collection on a port of its own; `async with` starts and stops it."""

    def __init__(self, collection: Collection, link: SlowLink) -> None:
        self.sent = 0
        self.port = 0
        self._collection = collection
        self._link = link
        self._connections: WeakKeyDictionary[asyncio.BaseTransport, LinkConnection] = WeakKeyDictionary()
        self._web = web.Server(self._handle, access_log=None)
        self._listening: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.get_running_loop().create_server(self._web, HOST, 0)
        self.port = self._listening.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self._listening:
            self._listening.close()
        await self._web.shutdown(_LAST_WORDS)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = await self._connection(request)
        try:
            answer = self._answer(request)
        except OciError as refusal:
            answer = _text(refusal.kind.status, {"Content-Type": _JSON}, refusal.body())
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        response.content_length = answer.stop - answer.start
        await connection.round_trip()
        # Who was interrupted is gone without a word, and aiohttp would print a traceback for each connection.
        with suppress(ConnectionError):
            await response.prepare(request)
            if request.method != "HEAD":
                async with connection:
                    await self._send(answer, response, connection)
        return response

    async def _send(self, answer: _Answer, response: web.StreamResponse, connection: LinkConnection) -> None:
        with answer.opened() as read:
            for start, stop in pieces(answer.start, answer.stop):
                await connection.carry(stop - start)
                await response.write(read(start, stop))
                self.sent += stop - start

    async def _connection(self, request: web.BaseRequest) -> LinkConnection:
        """Find the share of a connection; a new one spends a round trip first, for its handshake."""
        if request.transport is None:
            raise ConnectionResetError
        connection = self._connections.get(request.transport)
        if connection is None:
            connection = self._connections[request.transport] = self._link.connection()
            await connection.round_trip()
        return connection

    def _answer(self, request: web.BaseRequest) -> _Answer:
        match parse(request.method, request.raw_path).resource:
            case Ping():
                return _text(200, {"Content-Type": _JSON}, b"{}")
            case ManifestRequest(repository, reference):
                document = self._collection.documents.get((repository, reference))
                if document is None:
                    raise OciError(MANIFEST_UNKNOWN)
                return _text(200, _headers(document.media_type, document.digest), document.body)
            case BlobRequest() as wanted:
                return self._blob(request, wanted)
            case _:
                raise OciError(NOT_FOUND)

    def _blob(self, request: web.BaseRequest, wanted: BlobRequest) -> _Answer:
        size = self._collection.blobs.get((wanted.repository, wanted.digest))
        if size is None:
            raise OciError(BLOB_UNKNOWN)
        path = self._collection.path(wanted.digest)
        headers = _headers(OCTET_STREAM, wanted.digest) | {"Accept-Ranges": "bytes"}
        applies = range_applies(request.headers.get("If-Range"), wanted.digest)
        match parse_range(request.headers.get("Range") if applies else None, size):
            case Unsatisfiable():
                raise OciError(RANGE_INVALID)
            case Part(start, stop):
                headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
                return _Answer(206, headers, path, start, stop)
            case _:
                return _Answer(200, headers, path, 0, size)


def _headers(media_type: str, digest: Digest) -> dict[str, str]:
    return {"Content-Type": media_type, "Docker-Content-Digest": digest, "ETag": etag(digest)}


def tell(out: BinaryIO, what: OriginEvent) -> None:
    """Say one thing, as a line."""
    out.write(msgspec.json.encode(what) + b"\n")
    out.flush()


async def serve(collection: Collection, link: SlowLink, questions: BinaryIO, out: BinaryIO) -> None:
    """Serve until `questions` ends; to each of its lines, say how many bytes were sent."""
    async with OriginServer(collection, link) as origin:
        tell(out, OriginReady(origin.port))
        while await asyncio.to_thread(questions.readline):
            tell(out, BytesSent(origin.sent))


def main() -> None:
    """Be the process: read the order, make the images, serve them."""
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    out = sys.stdout.buffer
    made = 0

    def count(size: int) -> None:
        nonlocal made
        made += size
        tell(out, ImagesMade(made))

    collection = make(scaled(STACK, order.size), Path(order.folder), count)
    link = SlowLink(order.total_bps, order.per_connection_bps, order.latency)
    asyncio.run(serve(collection, link, sys.stdin.buffer, out))


class SlowLink:
    """A link that all connections share: limits in bits per second (None: none) and a latency in seconds.

    Each piece of a body takes a slot on the connection's own timeline and one on the link's, and is sent when both have
    passed. Slots follow each other at absolute moments, so a late wake-up is made good by the next pieces and sleep
    jitter does not add up. A connection takes one slot at a time, so those that want to send take turns.

    The latency is spent once by a new connection and before the first byte of each response, as a round trip is.
    All three may be changed at any time.
    """

    def __init__(
        self,
        total_bps: float | None = None,
        per_connection_bps: float | None = None,
        latency: float = 0.0,
        clock: Clock | None = None,
    ) -> None:
        self.total_bps = total_bps
        self.per_connection_bps = per_connection_bps
        self.latency = latency
        self.clock = clock or SystemClock()
        self._busy = 0
        self._timeline = _Timeline(self.clock)

    def connection(self) -> LinkConnection:
        """What one connection uses."""
        return LinkConnection(self)

    def enter(self) -> None:
        """One more body wants to be carried; the first after a pause cannot use the time before it."""
        if not self._busy:
            self._timeline.restart()
        self._busy += 1

    def leave(self) -> None:
        """A body was carried, or given up."""
        self._busy -= 1

    def take(self, size: int) -> float:
        """Take a slot for `size` bytes; gives the moment at which the link as a whole has carried them."""
        return self._timeline.take(size, self.total_bps)


class LinkConnection:
    """One connection's share of a link; `async with connection` around each body."""

    def __init__(self, link: SlowLink) -> None:
        self._link = link
        self._timeline = _Timeline(link.clock)

    async def round_trip(self) -> None:
        """Spend the latency."""
        if self._link.latency > 0:
            await self._link.clock.sleep(self._link.latency)

    async def carry(self, size: int) -> None:
        """Return when `size` bytes may leave."""
        # Both slots are taken at once: waiting for one after the other would add up where a piece takes long.
        until = max(self._timeline.take(size, self._link.per_connection_bps), self._link.take(size))
        ahead = until - self._link.clock.monotonic()
        if ahead > _NOT_WORTH_SLEEPING:
            await self._link.clock.sleep(ahead)

    async def __aenter__(self) -> None:
        self._link.enter()
        self._timeline.restart()

    async def __aexit__(self, *exc_info: object) -> None:
        self._link.leave()


class _Timeline:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._taken_until = 0.0

    def restart(self) -> None:
        self._taken_until = self._clock.monotonic()

    def take(self, size: int, rate: float | None) -> float:
        """Give the moment at which `size` bytes have passed at `rate` bits per second (None: at once)."""
        now = self._clock.monotonic()
        if not rate:
            return now
        self._taken_until = max(self._taken_until, now - _LATENESS) + size * 8 / rate
        return self._taken_until


def pieces(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Cut the bytes from `start` up to `stop` into what a connection carries at a time: a small piece, then larger."""
    size = FIRST_PIECE
    while start < stop:
        end = min(start + size, stop)
        yield start, end
        start, size = end, PIECE


if __name__ == "__main__":
    main()
