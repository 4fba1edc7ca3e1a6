"""Lists that only the upstream can give: the tags of a repository, the referrers of a manifest.

They are asked for every time; a page that was seen before stands in, marked as stale, while the upstream cannot be
asked. What it says is looked at before it is passed on. The query of a list is the upstream's own language: it is
carried as it is, from the link to the next page to the client and from there back, and only the address is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

import msgspec

from obol.machine.bounded import Bounded
from obol.machine.flights import Flights
from obol.machine.tasks import in_steps
from obol.oci.errors import MANIFEST_UNKNOWN, NAME_UNKNOWN, UPSTREAM_BROKEN, ErrorKind, OciError
from obol.oci.lists import check_referrers, tags_of
from obol.oci.mediatypes import OCI_INDEX
from obol.oci.requests import MAX_TARGET, without_ns
from obol.registry.control.api import Source
from obol.registry.engine.answers import Page
from obol.registry.engine.refusals import refusal, refused
from obol.registry.policy.freshness import Refuse, decide_digest
from obol.registry.upstream.ports import Absent, Denied, Misbehaved, UpstreamError
from obol.registry.upstream.reading import LargeAnswers

if TYPE_CHECKING:
    from obol.oci.requests import ReferrersRequest, TagsRequest
    from obol.registry.engine.scopes import Scope
    from obol.registry.store.ports import RepositoryKey

JSON = "application/json"
REMEMBERED_PAGES = 256
LARGEST_REMEMBERED = 4 * 1024 * 1024
"""Of one page. The longest lists are those that upstreams take longest for."""
REMEMBERED_BYTES = 8 * 1024 * 1024
"""Of all pages together."""
LONGEST_QUERY = MAX_TARGET - 1024
"""Characters of a query that can come back to us, with the longest name and a namespace."""


class Listings:
    """Serves lists."""

    def __init__(self, within: float, *, offline: bool, unattended: int) -> None:
        self._within = within
        self._offline = offline
        self._turns = LargeAnswers()
        self._asked: Flights[tuple[RepositoryKey, str], Page] = Flights(unattended)
        self._seen: Bounded[tuple[RepositoryKey, str], Page] = Bounded(REMEMBERED_BYTES, _weight)

    async def tags(self, scope: Scope, request: TagsRequest) -> Page:
        """One page of a repository's tags. Raises OciError (NAME_UNKNOWN)."""
        repo = scope.key(request.repository)
        path = f"{repo.name}/tags/list"

        async def ask() -> Page:
            got = await scope.upstream.listing(repo.name, _target(path, request.query), JSON)
            try:
                listed = await in_steps(tags_of(got.body))
            except ValueError:
                raise Misbehaved("the upstream's list of tags cannot be read") from None
            body = b'{"name":%b,"tags":%b}' % (msgspec.json.encode(str(request.repository)), listed)
            onward = onward_query(got.next_page, path, request.query, scope.upstream.settings.url)
            more = None if onward is None else f"/v2/{request.repository}/tags/list?{onward}"
            return Page(body, JSON, Source.MISS, more)

        return await self._page(scope, (repo, _target(path, request.query)), ask, NAME_UNKNOWN)

    async def referrers(self, scope: Scope, request: ReferrersRequest) -> Page:
        """What refers to a manifest. Raises OciError.

        That is a 404 where the upstream has no such list, so that the client turns to the tag that stands for it.
        """
        repo = scope.key(request.repository)
        path = f"{repo.name}/referrers/{request.digest}"

        async def ask() -> Page:
            got = await scope.upstream.listing(repo.name, _target(path, request.query), OCI_INDEX)
            try:
                check_referrers(got.body)
            except ValueError:
                raise Absent("the upstream has no list of referrers") from None
            onward = onward_query(got.next_page, path, request.query, scope.upstream.settings.url)
            more = None if onward is None else f"/v2/{request.repository}/referrers/{request.digest}?{onward}"
            return Page(got.body, OCI_INDEX, Source.MISS, more, filtered=got.filtered)

        return await self._page(scope, (repo, _target(path, request.query)), ask, MANIFEST_UNKNOWN)

    async def _page(
        self,
        scope: Scope,
        key: tuple[RepositoryKey, str],
        ask: Callable[[], Coroutine[Any, Any, Page]],
        absent: ErrorKind,
    ) -> Page:
        decision = decide_digest(scope.upstream.gate(), offline=self._offline)
        seen = self._seen.get(key)
        if isinstance(decision, Refuse):
            if seen is not None:
                return seen
            raise refused(decision, absent)
        try:
            return await self._asked.join(key, lambda: self._kept(scope, key, ask), within=self._within)
        except TimeoutError:
            if seen is None:
                raise OciError(UPSTREAM_BROKEN, "the upstream did not answer in time") from None
        except UpstreamError as problem:
            if seen is None or isinstance(problem, Absent | Denied):
                raise refusal(problem, absent) from problem
        return seen

    async def _kept(
        self, scope: Scope, key: tuple[RepositoryKey, str], ask: Callable[[], Coroutine[Any, Any, Page]]
    ) -> Page:
        page = await self._turns.take(scope.registry, ask())
        scope.counters.fetched(len(page.body))
        self._seen.pop(key)
        if len(page.body) <= LARGEST_REMEMBERED:
            self._seen[key] = replace(page, source=Source.STALE)
        return page

    async def close(self) -> None:
        """Stop what is being asked."""
        await self._asked.close()


def _weight(_key: tuple[RepositoryKey, str], page: Page) -> float:
    """Bytes; an empty page counts as much as one of `REMEMBERED_PAGES` that fill what may be remembered."""
    return max(len(page.body), REMEMBERED_BYTES / REMEMBERED_PAGES)


def _target(path: str, query: str) -> str:
    return f"{path}?{query}" if query else path


def onward_query(link: str | None, path: str, asked: str, base: str) -> str | None:
    """The query of the next page of the list at `path` (below /v2/), byte for byte; None where there is none.

    `link` is where the upstream at `base` says that it is. No other list and no other host is ever asked, but a link
    whose host is wrong (a registry's name or port behind a proxy, http for https) still names a page of this list.
    Raises Misbehaved for all other links: a list that ends too early is worse than an error.
    """
    if link is None:
        return None
    try:
        parts = urlsplit(urljoin(f"{base}/v2/{path}", link))
    except ValueError:
        raise Misbehaved("the upstream's link to the next page is not a URL") from None
    query = without_ns(parts.query)
    if not unquote(parts.path).endswith(f"/{path}"):
        raise Misbehaved("the upstream's next page is in another place, where we do not go")
    if not query or query == asked or len(query) > LONGEST_QUERY:
        raise Misbehaved("the upstream's link to the next page leads nowhere")
    return query
