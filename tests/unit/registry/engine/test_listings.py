import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from obol.oci.errors import MANIFEST_UNKNOWN, NAME_UNKNOWN, UNAVAILABLE, UPSTREAM_BROKEN, OciError
from obol.oci.mediatypes import OCI_INDEX
from obol.oci.references import Digest, Repository
from obol.oci.requests import ReferrersRequest, TagsRequest
from obol.registry.control.api import Problem, Source
from obol.registry.engine import listings as listings_module
from obol.registry.engine.answers import Page
from obol.registry.engine.listings import Listings
from obol.registry.engine.scopes import Scope
from obol.registry.policy.health import Hold
from obol.registry.upstream.ports import Absent, Denied, Listing, RateLimited, Unavailable, UpstreamError
from tests.fakes.upstream import FakeUpstream

JSON = "application/json"
APP = Repository("team/app")
TAGS = TagsRequest(APP)
DIGEST = Digest.of(b"subject")
INDEX = b'{"schemaVersion":2,"manifests":[{"digest":"x","odd":  1}]}'


@pytest.fixture
def upstream() -> FakeUpstream:
    """An upstream with a list of tags and one of referrers."""
    one = FakeUpstream()
    one.lists["team/app/tags/list"] = Listing(b'{"name":"team/app","tags":["a","b"]}', JSON, None)
    one.lists[f"team/app/referrers/{DIGEST}"] = Listing(INDEX, OCI_INDEX, None)
    return one


@pytest.fixture
def scope(upstream: FakeUpstream) -> Scope:
    """The space of that upstream."""
    return Scope("registry.test", upstream)


@pytest.fixture
async def listings() -> AsyncIterator[Listings]:
    """What is tested."""
    new = Listings(1.0, offline=False, unattended=64)
    yield new
    await new.close()


def names(page: Page) -> list[str]:
    """The tags of a page."""
    found: list[str] = msgspec.json.decode(page.body)["tags"]
    return found


async def refused(listings: Listings, scope: Scope, request: TagsRequest | ReferrersRequest = TAGS) -> OciError:
    """Ask in vain."""
    with pytest.raises(OciError) as refusal:
        await (
            listings.tags(scope, request) if isinstance(request, TagsRequest) else listings.referrers(scope, request)
        )
    return refusal.value


async def test_tags(listings: Listings, scope: Scope) -> None:
    """Tags are the upstream's, under the name that the client asked by."""
    page = await listings.tags(scope, TAGS)

    assert msgspec.json.decode(page.body) == {"name": "team/app", "tags": ["a", "b"]}
    assert (page.media_type, page.source, page.next_page) == (JSON, Source.MISS, None)
    assert scope.counters.bytes_from_upstream == len(page.body)


async def test_no_tags(listings: Listings, upstream: FakeUpstream, scope: Scope) -> None:
    """A repository without tags has an empty list, never null."""
    upstream.lists["team/app/tags/list"] = Listing(b'{"name":"team/app","tags":null}', JSON, None)

    assert names(await listings.tags(scope, TAGS)) == []


@pytest.mark.parametrize("body", [b"{}", b'{"errors":[{"code":"UNKNOWN"}]}', b'{"tags":{}}', b"[]", b""])
async def test_no_list(listings: Listings, upstream: FakeUpstream, scope: Scope, body: bytes) -> None:
    """A document without tags, such as an error under 200, is no empty list."""
    upstream.lists["team/app/tags/list"] = Listing(body, JSON, None)

    assert (await refused(listings, scope)).kind is UPSTREAM_BROKEN


async def test_hub_name(listings: Listings) -> None:
    """On Docker Hub the upstream is asked with `library/`, and the client told its own name."""
    hub = FakeUpstream("docker.io")
    hub.lists["library/alpine/tags/list"] = Listing(b'{"name":"library/alpine","tags":["3"]}', JSON, None)

    page = await listings.tags(Scope("docker.io", hub), TagsRequest(Repository("alpine")))

    assert msgspec.json.decode(page.body) == {"name": "alpine", "tags": ["3"]}


BASE = "https://registry.test"
ABOVE = "/v2/team/app/tags/list"


@pytest.mark.parametrize(
    ("link", "query"),
    [
        (f"{ABOVE}?last=b&n=2", "last=b&n=2"),
        (f"{ABOVE}?n=2&next_page=gAAAA%3D%3d", "n=2&next_page=gAAAA%3D%3d"),
        (f"{BASE}{ABOVE}?next_page=x", "next_page=x"),
        (f"http://REGISTRY.test{ABOVE}?next_page=x", "next_page=x"),
        (f"https://registry.test/artifactory/api/docker/x{ABOVE}?last=b", "last=b"),
        (f"http://internal:5000{ABOVE}?n=2&last=b", "n=2&last=b"),
        (f"https://registry.test:443{ABOVE}?next_page=x", "next_page=x"),
        (f"http://elsewhere.test{ABOVE}?next_page=x", "next_page=x"),
        ("?last=a%2Fb", "last=a%2Fb"),
        ("/v2/team%2Fapp/tags/list?last=b", "last=b"),
        (f"{ABOVE}?ns=other.test&last=b", "last=b"),
        (f"{ABOVE}?last=b&last=c&&d#e", "last=b&last=c&&d"),
        ("?last=b%0d%0aX:", "last=b%0d%0aX:"),
    ],
)
async def test_next_page(listings: Listings, upstream: FakeUpstream, scope: Scope, link: str, query: str) -> None:
    """The query of the next page is carried byte for byte; the address is ours."""
    upstream.lists["team/app/tags/list?n=2&last=a"] = Listing(b'{"tags":["b"]}', JSON, link)
    upstream.lists[f"team/app/tags/list?{query}"] = Listing(b'{"tags":["c"]}', JSON, None)

    page = await listings.tags(scope, TagsRequest(APP, "n=2&last=a"))

    assert page.next_page == f"{ABOVE}?{query}"
    assert names(await listings.tags(scope, TagsRequest(APP, query))) == ["c"]


@pytest.mark.parametrize(
    "link",
    [
        "https://registry.test/v2/other/tags/list?last=b",
        "/v2/_catalog?last=b",
        ABOVE,
        "?n=2&last=a",
        "?ns=x",
        "//[/?last=b",
        f"?last={'b' * 4000}",
    ],
)
async def test_next_page_elsewhere(listings: Listings, upstream: FakeUpstream, scope: Scope, link: str) -> None:
    """A next page where we do not go, or that leads nowhere, is an error: the list must not end too early."""
    upstream.lists["team/app/tags/list?n=2&last=a"] = Listing(b'{"tags":["b"]}', JSON, link)

    assert (await refused(listings, scope, TagsRequest(APP, "n=2&last=a"))).kind is UPSTREAM_BROKEN


async def test_late_list(listings: Listings, upstream: FakeUpstream, scope: Scope) -> None:
    """A list that comes too late for who asked is there for who asks next."""
    impatient = Listings(0.02, offline=False, unattended=64)
    gate = upstream.gates["listing"] = asyncio.Event()

    assert (await refused(impatient, scope)).kind is UPSTREAM_BROKEN
    gate.set()
    del upstream.gates["listing"]
    await asyncio.sleep(0.01)
    upstream.problems["listing"] = Unavailable("down")

    assert (await impatient.tags(scope, TAGS)).source is Source.STALE
    await impatient.close()


@pytest.mark.parametrize("body", [b"<html>", b'{"tags":[1]}', b""])
async def test_tags_that_are_none(listings: Listings, upstream: FakeUpstream, scope: Scope, body: bytes) -> None:
    """What is no list of tags is not passed on."""
    upstream.lists["team/app/tags/list"] = Listing(body, JSON, None)

    assert (await refused(listings, scope)).kind is UPSTREAM_BROKEN


async def test_referrers(listings: Listings, scope: Scope) -> None:
    """Referrers are passed on byte for byte."""
    page = await listings.referrers(scope, ReferrersRequest(APP, DIGEST))

    assert (page.body, page.media_type, page.filtered) == (INDEX, OCI_INDEX, False)


async def test_filtered_referrers(listings: Listings, upstream: FakeUpstream, scope: Scope) -> None:
    """The filter is the upstream's, and so is the word that it was applied."""
    target = f"team/app/referrers/{DIGEST}?artifactType=application%2Fx%2Bjson"
    upstream.lists[target] = Listing(INDEX, OCI_INDEX, None, filtered=True)

    page = await listings.referrers(scope, ReferrersRequest(APP, DIGEST, "artifactType=application%2Fx%2Bjson"))

    assert page.filtered


async def test_referrers_that_are_none(listings: Listings, upstream: FakeUpstream, scope: Scope) -> None:
    """Who answers with something else than an index has no such list."""
    upstream.lists[f"team/app/referrers/{DIGEST}"] = Listing(b"[]", OCI_INDEX, None)

    assert (await refused(listings, scope, ReferrersRequest(APP, DIGEST))).kind is MANIFEST_UNKNOWN


async def test_pages_of_referrers(listings: Listings, upstream: FakeUpstream, scope: Scope) -> None:
    """Referrers have pages, too."""
    target = f"team/app/referrers/{DIGEST}"
    upstream.lists[target] = Listing(INDEX, OCI_INDEX, f"/v2/{target}?cursor=%2b")

    page = await listings.referrers(scope, ReferrersRequest(APP, DIGEST))

    assert page.next_page == f"/v2/team/app/referrers/{DIGEST}?cursor=%2b"


async def test_no_referrers(listings: Listings, upstream: FakeUpstream, scope: Scope) -> None:
    """Where the upstream has no such list the client is told so, and turns to the tag that stands for it."""
    upstream.lists.clear()

    assert (await refused(listings, scope, ReferrersRequest(APP, DIGEST))).kind is MANIFEST_UNKNOWN


@pytest.mark.parametrize("problem", [Unavailable("down"), RateLimited(9.0)])
async def test_stale(listings: Listings, upstream: FakeUpstream, scope: Scope, problem: UpstreamError) -> None:
    """A list that was seen before stands in while the upstream fails, and is marked."""
    fresh = await listings.tags(scope, TAGS)
    upstream.problems["listing"] = problem

    stale = await listings.tags(scope, TAGS)

    assert (stale.body, stale.source) == (fresh.body, Source.STALE)


async def test_stale_on_hold(listings: Listings, upstream: FakeUpstream, scope: Scope) -> None:
    """It stands in, too, while the upstream is left alone; a list that was not seen is refused."""
    await listings.tags(scope, TAGS)
    upstream.hold = Hold(9.0, Problem.FAILING)

    assert (await listings.tags(scope, TAGS)).source is Source.STALE
    refusal = await refused(listings, scope, ReferrersRequest(APP, DIGEST))
    assert (refusal.kind, refusal.retry_after) == (UNAVAILABLE, 9)


@pytest.mark.parametrize("problem", [Absent("gone"), Denied("private")])
async def test_gone(listings: Listings, upstream: FakeUpstream, scope: Scope, problem: UpstreamError) -> None:
    """A repository that is gone or private now has no list any more."""
    await listings.tags(scope, TAGS)
    upstream.problems["listing"] = problem

    assert (await refused(listings, scope)).kind is NAME_UNKNOWN


async def test_offline(scope: Scope) -> None:
    """Offline, a list that was not seen is absent."""
    assert (await refused(Listings(1.0, offline=True, unattended=64), scope)).kind is NAME_UNKNOWN


async def test_single_flight(listings: Listings, upstream: FakeUpstream, scope: Scope) -> None:
    """Many clients who want the same list at once cost one question."""
    await asyncio.gather(*(listings.tags(scope, TAGS) for _ in range(50)))

    assert upstream.requests == 1


async def test_bounds(
    listings: Listings, upstream: FakeUpstream, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few pages are remembered, the oldest leaving first, and no large one."""
    monkeypatch.setattr(listings_module, "REMEMBERED_PAGES", 2)
    monkeypatch.setattr(listings_module, "LARGEST_REMEMBERED", 1000)
    for n in (1, 2, 3, 4):
        tags = ["x" * 2000] if n == 4 else ["x"]
        upstream.lists[f"team/app/tags/list?n={n}"] = Listing(msgspec.json.encode({"tags": tags}), JSON, None)
        await listings.tags(scope, TagsRequest(APP, f"n={n}"))
    upstream.problems["listing"] = Unavailable("down")

    assert (await refused(listings, scope, TagsRequest(APP, "n=1"))).kind is UPSTREAM_BROKEN
    assert (await listings.tags(scope, TagsRequest(APP, "n=2"))).source is Source.STALE
    assert (await listings.tags(scope, TagsRequest(APP, "n=3"))).source is Source.STALE
    assert (await refused(listings, scope, TagsRequest(APP, "n=4"))).kind is UPSTREAM_BROKEN


async def test_bound_in_all(listings: Listings, upstream: FakeUpstream, scope: Scope) -> None:
    """All pages that are remembered have a bound together; one that is seen again is not counted twice."""
    for n in (1, 1, 1, 2, 3, 4):
        body = msgspec.json.encode({"tags": ["x" * (listings_module.LARGEST_REMEMBERED - 100)]})
        upstream.lists[f"team/app/tags/list?n={n}"] = Listing(body, JSON, None)
        await listings.tags(scope, TagsRequest(APP, f"n={n}"))

    assert len(listings._seen) == 2
