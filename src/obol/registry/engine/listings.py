"""Lists that only the upstream can give: the tags of a repository, the referrers of a manifest.

They are asked for every time; a page that was seen before stands in, marked as stale, while the upstream cannot be
asked. What it says is looked at before it is passed on, and the address of its next page becomes one of ours.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import msgspec

from obol.oci.errors import MANIFEST_UNKNOWN, NAME_UNKNOWN, ErrorKind
from obol.oci.mediatypes import OCI_INDEX
from obol.registry.engine.answers import Page, Source
from obol.registry.engine.flights import Flights
from obol.registry.engine.refusals import refusal, refused
from obol.registry.policy.freshness import Refuse, decide_digest
from obol.registry.upstream.base import Absent, Denied, Listing, Misbehaved, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from obol.oci.requests import ReferrersRequest, TagsRequest
    from obol.registry.engine.spaces import Space
    from obol.registry.store.base import Place

JSON = "application/json"
REMEMBERED_PAGES = 256
LARGEST_REMEMBERED = 256 * 1024


class _Tags(msgspec.Struct):
    name: str = ""
    tags: list[str] | None = None


class _Index(msgspec.Struct):
    manifests: list[msgspec.Raw]
    schema_version: int = msgspec.field(name="schemaVersion", default=2)


class Listings:
    """Serves lists."""

    def __init__(self, *, offline: bool) -> None:
        self._offline = offline
        self._asked: Flights[tuple[Place, str], Page] = Flights()
        self._seen: OrderedDict[tuple[Place, str], Page] = OrderedDict()

    async def tags(self, space: Space, request: TagsRequest) -> Page:
        """One page of a repository's tags. Raises OciError (NAME_UNKNOWN)."""
        place = space.place(request.repository)
        target = f"{place.repository}/tags/list{_query(n=request.n, last=request.last)}"

        async def ask() -> Page:
            got = await space.upstream.listing(place.repository, target, JSON)
            try:
                listed = msgspec.json.decode(got.body, type=_Tags)
            except msgspec.DecodeError:
                raise Misbehaved("the upstream's list of tags cannot be read") from None
            body = msgspec.json.encode({"name": str(request.repository), "tags": listed.tags or []})
            return Page(body, JSON, Source.MISS, _next_tags(request, got))

        return await self._page(space, (place, target), ask, NAME_UNKNOWN)

    async def referrers(self, space: Space, request: ReferrersRequest) -> Page:
        """What refers to a manifest. Raises OciError.

        That is a 404 where the upstream has no such list, so that the client turns to the tag that stands for it.
        """
        place = space.place(request.repository)
        kind = request.artifact_type
        target = f"{place.repository}/referrers/{request.digest}{_query(artifactType=kind)}"

        async def ask() -> Page:
            got = await space.upstream.listing(place.repository, target, OCI_INDEX)
            try:
                msgspec.json.decode(got.body, type=_Index)
            except msgspec.DecodeError:
                raise Misbehaved("the upstream's list of referrers cannot be read") from None
            return Page(got.body, OCI_INDEX, Source.MISS, filtered=got.filtered)

        return await self._page(space, (place, target), ask, MANIFEST_UNKNOWN)

    async def _page(
        self, space: Space, key: tuple[Place, str], ask: Callable[[], Coroutine[Any, Any, Page]], absent: ErrorKind
    ) -> Page:
        decision = decide_digest(space.upstream.gate(), offline=self._offline)
        seen = self._seen.get(key)
        if isinstance(decision, Refuse):
            if seen is not None:
                return seen
            raise refused(decision, absent)
        try:
            page = await self._asked.join(key, ask)
        except UpstreamError as problem:
            if seen is None or isinstance(problem, Absent | Denied):
                raise refusal(problem, absent) from problem
            return seen
        space.counters.bytes_from_upstream += len(page.body)
        self._remember(key, page)
        return page

    def _remember(self, key: tuple[Place, str], page: Page) -> None:
        if len(page.body) > LARGEST_REMEMBERED:
            return
        self._seen[key] = replace(page, source=Source.STALE)
        self._seen.move_to_end(key)
        if len(self._seen) > REMEMBERED_PAGES:
            self._seen.popitem(last=False)

    async def close(self) -> None:
        """Stop what is being asked."""
        await self._asked.close()


def _query(**parameters: str | int | None) -> str:
    given = {name: str(value) for name, value in parameters.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


def _next_tags(request: TagsRequest, got: Listing) -> str | None:
    """The upstream's next page at our own address; only its `n` and `last` are taken over."""
    if got.next_page is None:
        return None
    query = parse_qs(urlsplit(got.next_page).query)
    last = query.get("last", [""])[0]
    if not last or len(last) > 256:
        return None
    n = query.get("n", [""])[0]
    size = f"n={n}&" if n.isascii() and n.isdigit() and len(n) <= 6 else ""
    return f"/v2/{request.repository}/tags/list?{size}last={quote(last, safe='')}"
