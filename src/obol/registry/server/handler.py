"""One HTTP request to one answer.

The raw target is parsed once; what comes out of that is a value, and the engine is asked with it. Answers that may be
given again are kept, and found before the engine is asked.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

from obol.oci.errors import OciError
from obol.oci.ranges import not_modified
from obol.oci.references import Digest
from obol.oci.requests import BlobRequest, ManifestRequest, Ping, ReferrersRequest, TagsRequest, parse
from obol.registry.control.api import CACHE_HEADER, Source
from obol.registry.engine.answers import HeadAnswer
from obol.registry.server.blobs import answer_blob
from obol.registry.server.connection import keys_of
from obol.registry.server.exchange import Exchange, Header, Rendered, content_headers, meter_of
from obol.registry.server.hosts import refuse_other_sites
from obol.registry.server.ready import ReadyAnswer, ReadyAnswers

if TYPE_CHECKING:
    import asyncio

    from aiohttp import web

    from obol.registry.engine.answers import ManifestAnswer
    from obol.registry.engine.engine import Engine
    from obol.registry.server.exchange import Shared

Page = Callable[[], Awaitable[tuple[int, str, bytes]]]
"""A page beside the registry: status, content type, body."""

JSON = "application/json"
STALE: Header = ("Warning", '110 - "Response is Stale"')
HIT = Source.HIT
"""At hand: to look a member of an enumeration up costs more than to count with it."""


class Handler:
    """Answers the requests of one listener."""

    def __init__(self, engine: Engine, registry: str, pages: dict[str, Page], shared: Shared) -> None:
        self._engine = engine
        self._accounts = engine.accounts
        self._scope = engine.scopes.find(None, registry)
        self._pages = pages
        self._shared = shared
        self._clock = shared.clock
        self._ready = ReadyAnswers()
        engine.grants.ready.add(self._ready)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer; `web.Server` calls this."""
        exchange = Exchange(request, keys_of(request), self._scope, self._accounts, self._shared)
        try:
            try:
                await self._answer(exchange)
            except OciError as refusal:
                await exchange.refuse(refusal)
        except ConnectionError:
            # The client went away while it waited, which is no fault and no news.
            exchange.keep_alive = False
        except Exception:
            exchange.failed()
            raise
        finally:
            exchange.end()
        return cast("web.StreamResponse", exchange)

    def repeat(self, key: bytes, room: int, transport: asyncio.BaseTransport) -> bytes | None:
        """The answer to a request that was answered a moment ago and is the same, byte for byte.

        None without one, or where it is longer than `room`.
        """
        ready = self._ready.repeated(key, self._clock.monotonic())
        if ready is None:
            return None
        answer = self._shared.head(ready.rendered) + ready.body
        if len(answer) > room:
            return None
        ready.counters.served(HIT, len(ready.body))
        if self._accounts.running and (
            meter := meter_of(self._accounts, transport, self._scope.registry, ready.digest)
        ):
            meter.sent(0, len(ready.body))
        if ready.is_manifest:
            self._engine.used(ready.repository, ready.digest)
        return answer

    async def _answer(self, exchange: Exchange) -> None:
        request = exchange.request
        refuse_other_sites(request.headers)
        if exchange.keys is not None:
            ready = self._ready.find(exchange.keys, self._clock.monotonic())
            if ready is not None:
                exchange.serves(Source.HIT, ready.digest)
                if ready.is_manifest:
                    self._engine.used(ready.repository, ready.digest)
                await exchange.reply(ready.rendered, ready.body)
                return
        exchange.since = self._ready.forgotten
        target = self._shared.hosts.own_target(request.raw_path, request.headers.get("Host"))
        page = self._pages.get(target)
        if page is not None and request.method in {"GET", "HEAD"}:
            status, content_type, body = await page()
            await exchange.whole(status, [("Content-Type", content_type)], body)
            return
        asked = parse(request.method, target)
        if asked.ns is not None:
            self._engine.scopes.find(asked.ns, self._scope.registry)
            exchange.namespace = (("OCI-Namespace", asked.ns),)
        match asked.resource:
            case BlobRequest() as blob:
                await answer_blob(exchange, self._engine.blobs, self._ready, blob)
            case ManifestRequest() as manifest:
                await self._manifest(exchange, manifest)
            case Ping():
                await exchange.whole(200, [("Content-Type", JSON)], b"{}")
            case listed:
                await self._list(exchange, listed, asked.ns)

    async def _manifest(self, exchange: Exchange, asked: ManifestRequest) -> None:
        request, head = exchange.request, exchange.request.method == "HEAD"
        accept = request.headers.getall("Accept", [])
        answer = await self._engine.manifests.get(exchange.scope, asked.repository, asked.reference, accept, head=head)
        headers = content_headers(
            answer.digest, answer.media_type, answer.size, immutable=isinstance(asked.reference, Digest)
        )
        if isinstance(answer, HeadAnswer):
            exchange.serves(Source.MISS)
            await exchange.reply(Rendered(200, (*headers, *exchange.namespace, (CACHE_HEADER, "miss"))))
            return
        with contextlib.closing(answer):
            self._engine.used(answer.repo, answer.digest)
            exchange.serves(answer.source, answer.digest)
            if not_modified(request.headers.get("If-None-Match"), answer.digest):
                kept = [header for header in headers if header[0] in {"ETag", "Cache-Control", "Docker-Content-Digest"}]
                await exchange.reply(Rendered(304, (*kept, *exchange.namespace)))
                return
            if answer.content is None:
                self._keep(exchange, answer, headers)
            marks = ((CACHE_HEADER, answer.source.value), *((STALE,) if answer.source is Source.STALE else ()))
            rendered = Rendered(200, (*headers, *exchange.namespace, *marks))
            if answer.content is None:
                await exchange.reply(rendered, answer.body)
            else:
                await exchange.send(rendered, answer.content.run(0, answer.size))

    def _keep(self, exchange: Exchange, answer: ManifestAnswer, headers: list[Header]) -> None:
        now = self._clock.monotonic()
        until = math.inf if answer.fresh_for is None else now + answer.fresh_for
        if exchange.keys is None or until <= now:
            return
        rendered = Rendered(200, (*headers, *exchange.namespace, (CACHE_HEADER, "hit")))
        counters = self._scope.counters
        ready = ReadyAnswer(rendered, answer.body, until, counters, answer.repo, answer.digest, is_manifest=True)
        self._ready.keep(exchange.keys, ready, exchange.since)

    async def _list(self, exchange: Exchange, asked: TagsRequest | ReferrersRequest, ns: str | None) -> None:
        lists = self._engine.listings
        ask = (
            lists.tags(exchange.scope, asked)
            if isinstance(asked, TagsRequest)
            else lists.referrers(exchange.scope, asked)
        )
        page = await ask
        exchange.serves(page.source)
        headers = [("Content-Type", page.media_type), (CACHE_HEADER, page.source.value)]
        if page.next_page is not None:
            more = "" if ns is None else f"&ns={ns}"
            headers.append(("Link", f'<{page.next_page}{more}>; rel="next"'))
        if page.filtered:
            headers.append(("OCI-Filters-Applied", "artifactType"))
        await exchange.whole(200, headers, page.body)
