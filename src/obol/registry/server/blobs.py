"""Blobs over HTTP: heads, ranges, and bodies that may still be on their way."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from aiohttp import web

from obol.oci.conditions import not_modified, range_applies
from obol.oci.errors import RANGE_INVALID, UNAVAILABLE, OciError
from obol.oci.mediatypes import OCTET_STREAM
from obol.oci.ranges import OpenRange, Part, Unsatisfiable, Whole, parse_open_range
from obol.registry.engine.answers import CutShort, StoredBlob
from obol.registry.server.metering import meter_of
from obol.registry.server.ready import LARGEST, Hot, Keys, Ready
from obol.registry.server.replies import Header, Rendered, Reply, Sent, content_headers, refusal_headers
from obol.registry.server.sending import Sender
from obol.registry.store.ports import StoreError

if TYPE_CHECKING:
    from obol.oci.references import Digest
    from obol.oci.requests import BlobRequest
    from obol.registry.engine.accounts import Meter
    from obol.registry.engine.engine import Engine
    from obol.registry.engine.scopes import Scope
    from obol.registry.server.budget import Budget
    from obol.registry.store.ports import Run
    from obol.registry.transfers.follower import Follower

SMALL = LARGEST - 4096
"""Blobs up to this size (configurations, mostly) are answered from memory the second time; a head is still to fit."""

ACCEPT_RANGES: Header = ("Accept-Ranges", "bytes")

RenderHead = Callable[[web.BaseRequest, Rendered], bytes]


class BlobAnswers:
    """Answers for blobs of one listener."""

    def __init__(self, engine: Engine, hot: Ready, head: RenderHead, budget: Budget) -> None:
        self._engine = engine
        self._hot = hot
        self._head = head
        self._budget = budget
        self._stall = engine.settings.limits.send_stall

    async def answer(
        self,
        request: web.BaseRequest,
        keys: Keys | None,
        scope: Scope,
        resource: BlobRequest,
        namespace: tuple[Header, ...],
    ) -> Reply | Sent:
        """Answer HEAD or GET of a blob. Raises OciError."""
        if request.method == "HEAD":
            size = await self._engine.blob_size(scope, resource)
            headers = (*_headers(resource.digest, size), *namespace)
            return self._bare(request, Rendered(200, headers))
        wanted = None
        if range_applies(request.headers.get("If-Range"), resource.digest):
            wanted = parse_open_range(request.headers.get("Range"))
        part = wanted is not None and wanted.start != 0
        answer = await self._engine.blob(scope, resource, part=part)
        if isinstance(answer, StoredBlob):
            return await self._stored(request, keys, scope, answer, wanted, namespace)
        with answer:
            return await self._growing(request, scope, answer, wanted, namespace)

    async def _stored(
        self,
        request: web.BaseRequest,
        keys: Keys | None,
        scope: Scope,
        blob: StoredBlob,
        wanted: OpenRange | None,
        namespace: tuple[Header, ...],
    ) -> Reply | Sent:
        content = blob.content
        try:
            if not_modified(request.headers.get("If-None-Match"), blob.digest):
                kept = [header for header in _headers(blob.digest, content.size) if header[0] != "Content-Length"]
                return self._bare(request, Rendered(304, (*kept, *namespace)))
            marks = (*namespace, ("Obol-Cache", "hit"))
            if keys is not None and content.size <= SMALL:
                return await self._small(request, keys, scope, blob, marks)
            part = _part(wanted, content.size)
            if isinstance(part, Unsatisfiable):
                return self._outside(request, content.size)
            start, stop = _bounds(part, content.size)
            head = self._head(request, _rendered(blob.digest, part, content.size, marks))
            return await self._send(request, scope, blob, head, content.run(start, stop), start)
        finally:
            content.close()

    async def _send(
        self, request: web.BaseRequest, scope: Scope, blob: StoredBlob, head: bytes, run: Run, start: int
    ) -> Sent:
        meter = self._meter(request, scope, blob.digest)
        reply, count = await send_file(request, head, run, self._stall)
        blob.counters.bytes_from_cache += count
        if meter:
            meter.sent(start, count)
        return reply

    async def _small(
        self, request: web.BaseRequest, keys: Keys, scope: Scope, blob: StoredBlob, marks: tuple[Header, ...]
    ) -> Reply:
        try:
            body = await blob.content.read()
        except StoreError as problem:
            raise OciError(UNAVAILABLE, str(problem), problem="disk") from problem
        rendered = Rendered(200, (*_headers(blob.digest, len(body)), *marks))
        blob.counters.bytes_from_cache += len(body)
        if meter := self._meter(request, scope, blob.digest):
            meter.sent(0, len(body))
        self._hot.keep(keys, Hot(rendered, body, math.inf, blob.counters, None, blob.digest))
        return self._whole(request, rendered, body)

    async def _growing(
        self,
        request: web.BaseRequest,
        scope: Scope,
        blob: Follower,
        wanted: OpenRange | None,
        namespace: tuple[Header, ...],
    ) -> Reply | Sent:
        if blob.size is None:
            await blob.opened(0)
        size = blob.size
        part: Whole | Part | Unsatisfiable = Whole() if size is None else _part(wanted, size)
        if isinstance(part, Unsatisfiable):
            return self._outside(request, size or 0)
        start, stop = (0, None) if size is None else _bounds(part, size)
        await blob.opened(start)
        sender = Sender(request, self._stall)
        marks = (*namespace, ("Obol-Cache", "filling" if blob.joined else "miss"), ("Obol-Held", str(blob.held)))
        chunked = size is None and request.version >= (1, 1)
        meter = self._meter(request, scope, blob.digest)
        sender.head(self._head(request, _rendered(blob.digest, part, size, marks, chunked=chunked)))
        try:
            await sender.all(blob.runs(start, stop), chunked=chunked)
        except (CutShort, OSError):
            return _cut(request)
        finally:
            if blob.joined:
                scope.counters.bytes_from_cache += sender.count
            if meter:
                meter.sent(start, sender.count)
        return Sent(keep_alive=bool(request.keep_alive) and (chunked or size is not None))

    def _meter(self, request: web.BaseRequest, scope: Scope, digest: Digest) -> Meter | None:
        return meter_of(self._engine.accounts, request.transport, scope.registry, digest)

    def _outside(self, request: web.BaseRequest, size: int) -> Reply:
        refusal = OciError(RANGE_INVALID)
        body = refusal.body()
        headers = (*refusal_headers(refusal, len(body)), ("Content-Range", f"bytes */{size}"))
        return self._whole(request, Rendered(416, headers), body)

    def _bare(self, request: web.BaseRequest, rendered: Rendered) -> Reply:
        return self._whole(request, rendered, b"")

    def _whole(self, request: web.BaseRequest, rendered: Rendered, body: bytes) -> Reply:
        return Reply(self._head(request, rendered), body, self._budget, keep_alive=bool(request.keep_alive))


async def send_file(request: web.BaseRequest, head: bytes, run: Run, stall: float) -> tuple[Sent, int]:
    """Write a head and a part of a complete file; also how many bytes of it have left. Raises ConnectionError."""
    sender = Sender(request, stall)
    sender.head(head)
    try:
        await sender.file(run)
    except (CutShort, OSError):
        return _cut(request), sender.count
    return Sent(keep_alive=bool(request.keep_alive)), sender.count


def _headers(digest: Digest, size: int) -> list[Header]:
    return [*content_headers(digest, OCTET_STREAM, size, immutable=True), ACCEPT_RANGES]


def _part(wanted: OpenRange | None, size: int) -> Whole | Part | Unsatisfiable:
    return Whole() if wanted is None else wanted.within(size)


def _bounds(part: Whole | Part, size: int) -> tuple[int, int]:
    return (part.start, part.stop) if isinstance(part, Part) else (0, size)


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


def _cut(request: web.BaseRequest) -> Sent:
    """Close with FIN, so that the client sees that bytes are missing."""
    if request.transport is not None:
        request.transport.abort()
    return Sent(keep_alive=False)
