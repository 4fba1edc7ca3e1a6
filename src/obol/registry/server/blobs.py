"""Blobs over HTTP: heads, ranges, and bodies that may still be on their way."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from obol.oci.errors import BLOB_UNKNOWN, RANGE_INVALID, UNAVAILABLE, OciError
from obol.oci.mediatypes import OCTET_STREAM
from obol.oci.ranges import OpenRange, Part, Unsatisfiable, Whole, not_modified, parse_open_range, range_applies
from obol.registry.control.api import CACHE_HEADER, HELD_HEADER, Problem, Source
from obol.registry.engine.answers import StoredBlob
from obol.registry.engine.refusals import refusal
from obol.registry.server.exchange import Header, Rendered, content_headers
from obol.registry.server.ready import LARGEST, ReadyAnswer
from obol.registry.store.ports import StoreError
from obol.registry.transfers.transfer import TransferFailed

if TYPE_CHECKING:
    from obol.oci.references import Digest
    from obol.oci.requests import BlobRequest
    from obol.registry.engine.blobs import Blobs
    from obol.registry.server.exchange import Exchange
    from obol.registry.server.ready import ReadyAnswers
    from obol.registry.transfers.follower import Follower

SMALL = LARGEST - 4096
"""Blobs up to this size (configurations, mostly) are answered from memory the second time; a head is still to fit."""

ACCEPT_RANGES: Header = ("Accept-Ranges", "bytes")


async def answer_blob(exchange: Exchange, blobs: Blobs, ready: ReadyAnswers, asked: BlobRequest) -> None:
    """Answer HEAD or GET of a blob. Raises OciError, ConnectionResetError."""
    headers = exchange.request.headers
    if exchange.request.method == "HEAD":
        found = await blobs.head(exchange.scope, asked.repository, asked.digest)
        exchange.serves(found.source)
        await exchange.reply(Rendered(200, (*_headers(asked.digest, found.size), *exchange.namespace)))
        return
    wanted = None
    if "Range" in headers and range_applies(headers.get("If-Range"), asked.digest):
        wanted = parse_open_range(headers["Range"])
    part = wanted is not None and wanted.start != 0
    answer = await blobs.get(exchange.scope, asked.repository, asked.digest, part=part)
    if isinstance(answer, StoredBlob):
        try:
            await _send(exchange, ready, answer, wanted)
        finally:
            answer.content.close()
    else:
        with answer:
            await _follow(exchange, answer, wanted)


async def _send(exchange: Exchange, ready: ReadyAnswers, blob: StoredBlob, wanted: OpenRange | None) -> None:
    """Answer with a blob that is stored."""
    size = blob.content.size
    known = exchange.request.headers.get("If-None-Match")
    if known is not None and not_modified(known, blob.digest):
        exchange.serves(Source.HIT)
        kept = [header for header in _headers(blob.digest, size) if header[0] != "Content-Length"]
        await exchange.reply(Rendered(304, (*kept, *exchange.namespace)))
        return
    marks = (*exchange.namespace, (CACHE_HEADER, "hit"))
    if exchange.keys is not None and size <= SMALL:
        try:
            body = await blob.content.read()
        except StoreError as problem:
            raise OciError(UNAVAILABLE, str(problem), problem=Problem.DISK) from problem
        rendered = _rendered(blob.digest, Whole(), size, marks)
        answer = ReadyAnswer(rendered, body, math.inf, exchange.scope.counters, blob.repo, blob.digest)
        ready.keep(exchange.keys, answer, exchange.since)
        exchange.serves(Source.HIT, blob.digest)
        await exchange.reply(rendered, body)
        return
    part = Whole() if wanted is None else wanted.within(size)
    if isinstance(part, Unsatisfiable):
        await exchange.refuse(OciError(RANGE_INVALID), _outside(size))
        return
    start, stop = (part.start, part.stop) if isinstance(part, Part) else (0, size)
    exchange.serves(Source.HIT, blob.digest, start)
    await exchange.send(_rendered(blob.digest, part, size, marks), blob.content.run(start, stop))


async def _follow(exchange: Exchange, blob: Follower, wanted: OpenRange | None) -> None:
    """Answer with a blob that is on its way."""
    if blob.size is None:
        await _opened(blob, 0)
    size = blob.size
    part = Whole() if wanted is None or size is None else wanted.within(size)
    if isinstance(part, Unsatisfiable):
        await exchange.refuse(OciError(RANGE_INVALID), _outside(size or 0))
        return
    start, stop = (part.start, part.stop) if isinstance(part, Part) else (0, size)
    await _opened(blob, start)
    source = Source.FILLING if blob.joined else Source.MISS
    marks = (*exchange.namespace, (CACHE_HEADER, source.value), (HELD_HEADER, str(blob.held)))
    chunked = size is None and exchange.request.version >= (1, 1)
    if size is None and not chunked:
        exchange.keep_alive = False
    exchange.serves(source, blob.digest, start)
    rendered = _rendered(blob.digest, part, size, marks, chunked=chunked)
    await exchange.send(rendered, blob.runs(start, stop), chunked=chunked)


async def _opened(blob: Follower, start: int) -> None:
    """Wait until byte `start` can be sent. Raises OciError when that will not be."""
    try:
        await blob.opened(start)
    except TransferFailed as failed:
        raise refusal(failed, BLOB_UNKNOWN) from failed.cause


def _outside(size: int) -> Header:
    return "Content-Range", f"bytes */{size}"


def _headers(digest: Digest, size: int) -> list[Header]:
    return [*content_headers(digest, OCTET_STREAM, size, immutable=True), ACCEPT_RANGES]


def _rendered(
    digest: Digest, part: Whole | Part, size: int | None, marks: tuple[Header, ...], *, chunked: bool = False
) -> Rendered:
    if isinstance(part, Part):
        headers = _headers(digest, part.stop - part.start)
        return Rendered(206, (*headers, ("Content-Range", f"bytes {part.start}-{part.stop - 1}/{size}"), *marks))
    headers = _headers(digest, size or 0)
    if size is None:
        headers = [header for header in headers if header[0] != "Content-Length"]
        if chunked:
            headers.append(("Transfer-Encoding", "chunked"))
    return Rendered(200, (*headers, *marks))
