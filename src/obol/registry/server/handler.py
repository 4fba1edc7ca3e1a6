"""One HTTP request to one answer.

The raw target is parsed once; what comes out of that is a value, and the engine is asked with it. Answers that may be
given again are kept, and found before the engine is asked.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, assert_never

from obol.oci.conditions import not_modified
from obol.oci.errors import UNAVAILABLE, OciError
from obol.oci.references import Digest
from obol.oci.requests import BlobRequest, ManifestRequest, Ping, ReferrersRequest, Request, TagsRequest, parse
from obol.registry.engine.answers import Document, DocumentHead, Source
from obol.registry.server.blobs import BlobAnswers, send_file
from obol.registry.server.connection import keys_of
from obol.registry.server.metering import meter_of
from obol.registry.server.ready import Hot, Keys, Ready
from obol.registry.server.replies import (
    PIECE,
    DateLine,
    Header,
    Rendered,
    Reply,
    Sent,
    connection,
    content_headers,
    refusal_headers,
)
from obol.registry.server.sites import refuse_other_sites

if TYPE_CHECKING:
    import asyncio

    from aiohttp import web

    from obol.registry.engine.engine import Engine
    from obol.registry.engine.scopes import Scope
    from obol.registry.server.incoming import Shared

Page = Callable[[], Awaitable[tuple[int, str, bytes]]]
"""A page beside the registry: status, content type, body."""

JSON = "application/json"
STALE: Header = ("Warning", '110 - "Response is Stale"')


class Handler:
    """Answers the requests of one listener."""

    def __init__(self, engine: Engine, registry: str, pages: dict[str, Page], shared: Shared) -> None:
        self._engine = engine
        self._accounts = engine.accounts
        self._registry = registry
        self._hosts = shared.hosts
        self._pages = pages
        self._clock = shared.clock
        self._budget = shared.budget
        self._seldom = shared.seldom
        self._stall = engine.settings.limits.send_stall
        self._hot = Ready()
        engine.grants.ready.add(self._hot)
        self._date = DateLine()
        self._blobs = BlobAnswers(engine, self._hot, self._head, self._budget)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """What `web.Server` calls."""
        reply: Reply | Sent
        try:
            refuse_other_sites(request.headers)
            keys = keys_of(request)
            hot = None if keys is None else self._hot.find(keys, self._clock.monotonic())
            if hot is not None:
                return self._again(request, hot).response()
            reply = await self._answer(request, keys)
        except OciError as refusal:
            reply = self._refuse(request, refusal)
        except ConnectionError:
            # The client went away while it waited, which is nobody's fault and no news.
            reply = Sent(keep_alive=False)
        return reply.response()

    def repeat(self, key: bytes, room: int, transport: asyncio.BaseTransport) -> bytes | None:
        """The answer to a request that was answered a moment ago and is the same, byte for byte.

        None without one, or where it is longer than `room`.
        """
        hot = self._hot.repeated(key, self._clock.monotonic())
        if hot is None:
            return None
        answer = hot.rendered.head(self._date.at(self._clock.wall()), b"") + hot.body
        if len(answer) > room:
            return None
        self._count(hot, transport)
        return answer

    def _again(self, request: web.BaseRequest, hot: Hot) -> Reply:
        self._count(hot, request.transport)
        return self._render(request, hot.rendered, hot.body)

    def _count(self, hot: Hot, transport: asyncio.BaseTransport | None) -> None:
        hot.counters.hit += 1
        hot.counters.bytes_from_cache += len(hot.body)
        if self._accounts.running:
            self._meter(transport, hot.digest, len(hot.body))
        if hot.manifest is not None:
            self._engine.used(*hot.manifest)

    def _meter(self, transport: asyncio.BaseTransport | None, digest: Digest | None, count: int) -> None:
        if meter := meter_of(self._accounts, transport, self._registry, digest):
            meter.sent(0, count)

    async def _answer(self, request: web.BaseRequest, keys: Keys | None) -> Reply | Sent:
        target = self._hosts.own_target(request.raw_path, request.headers.get("Host"))
        page = self._pages.get(target)
        if page is not None and request.method in {"GET", "HEAD"}:
            return await self._page(request, page)
        asked = parse(request.method, target)
        scope = self._engine.scopes.find(asked.ns, self._registry)
        namespace: tuple[Header, ...] = () if asked.ns is None else (("OCI-Namespace", asked.ns),)
        match asked.resource:
            case Ping():
                return self._whole(request, 200, [("Content-Type", JSON)], b"{}")
            case ManifestRequest() as resource:
                return await self._manifest(request, keys, scope, resource, namespace)
            case BlobRequest() as resource:
                return await self._blobs.answer(request, keys, scope, resource, namespace)
            case TagsRequest() | ReferrersRequest() as resource:
                return await self._list(request, asked, scope, resource)
            case never:
                assert_never(never)

    async def _page(self, request: web.BaseRequest, page: Page) -> Reply:
        status, content_type, body = await page()
        return self._whole(request, status, [("Content-Type", content_type)], body)

    async def _manifest(
        self,
        request: web.BaseRequest,
        keys: Keys | None,
        scope: Scope,
        resource: ManifestRequest,
        namespace: tuple[Header, ...],
    ) -> Reply | Sent:
        head = request.method == "HEAD"
        accept = request.headers.getall("Accept", [])
        answer = await self._engine.manifest(scope, resource, accept, head=head)
        immutable = isinstance(resource.reference, Digest)
        if isinstance(answer, DocumentHead):
            headers = content_headers(answer.digest, answer.media_type, answer.size, immutable=immutable)
            return self._render(request, Rendered(200, (*headers, *namespace, ("Obol-Cache", "miss"))), b"")
        headers = content_headers(answer.digest, answer.media_type, answer.size, immutable=immutable)
        with contextlib.closing(answer):
            if not_modified(request.headers.get("If-None-Match"), answer.digest):
                kept = [header for header in headers if header[0] in {"ETag", "Cache-Control", "Docker-Content-Digest"}]
                return self._render(request, Rendered(304, (*kept, *namespace)), b"")
            if keys is not None and answer.content is None:
                self._keep_hot(keys, answer, Rendered(200, (*headers, *namespace, ("Obol-Cache", "hit"))), scope)
            marks = (("Obol-Cache", answer.source.value), *((STALE,) if answer.source is Source.STALE else ()))
            rendered = Rendered(200, (*headers, *namespace, *marks))
            if answer.content is None:
                body = b"" if head else answer.body
                self._meter(request.transport, answer.digest, len(body))
                return self._render(request, rendered, body)
            meter = meter_of(self._accounts, request.transport, self._registry, answer.digest)
            run = answer.content.run(0, answer.size)
            reply, count = await send_file(request, self._head(request, rendered), run, self._stall)
            if meter:
                meter.sent(0, count)
            return reply

    def _keep_hot(self, keys: Keys, answer: Document, rendered: Rendered, scope: Scope) -> None:
        until = math.inf if answer.fresh_for is None else self._clock.monotonic() + answer.fresh_for
        if until > self._clock.monotonic():
            manifest = (answer.repo, answer.digest)
            self._hot.keep(keys, Hot(rendered, answer.body, until, scope.counters, manifest, answer.digest))

    async def _list(
        self, request: web.BaseRequest, asked: Request, scope: Scope, resource: TagsRequest | ReferrersRequest
    ) -> Reply:
        page = await self._engine.page(scope, resource)
        headers = [("Content-Type", page.media_type), ("Obol-Cache", page.source.value)]
        if page.next_page is not None:
            ns = "" if asked.ns is None else f"&ns={asked.ns}"
            headers.append(("Link", f'<{page.next_page}{ns}>; rel="next"'))
        if page.filtered:
            headers.append(("OCI-Filters-Applied", "artifactType"))
        return self._whole(request, 200, headers, page.body)

    def _refuse(self, request: web.BaseRequest, refusal: OciError) -> Reply:
        body = refusal.body()
        if refusal.kind.status >= 500:
            # What was asked for is not told: no byte of a request goes into a log.
            self._seldom.warning(
                "refused", registry=self._registry, status=refusal.kind.status, why=refusal.detail or refusal.kind.code
            )
        rendered = Rendered(refusal.kind.status, refusal_headers(refusal, len(body)))
        return Reply(self._head(request, rendered), _shown(request, body), self._budget, keep_alive=_kept(request))

    def _whole(self, request: web.BaseRequest, status: int, headers: list[Header], body: bytes) -> Reply:
        rendered = Rendered(status, (*headers, ("Content-Length", str(len(body)))))
        return self._render(request, rendered, _shown(request, body))

    def _render(self, request: web.BaseRequest, rendered: Rendered, body: bytes) -> Reply:
        if len(body) > PIECE:
            body = self._budget.shared(body)
        if len(body) > PIECE and not self._budget.admits(body):
            raise OciError(UNAVAILABLE, "too many clients read large answers slowly", retry_after=1)
        return Reply(self._head(request, rendered), body, self._budget, keep_alive=_kept(request))

    def _head(self, request: web.BaseRequest, rendered: Rendered) -> bytes:
        return rendered.head(self._date.at(self._clock.wall()), connection(request))


def _shown(request: web.BaseRequest, body: bytes) -> bytes:
    return b"" if request.method == "HEAD" else body


def _kept(request: web.BaseRequest) -> bool:
    return bool(request.keep_alive)
