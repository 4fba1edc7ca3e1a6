from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from obol.machine.tasks import spawn
from obol.oci.mediatypes import OCI_INDEX, upstream_accept
from obol.oci.references import Digest, Repository, Tag
from obol.registry.policy.health import FAILURES_TO_OPEN, FIRST_COOLDOWN, Ask, Hold, Reason
from obol.registry.upstream.base import (
    Absent,
    Denied,
    ManifestHead,
    Misbehaved,
    OnHold,
    RateLimit,
    RateLimited,
    Unavailable,
    UpstreamError,
)
from obol.registry.upstream.client import ATTEMPTS
from tests.fakes import behaviours
from tests.fakes.clock import START, FakeClock
from tests.fakes.content import make_image
from tests.fakes.ghcr import FakeGhcr
from tests.fakes.hostile import HostileRegistry
from tests.fakes.hub import FakeHub
from tests.fakes.registry import FakeRegistry, Forced
from tests.fakes.server import Answer
from tests.unit.registry.upstream.reach import APP, DATA, DIGEST, LIMITS, SIZE, everything, shelved, upstream_at

if TYPE_CHECKING:
    from obol.registry.upstream.client import RegistryUpstream
    from tests.fakes.behaviours import Behaviour, Exchange

IMAGE = make_image(1000)
TOP = Digest(IMAGE.top)
TAG = Tag("1")
NONE = Tag("none")
LAYER = Digest(DIGEST)
ACCEPT = upstream_accept(())
QUICK = replace(LIMITS, manifest=0.1, blob_headers=0.1)


def served(fake: FakeRegistry | FakeHub) -> None:
    """Push the image."""
    fake.add(APP, TAG, IMAGE)


async def unavailable(exchange: Exchange) -> None:
    """503."""
    await exchange.say(Answer(503))


async def failures(upstream: RegistryUpstream, number: int) -> None:
    """Ask so often, in vain."""
    for _ in range(number):
        with pytest.raises(Unavailable):
            await upstream.head_manifest(APP, TAG, ACCEPT)


async def test_a_head_tells_what_a_tag_means() -> None:
    """Digest, type and size, without the body, and without using up a pull."""
    async with FakeHub() as hub, upstream_at(hub.url) as upstream:
        served(hub)

        head = await upstream.head_manifest(APP, TAG, ACCEPT)

        assert head == ManifestHead(TOP, OCI_INDEX, len(IMAGE.index.body))
        assert hub.api.remaining == 100
        assert hub.api.log[-1].header("Accept") == ACCEPT
        assert upstream.requests == 1


@pytest.mark.parametrize("status", [405, 501])
async def test_an_upstream_without_head_tells_nothing(status: int) -> None:
    """That is no error: the caller is to GET."""
    async with FakeRegistry() as server, upstream_at(server.url) as upstream:
        server.status_for = {"/manifests/": status}

        assert await upstream.head_manifest(APP, TAG, ACCEPT) == ManifestHead(None, "", None)


@pytest.mark.parametrize("behaviour", [behaviours.html, behaviours.malformed_digest], ids=["html", "malformed"])
async def test_a_head_without_a_digest_says_so(behaviour: Behaviour) -> None:
    """A page, or a digest that is none: nothing of it is believed."""
    async with HostileRegistry({"manifest": behaviour}) as server, upstream_at(server.url) as upstream:
        served(server)

        assert (await upstream.head_manifest(APP, TAG, ACCEPT)).digest is None


async def test_a_manifest_by_tag_and_by_digest() -> None:
    """Its bytes as they were sent, and the digest of these bytes."""
    async with FakeGhcr() as ghcr, upstream_at(ghcr.url) as upstream:
        served(ghcr)

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


async def test_a_lying_digest_header_is_a_lie_by_tag_and_ignored_by_digest() -> None:
    """By tag the two cannot both be true; by digest we know what we asked for."""
    async with HostileRegistry({"manifest": behaviours.lying_digest}) as server, upstream_at(server.url) as upstream:
        served(server)

        with pytest.raises(Misbehaved, match="digest"):
            await upstream.get_manifest(APP, TAG, ACCEPT)
        assert (await upstream.get_manifest(APP, TOP, ACCEPT)).digest == TOP


@pytest.mark.parametrize(("reference", "told"), [(TAG, True), (TAG, False), (TOP, True)])
@pytest.mark.parametrize("behaviour", [behaviours.gzipped, behaviours.gzip_label], ids=["encoded", "labelled"])
async def test_an_encoded_manifest_is_decoded(behaviour: Behaviour, reference: Tag | Digest, *, told: bool) -> None:
    """Raw bytes are tried before decoded ones; where no digest decides, what can be decoded is."""
    async with HostileRegistry({"manifest": behaviour}) as server, upstream_at(server.url) as upstream:
        served(server)
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
        served(server)

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
        served(server)

        with pytest.raises(Misbehaved):
            await upstream.get_manifest(APP, TAG, ACCEPT)


@pytest.mark.parametrize(
    ("status", "kind"), [(404, Absent), (401, Denied), (403, Denied), (400, Misbehaved), (429, RateLimited)]
)
async def test_a_healthy_no_is_asked_for_once(status: int, kind: type[UpstreamError]) -> None:
    """Absent, denied, limited: no second attempt, no failure, and the next question starts afresh."""
    async with FakeRegistry() as server, upstream_at(server.url) as upstream:
        served(server)
        server.status_for = {"/manifests/none": status}

        for ask in (upstream.get_manifest, upstream.head_manifest):
            upstream.health = replace(upstream.health, limited_until=None)
            with pytest.raises(kind):
                await ask(APP, NONE, ACCEPT)

        assert server.count(part="none") == 2
        assert upstream.health.failures == 0
        upstream.health = replace(upstream.health, limited_until=None)
        assert (await upstream.get_manifest(APP, TAG, ACCEPT)).digest == TOP


async def test_what_may_pass_is_tried_again() -> None:
    """503, a closed connection, then the answer: one success, after short waits, and no failure is counted."""
    # aiohttp, too, sends a request once more when the connection is closed without an answer.
    trouble = [unavailable, behaviours.closed_at_once, behaviours.closed_at_once]

    async def recovering(exchange: Exchange) -> None:
        await (trouble.pop()(exchange) if trouble else exchange.say(exchange.honest))

    clock = FakeClock()
    async with HostileRegistry({"manifest": recovering}) as server, upstream_at(server.url, clock=clock) as upstream:
        served(server)

        assert (await upstream.get_manifest(APP, TAG, ACCEPT)).digest == TOP

        assert server.count() == 4
        assert len(clock.sleeps) == 2
        assert clock.sleeps[0] <= 0.1
        assert clock.sleeps[1] <= 0.2
        assert upstream.health.failures == 0


async def test_attempts_are_few() -> None:
    """An upstream that stays broken is asked so often and no more; that is one failure, and its words are kept."""
    async with FakeRegistry() as server, upstream_at(server.url) as upstream:
        server.status_for = {"/manifests/": 502}

        await failures(upstream, 1)

        assert server.count() == ATTEMPTS
        assert upstream.requests == ATTEMPTS
        assert upstream.health.failures == 1
        assert upstream.last_problem == "the upstream answered 502"


@pytest.mark.parametrize(
    "behaviour", [behaviours.stall_before_headers, behaviours.stall_mid_body], ids=["head", "body"]
)
async def test_a_silent_upstream_is_given_up_in_time(behaviour: Behaviour) -> None:
    """The whole question has a time limit, whatever the attempts do."""
    async with HostileRegistry({"manifest": behaviour}) as server, upstream_at(server.url, QUICK) as upstream:
        served(server)
        loop = asyncio.get_running_loop()
        asked = loop.time()

        with pytest.raises(Unavailable):
            await upstream.get_manifest(APP, TAG, ACCEPT)

        assert loop.time() - asked < 0.5
        assert upstream.health.failures == 1


async def test_the_breaker_opens_and_closes() -> None:
    """A broken upstream is soon not asked at all; after the cool-down one question decides."""
    clock = FakeClock()
    async with FakeRegistry() as server, upstream_at(server.url, clock=clock) as upstream:
        served(server)
        server.status_for = {"/manifests/": 500}
        await failures(upstream, FAILURES_TO_OPEN)
        asked = server.count()

        with pytest.raises(OnHold, match="failing; next try in 5 s") as told:
            await upstream.head_manifest(APP, TAG, ACCEPT)

        assert told.value.hold.reason is Reason.BROKEN
        assert server.count() == asked
        clock.advance(FIRST_COOLDOWN)
        assert upstream.gate() == Ask(probe=True)
        await failures(upstream, 1)
        assert isinstance(upstream.gate(), Hold)
        server.status_for = {}
        clock.advance(2 * FIRST_COOLDOWN)
        await upstream.head_manifest(APP, TAG, ACCEPT)
        assert upstream.gate() == Ask()


async def test_only_one_probe_is_sent() -> None:
    """While the breaker is open and the cool-down over, one of many who ask is let through."""
    clock = FakeClock()
    async with FakeRegistry() as server, upstream_at(server.url, clock=clock) as upstream:
        served(server)
        server.status_for = {"/manifests/": 500}
        await failures(upstream, FAILURES_TO_OPEN)
        server.status_for = {}
        server.delay = asyncio.Event()
        asked = server.count()
        clock.advance(FIRST_COOLDOWN)
        probe = spawn(upstream.head_manifest(APP, TAG, ACCEPT), name="probe")
        await server.until(asked + 1)

        for _ in range(3):
            with pytest.raises(OnHold):
                await upstream.head_manifest(APP, TAG, ACCEPT)

        server.delay.set()
        assert (await probe).digest == TOP
        assert server.count() == asked + 1


async def test_questions_that_fail_together_open_the_breaker_once() -> None:
    """Twenty at once leave the first cool-down, not the longest."""
    async with FakeRegistry() as server, upstream_at(server.url) as upstream:
        server.status_for = {"/manifests/": 500}

        await asyncio.gather(*(upstream.head_manifest(APP, TAG, ACCEPT) for _ in range(20)), return_exceptions=True)

        held = upstream.gate()
        assert isinstance(held, Hold)
        assert held.seconds <= FIRST_COOLDOWN


@pytest.mark.parametrize("retry_after", ["30", "Mon, 21 Sep 2026 14:13:50 GMT"])
async def test_a_rate_limit_stops_all_questions(retry_after: str) -> None:
    """After one 429 nothing is asked until the moment it named, about any repository; then again."""
    clock = FakeClock(date=START)
    async with FakeRegistry() as server, upstream_at(server.url, clock=clock) as upstream:
        served(server)
        server.status_for = {"/manifests/": Forced(429, (("Retry-After", retry_after),), b"x" * 1000)}
        with pytest.raises(RateLimited, match="next try in 30 s"):
            await upstream.get_manifest(APP, TAG, ACCEPT)

        with pytest.raises(OnHold, match="rate-limited"):
            await upstream.head_manifest(Repository("library/other"), TAG, ACCEPT)
        with pytest.raises(OnHold):
            await upstream.blob(APP, LAYER, None).open(0, None)

        assert server.count() == 1
        assert "rate limit" in upstream.last_problem
        server.status_for = {}
        clock.advance(30.0)
        await upstream.head_manifest(APP, TAG, ACCEPT)


async def test_the_budget_is_remembered() -> None:
    """What the last answer that spoke of it said; an answer that is silent changes nothing."""
    async with FakeHub() as hub, upstream_at(hub.url) as upstream:
        served(hub)
        for hub.api.rate_headers in (True, False):
            await upstream.get_manifest(APP, TAG, ACCEPT)

            assert upstream.budget == RateLimit(100, 99, 21600)


@pytest.mark.parametrize(
    ("with_head", "with_length", "size"), [(True, True, SIZE), (True, False, None), (False, True, SIZE)]
)
async def test_the_size_of_a_blob(*, with_head: bool, with_length: bool, size: int | None) -> None:
    """As its HEAD says; where there is none, as a range of one byte says."""
    async with FakeRegistry() as server, upstream_at(server.url) as upstream:
        shelved(server)
        server.head_supported, server.content_length = with_head, with_length

        assert await upstream.head_blob(APP, LAYER) == size
        assert server.body_bytes() <= 100
        with pytest.raises(Absent):
            await upstream.head_blob(APP, Digest.of(b""))


async def test_a_page_has_no_size_of_a_blob() -> None:
    """The length of a captive portal's page is not the blob's."""
    async with HostileRegistry({"blob": behaviours.html}) as server, upstream_at(server.url) as upstream:
        with pytest.raises(Misbehaved, match="web page"):
            await upstream.head_blob(APP, LAYER)


async def test_opening_a_blob_observes_health() -> None:
    """It is tried again like any question, counted as one, and not asked for while the breaker is open."""
    async with (
        HostileRegistry({"blob": behaviours.times(1, unavailable)}) as server,
        upstream_at(server.url) as upstream,
    ):
        shelved(server)

        assert await everything(await upstream.blob(APP, LAYER, SIZE).open(0, None)) == DATA
        server.behaviours["blob"] = unavailable
        for _ in range(FAILURES_TO_OPEN):
            with pytest.raises(Unavailable):
                await upstream.blob(APP, LAYER, SIZE).open(0, 10)
        with pytest.raises(OnHold):
            await upstream.blob(APP, LAYER, SIZE).open(0, 10)


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


async def test_questions_do_not_wait_behind_blobs() -> None:
    """With every connection for blobs in use a HEAD is answered as ever."""
    async with FakeRegistry() as server, upstream_at(server.url) as upstream:
        served(server)
        await upstream.slots.first(0)
        while upstream.slots.more():
            pass

        assert (await upstream.head_manifest(APP, TAG, ACCEPT)).digest == TOP
