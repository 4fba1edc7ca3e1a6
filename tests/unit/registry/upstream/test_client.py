import pytest

from obol.oci.mediatypes import DOCKER_SCHEMA1, OCI_INDEX, upstream_accept
from obol.oci.references import Digest, Repository, Tag
from obol.registry.control.api import RateLimit
from obol.registry.upstream.asking import HEADLESS_FOR
from obol.registry.upstream.ports import Absent, ManifestHead, MethodRefused, Misbehaved, Unavailable
from tests.fakes import behaviours
from tests.fakes.behaviours import Behaviour
from tests.fakes.clock import FakeClock
from tests.fakes.ghcr import FakeGhcr
from tests.fakes.hostile import HostileRegistry
from tests.fakes.hub import FakeHub
from tests.fakes.optional import answers, refuses_ranges, tells_by_head
from tests.fakes.registry import FakeRegistry, Forced
from tests.unit.registry.upstream.reach import (
    ACCEPT,
    APP,
    DIGEST,
    IMAGE,
    NONE,
    SIZE,
    TAG,
    TOP,
    filled,
    shelved,
    upstream_at,
)


async def test_a_head_tells_what_a_tag_means() -> None:
    """Digest, type and size, without the body, and without using up a pull."""
    async with FakeHub() as hub, upstream_at(hub.url) as upstream:
        filled(hub, APP)

        head = await upstream.head_manifest(APP, TAG, ACCEPT)

        assert head == ManifestHead(TOP, OCI_INDEX, len(IMAGE.index.body))
        assert hub.api.remaining == 100
        assert hub.api.log[-1].header("Accept") == ACCEPT
        assert upstream.requests == 1


@pytest.mark.parametrize(
    "status", [204, 206, 304, 400, 401, 402, 403, 404, 405, 410, 418, 429, 451, 500, 501, 502, 503]
)
async def test_a_head_that_is_refused_tells_nothing(status: int) -> None:
    """That is no error, and no absence or denial: the caller is to GET."""
    async with HostileRegistry({"manifest": answers(status)}) as server, upstream_at(server.url) as upstream:
        assert await upstream.head_manifest(APP, TAG, ACCEPT) == ManifestHead(None, "", None)
        assert upstream.health.failures == 0


@pytest.mark.parametrize(
    "behaviour",
    [behaviours.closed_at_once, behaviours.reset_at_once, behaviours.stall_before_headers, behaviours.redirect_loop],
    ids=["closed", "reset", "stalled", "loop"],
)
async def test_a_head_that_breaks_off_tells_nothing(behaviour: Behaviour) -> None:
    """It is given up early enough for a GET to be answered in time, and counts as no failure."""
    async with HostileRegistry({"manifest": behaviour}) as server, upstream_at(server.url) as upstream:
        assert await upstream.head_manifest(APP, TAG, ACCEPT) == ManifestHead(None, "", None)
        assert upstream.health.failures == 0


@pytest.mark.parametrize(
    "headers",
    [(("Content-Length", "0"),), (("Content-Length", "333"), ("Content-Encoding", "gzip"))],
)
async def test_a_length_that_cannot_be_the_manifests_is_not_repeated(headers: tuple[tuple[str, str], ...]) -> None:
    """Zero, or that of an encoding: the digest counts, the length does not."""
    async with (
        HostileRegistry({"manifest": tells_by_head(*headers)}) as server,
        upstream_at(server.url) as upstream,
    ):
        filled(server, APP)

        assert await upstream.head_manifest(APP, TAG, ACCEPT) == ManifestHead(TOP, OCI_INDEX, None)


@pytest.mark.parametrize("behaviour", [behaviours.html, behaviours.malformed_digest], ids=["html", "malformed"])
async def test_a_head_without_a_digest_says_so(behaviour: Behaviour) -> None:
    """A page, or a digest that is none: nothing of it is believed."""
    async with HostileRegistry({"manifest": behaviour}) as server, upstream_at(server.url) as upstream:
        filled(server, APP)

        assert (await upstream.head_manifest(APP, TAG, ACCEPT)).digest is None


async def test_a_manifest_by_tag_and_by_digest() -> None:
    """Its bytes as they were sent, and the digest of these bytes."""
    async with FakeGhcr() as ghcr, upstream_at(ghcr.url) as upstream:
        filled(ghcr, APP)

        by_tag = await upstream.get_manifest(APP, TAG, ACCEPT)
        by_digest = await upstream.get_manifest(APP, TOP, ACCEPT)

        assert by_tag == by_digest
        assert (by_tag.digest, by_tag.body) == (TOP, IMAGE.index.body)
        assert by_tag.manifest.is_index


async def test_a_manifest_by_another_algorithm() -> None:
    """What was asked for by sha512 is verified and named by sha512."""
    digest = Digest.of(IMAGE.index.body, "sha512")
    async with FakeRegistry() as server, upstream_at(server.url) as upstream:
        server.status_for = {digest: Forced(200, (("Content-Type", OCI_INDEX),), IMAGE.index.body)}

        assert (await upstream.get_manifest(APP, digest, ACCEPT)).digest == digest


async def test_schema_1_comes_to_who_takes_anything() -> None:
    """A kind that nobody has any more is passed on to who asks for whatever there is, and to nobody else."""
    body = b'{"schemaVersion": 1}'
    async with FakeRegistry() as server, upstream_at(server.url) as upstream:
        server.status_for = {"/manifests/1": Forced(200, (("Content-Type", DOCKER_SCHEMA1),), body)}

        assert (await upstream.get_manifest(APP, TAG, upstream_accept(("*/*",)))).body == body
        with pytest.raises(Misbehaved):
            await upstream.get_manifest(APP, TAG, ACCEPT)


async def test_a_lying_digest_header_is_a_lie_by_tag_and_ignored_by_digest() -> None:
    """By tag the two cannot both be true; by digest we know what we asked for."""
    async with HostileRegistry({"manifest": behaviours.lying_digest}) as server, upstream_at(server.url) as upstream:
        filled(server, APP)

        with pytest.raises(Misbehaved, match="digest"):
            await upstream.get_manifest(APP, TAG, ACCEPT)
        assert (await upstream.get_manifest(APP, TOP, ACCEPT)).digest == TOP


@pytest.mark.parametrize(("reference", "told"), [(TAG, True), (TAG, False), (TOP, True)])
@pytest.mark.parametrize("behaviour", [behaviours.gzipped, behaviours.gzip_label], ids=["encoded", "labelled"])
async def test_an_encoded_manifest_is_decoded(behaviour: Behaviour, reference: Tag | Digest, *, told: bool) -> None:
    """Raw bytes are tried before decoded ones; where no digest decides, what can be decoded is."""
    async with HostileRegistry({"manifest": behaviour}) as server, upstream_at(server.url) as upstream:
        filled(server, APP)
        server.digest_header = told

        found = await upstream.get_manifest(APP, reference, ACCEPT)

        assert (found.body, found.digest) == (IMAGE.index.body, TOP)


@pytest.mark.parametrize("reference", [TAG, TOP])
@pytest.mark.parametrize("name", sorted(behaviours.WRONG_CONTENT.keys() - {"gzipped"}))
async def test_a_wrong_manifest_is_not_believed(name: str, reference: Tag | Digest) -> None:
    """Other bytes than the digest's, or a web page under 200: an error, but not one that the breaker counts."""
    async with (
        HostileRegistry({"manifest": behaviours.WRONG_CONTENT[name]}) as server,
        upstream_at(server.url) as upstream,
    ):
        filled(server, APP)

        with pytest.raises(Misbehaved):
            await upstream.get_manifest(APP, reference, ACCEPT)

        assert server.count() == 1
        assert upstream.health.failures == 0


@pytest.mark.parametrize("name", sorted(behaviours.BAD_DOCUMENTS))
async def test_a_bad_document_is_refused(name: str) -> None:
    """Huge, endless, deeply nested or garbage: it is neither kept nor waited for."""
    async with (
        HostileRegistry({"manifest": behaviours.BAD_DOCUMENTS[name]}) as server,
        upstream_at(server.url) as upstream,
    ):
        filled(server, APP)

        with pytest.raises(Misbehaved):
            await upstream.get_manifest(APP, TAG, ACCEPT)


async def test_the_budget_is_remembered() -> None:
    """What the last answer that spoke of it said; an answer that is silent changes nothing."""
    async with FakeHub() as hub, upstream_at(hub.url) as upstream:
        filled(hub, APP)
        for hub.api.rate_headers in (True, False):
            await upstream.get_manifest(APP, TAG, ACCEPT)

            assert upstream.budget == RateLimit(100, 99)


@pytest.mark.parametrize(
    ("with_head", "with_length", "size"), [(True, True, SIZE), (True, False, None), (False, True, SIZE)]
)
async def test_the_size_of_a_blob(*, with_head: bool, with_length: bool, size: int | None) -> None:
    """As its HEAD says; where there is none, as a range of one byte says."""
    async with FakeRegistry() as server, upstream_at(server.url) as upstream:
        shelved(server)
        server.head_supported, server.content_length = with_head, with_length

        assert await upstream.head_blob(APP, Digest(DIGEST)) == size
        assert server.body_bytes() <= 100
        with pytest.raises(Absent):
            await upstream.head_blob(APP, Digest.of(b""))


async def test_a_page_has_no_size_of_a_blob() -> None:
    """The length of a captive portal's page is not the blob's."""
    async with HostileRegistry({"blob": behaviours.html}) as server, upstream_at(server.url) as upstream:
        with pytest.raises(Misbehaved, match="web page"):
            await upstream.head_blob(APP, Digest(DIGEST))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 500, 501])
async def test_the_size_of_a_blob_where_head_is_refused(status: int) -> None:
    """A range of one byte tells it; where ranges are refused, too, the head of a plain answer does."""
    async with HostileRegistry({"blob": answers(status)}) as server, upstream_at(server.url) as upstream:
        shelved(server)
        server.methods = {"HEAD"}
        assert await upstream.head_blob(APP, Digest(DIGEST)) == SIZE
        server.methods = {"GET"}
        server.behaviours = {"blob": refuses_ranges(status)}

        assert await upstream.head_blob(APP, Digest(DIGEST)) == SIZE


@pytest.mark.parametrize("told", [("Content-Length", "0"), ("Content-Encoding", "gzip")])
async def test_a_length_that_cannot_be_the_blobs_is_not_believed(told: tuple[str, str]) -> None:
    """Zero, or that of an encoding: a range of one byte tells the true one."""
    async with HostileRegistry({"blob": tells_by_head(told)}) as server, upstream_at(server.url) as upstream:
        shelved(server)

        assert await upstream.head_blob(APP, Digest(DIGEST)) == SIZE


async def test_questions_do_not_wait_behind_blobs() -> None:
    """With every connection for blobs in use a HEAD is answered as ever."""
    async with FakeRegistry() as server, upstream_at(server.url) as upstream:
        filled(server, APP)
        await upstream.slots.first(0)
        while upstream.slots.more():
            pass

        assert (await upstream.head_manifest(APP, TAG, ACCEPT)).digest == TOP


async def test_lists_come_page_by_page() -> None:
    """The bytes of a page, where the next one is, and whether the upstream says that it applied the filter."""
    async with FakeRegistry() as server, upstream_at(server.url) as upstream:
        for tag in ("1", "2", "3"):
            server.add(APP, tag, IMAGE)

        page = await upstream.listing(APP, f"{APP}/tags/list?n=2", "application/json")
        last = await upstream.listing(APP, f"{APP}/tags/list?n=2&last=2", "application/json")

        assert (page.body, page.media_type) == (b'{"name": "library/app", "tags": ["1", "2"]}', "application/json")
        assert (page.next_page, last.next_page) == (f"/v2/{APP}/tags/list?last=2&n=2", None)
        assert not page.filtered
        server.referrers_supported = True
        found = await upstream.listing(APP, f"{APP}/referrers/{TOP}?artifactType=x%2Fy", OCI_INDEX)
        assert (found.filtered, found.media_type) == (True, OCI_INDEX)


@pytest.mark.parametrize("status", [400, 404, 405, 406, 410, 415, 418, 500, 501])
async def test_a_registry_without_referrers_has_many_ways_to_say_so(status: int) -> None:
    """Each is absence, so that clients turn to the tag that stands for the list."""
    async with HostileRegistry({"referrers": answers(status)}) as server, upstream_at(server.url) as upstream:
        with pytest.raises(Absent):
            await upstream.listing(APP, f"{APP}/referrers/{TOP}", OCI_INDEX)


@pytest.mark.parametrize(
    "behaviour", [behaviours.html, behaviours.redirect_to("http://127.1:1/login")], ids=["page", "login"]
)
async def test_a_page_is_no_list_of_referrers(behaviour: Behaviour) -> None:
    """Nor is a redirect that is not to be followed."""
    async with HostileRegistry({"referrers": behaviour}) as server, upstream_at(server.url) as upstream:
        with pytest.raises(Absent):
            await upstream.listing(APP, f"{APP}/referrers/{TOP}", OCI_INDEX)


@pytest.mark.parametrize("status", [500, 503])
async def test_a_registry_that_had_referrers_is_broken_without(status: int) -> None:
    """Where the list was given before, or the registry is busy, an error of the server's is one."""
    async with FakeRegistry() as server, upstream_at(server.url) as upstream:
        filled(server, APP)
        server.referrers_supported = True
        await upstream.listing(APP, f"{APP}/referrers/{TOP}", OCI_INDEX)
        server.status_for = {"/referrers/": status}

        with pytest.raises(Unavailable):
            await upstream.listing(APP, f"{APP}/referrers/{TOP}", OCI_INDEX)


async def test_a_page_is_no_list_of_tags() -> None:
    """It is an error: clients have no other way to the tags."""
    async with HostileRegistry({"tags": behaviours.html}) as server, upstream_at(server.url) as upstream:
        with pytest.raises(Misbehaved, match="web page"):
            await upstream.listing(APP, f"{APP}/tags/list", "application/json")


@pytest.mark.parametrize("status", [400, 405, 406, 416, 422])
async def test_a_number_of_tags_that_is_refused_is_not_asked_for(status: int) -> None:
    """The list comes in pages of the registry's own length; every other parameter stays as it is."""
    async with FakeRegistry() as server, upstream_at(server.url) as upstream:
        for tag in ("1", "2", "3"):
            server.add(APP, tag, IMAGE)
        server.status_for = {"n=5000": status}

        page = await upstream.listing(APP, f"{APP}/tags/list?n=5000&last=1&x=%2f", "application/json")

        assert page.body == b'{"name": "library/app", "tags": ["2", "3"]}'
        assert server.log[-1].query == "last=1&x=%2f"
        server.status_for = {"/tags/": status}
        with pytest.raises(MethodRefused):
            await upstream.listing(APP, f"{APP}/tags/list?n=5000", "application/json")


@pytest.mark.parametrize(("status", "others"), [(404, True), (403, True), (405, False), (501, False)])
async def test_where_head_does_not_work_it_is_not_sent_for_a_while(status: int, *, others: bool) -> None:
    """Once a GET has brought what a HEAD refused: of the repository, or of all where HEAD as such is unknown."""
    clock = FakeClock()
    async with (
        HostileRegistry({"manifest": answers(status)}) as server,
        upstream_at(server.url, clock=clock) as upstream,
    ):
        filled(server, APP)
        server.methods = {"HEAD"}
        await upstream.head_manifest(APP, TAG, ACCEPT)
        await upstream.get_manifest(APP, TAG, ACCEPT)
        asked = server.count()

        await upstream.head_manifest(APP, TAG, ACCEPT)
        assert server.count() == asked
        await upstream.head_manifest(Repository("library/other"), TAG, ACCEPT)
        assert (server.count() > asked) is others
        server.methods = set()
        clock.advance(HEADLESS_FOR)
        assert (await upstream.head_manifest(APP, TAG, ACCEPT)).digest == TOP


async def test_a_head_that_was_right_is_sent_again() -> None:
    """A tag that is absent for HEAD and GET says nothing against HEAD."""
    async with FakeRegistry() as server, upstream_at(server.url) as upstream:
        filled(server, APP)
        await upstream.head_manifest(APP, NONE, ACCEPT)
        with pytest.raises(Absent):
            await upstream.get_manifest(APP, NONE, ACCEPT)

        assert (await upstream.head_manifest(APP, TAG, ACCEPT)).digest == TOP
