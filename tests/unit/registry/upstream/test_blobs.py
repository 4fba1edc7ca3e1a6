import asyncio

import pytest

from obol.machine.tasks import spawn
from obol.registry.upstream.blobs import MAX_REFRESHES
from obol.registry.upstream.ports import (
    Absent,
    Busy,
    Denied,
    Misbehaved,
    RangesRefused,
    RateLimited,
    Unavailable,
    UpstreamError,
)
from tests.fakes.ghcr import FakeGhcr
from tests.fakes.hostile import HostileRegistry
from tests.fakes.hub import FakeHub
from tests.fakes.optional import refuses_ranges
from tests.fakes.quay import FakeQuay
from tests.fakes.registry import FakeRegistry, Forced
from tests.unit.registry.upstream.reach import DATA, DIGEST, SIZE, reached, shelved


@pytest.mark.parametrize(
    ("status", "kind"), [(404, Absent), (403, Denied), (429, RateLimited), (500, Unavailable), (416, Misbehaved)]
)
async def test_a_status_is_judged(status: int, kind: type[UpstreamError]) -> None:
    """What is no content is the error that its status stands for."""
    async with FakeRegistry() as server, reached(server.url) as at:
        server.status_for = {DIGEST: status}

        with pytest.raises(kind):
            await at.blob.open_once(0, None)


async def test_a_refused_range_is_told_from_a_refused_blob() -> None:
    """A 416 to a range leaves the plain request; the connection goes on being used."""
    async with FakeRegistry() as server, reached(server.url) as at:
        shelved(server)

        with pytest.raises(RangesRefused):
            await at.blob.open_once(SIZE, SIZE + 10)

        assert await at.fetch(0, None, plain=True) == DATA
        assert server.connections == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 406, 410, 412, 416, 418, 500, 501])
async def test_a_store_that_refuses_ranges_in_whatever_way(status: int) -> None:
    """That is no absence, denial or failure: the plain request remains, here and where the registry redirects to."""
    async with FakeHub() as hub, reached(hub.url) as at:
        shelved(hub.api)
        hub.cdn.refuses_ranges = status

        with pytest.raises(RangesRefused):
            await at.blob.open_once(0, 10_000)

        assert await at.fetch(0, None, plain=True) == DATA


@pytest.mark.parametrize(("status", "kind"), [(403, RangesRefused), (416, RangesRefused), (500, Unavailable)])
async def test_after_ranges_were_honoured(status: int, kind: type[UpstreamError]) -> None:
    """A refusal may still be of this range; a failure of the server's is no refusal then."""
    behaviour = refuses_ranges(status, after=1)
    async with HostileRegistry({"blob": behaviour}) as server, reached(server.url) as at:
        shelved(server)
        await at.fetch(0, 1000)

        with pytest.raises(kind):
            await at.blob.open_once(1000, 2000)


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (503, Unavailable), (504, Unavailable)])
async def test_a_range_may_meet_other_trouble(status: int, kind: type[UpstreamError]) -> None:
    """A rate limit and a registry that is away are not about the range."""
    async with FakeRegistry() as server, reached(server.url) as at:
        shelved(server)
        server.status_for = {DIGEST: status}

        with pytest.raises(kind):
            await at.blob.open_once(0, 1000)


async def test_a_206_that_is_the_whole_will_do() -> None:
    """Some caches answer a plain request with a part that is all there is."""
    async with FakeRegistry() as server, reached(server.url) as at:
        server.status_for = {DIGEST: Forced(206, (("Content-Range", f"bytes 0-{SIZE - 1}/{SIZE}"),), DATA)}

        stream = await at.blob.open_once(0, None, plain=True)

        assert (stream.ranged, stream.total) == (False, SIZE)
        stream.close()


async def test_a_page_in_place_of_a_range_says_nothing_of_the_blob() -> None:
    """It may come to those alone who ask for a range; in place of the blob it is no answer."""
    async with FakeRegistry() as server, reached(server.url, SIZE) as at:
        server.status_for = {DIGEST: Forced(200, (("Content-Type", "text/html"),), b"<html>")}

        with pytest.raises(RangesRefused):
            await at.blob.open_once(0, 1000)
        with pytest.raises(Misbehaved):
            await at.blob.open_once(0, None, plain=True)


async def test_a_plain_request_is_led_its_own_way() -> None:
    """A gateway may lead ranges elsewhere than the blob: where none has come, the registry is asked anew."""
    async with FakeHub() as hub, reached(hub.url) as at:
        shelved(hub.api)
        page = {"/login": Forced(200, (), b"log in")}
        hub.cdn.status_for = {**page, "/": Forced(302, (("Location", "/login"),))}
        with pytest.raises(RangesRefused):
            await at.blob.open_once(0, 1000)
        hub.cdn.status_for = page

        assert await at.fetch(0, None, plain=True) == DATA


@pytest.mark.parametrize(("fields", "kind"), [((), Unavailable), ((("Retry-After", "30"),), Busy)])
async def test_a_store_that_allows_few_connections(
    fields: tuple[tuple[str, str], ...], kind: type[Unavailable]
) -> None:
    """A 429 amid segments that come is no reason to leave the blob alone, unless the store says for how long."""
    async with FakeHub() as hub, reached(hub.url) as at:
        shelved(hub.api)
        await at.fetch(0, 1000)
        hub.cdn.status_for = {"/": Forced(429, fields)}

        with pytest.raises(Unavailable) as problem:
            await at.blob.open_once(1000, 2000)

        assert type(problem.value) is kind


async def test_the_registry_is_asked_once_for_all_segments() -> None:
    """Where the registry redirects, the other segments go where the first was sent, without a token."""
    async with FakeHub() as hub, reached(hub.url) as at:
        shelved(hub.api)

        parts = [await at.fetch(start, start + 10_000) for start in range(0, SIZE, 10_000)]

        assert b"".join(parts) == DATA
        assert hub.api.count(part=DIGEST) == 2  # one of them to be told that a token is needed
        assert hub.cdn.count() == 10
        assert {seen.header("Authorization") for seen in hub.cdn.log} == {None}
        assert hub.cdn.connections == 1


async def test_segments_that_start_together_ask_the_registry_once() -> None:
    """Those that come while the registry is asked wait for its answer."""
    async with FakeHub() as hub, reached(hub.url) as at:
        shelved(hub.api)

        parts = await asyncio.gather(*(at.fetch(start, start + 20_000) for start in range(0, SIZE, 20_000)))

        assert b"".join(parts) == DATA
        assert hub.api.count(part=DIGEST) == 2


@pytest.mark.parametrize("kind", [FakeGhcr, FakeQuay])
async def test_a_registry_that_sends_the_blob_itself_gets_its_token_each_time(kind: type[FakeGhcr | FakeQuay]) -> None:
    """Ten segments at once, no redirect: no segment is refused, and only the first learns of the token by a 401."""
    async with kind() as server, reached(server.url) as at:
        shelved(server)
        first = await at.fetch(0, 10_000)

        rest = await asyncio.gather(*(at.fetch(start, start + 10_000) for start in range(10_000, SIZE, 10_000)))

        assert first + b"".join(rest) == DATA
        assert [seen.status for seen in server.log if DIGEST in seen.target].count(401) == 1


async def test_segments_that_start_together_at_such_a_registry() -> None:
    """Also where nothing is known of the registry yet."""
    async with FakeGhcr() as server, reached(server.url) as at:
        shelved(server)

        parts = await asyncio.gather(*(at.fetch(start, start + 10_000) for start in range(0, SIZE, 10_000)))

        assert b"".join(parts) == DATA


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
async def test_an_expired_link_is_replaced(status: int) -> None:
    """Whatever an object store says of an old link: the registry is asked for a new one, and the segment comes."""
    async with FakeHub() as hub, reached(hub.url) as at:
        shelved(hub.api)
        assert await at.fetch(0, 1000) == DATA[:1000]
        old = hub.cdn.log[0].target
        hub.cdn.status_for = {old: Forced(status, (), b"<Error>expired</Error>")}

        assert await at.fetch(1000, 2000) == DATA[1000:2000]

        assert hub.cdn.count() == 3


async def test_links_that_are_good_for_one_request_are_refreshed_for_each() -> None:
    """Ten segments together, each link used up by the first who takes it: all of them come."""
    async with FakeHub() as hub, reached(hub.url) as at:
        shelved(hub.api)
        hub.cdn.uses = 1

        parts = [await at.fetch(start, start + 10_000) for start in range(0, SIZE, 10_000)]
        both = await asyncio.gather(*(at.fetch(start, start + 10_000) for start in (0, 10_000, 20_000)))

        assert b"".join(parts) == DATA
        assert b"".join(both) == DATA[:30_000]


async def test_links_that_never_work_are_given_up() -> None:
    """Where no byte comes through in between, only so many links are tried."""
    async with FakeHub() as hub, reached(hub.url) as at:
        shelved(hub.api)
        (await at.blob.open_once(0, 1000)).close()
        for _ in range(MAX_REFRESHES):
            hub.cdn.expire_all()
            (await at.blob.open_once(0, 1000)).close()
        hub.cdn.expire_all()

        with pytest.raises(Unavailable, match="expire faster"):
            await at.blob.open_once(0, 1000)


async def test_a_token_that_ended_during_the_blob_is_replaced() -> None:
    """The link is too old, and so is the token: both are renewed, and the stale header is not sent to the store."""
    async with FakeHub() as hub, reached(hub.url) as at:
        shelved(hub.api)
        await at.fetch(0, 1000)
        hub.cdn.expire_all()
        hub.office.revoke_all()

        assert await at.fetch(1000, 2000) == DATA[1000:2000]

        assert hub.auth.count() == 2
        assert {seen.header("Authorization") for seen in hub.cdn.log} == {None}


async def test_a_cancelled_opening_leaves_nothing_open() -> None:
    """Who stops waiting for the first byte leaves no connection behind, and others can go on."""
    async with FakeRegistry() as server, reached(server.url) as at:
        shelved(server)
        server.delay = asyncio.Event()
        opening = spawn(at.blob.open_once(0, None), name="opening")
        await server.until(1)

        opening.cancel()

        with pytest.raises(asyncio.CancelledError):
            await opening
        server.delay.set()
        assert await at.fetch(0, None) == DATA
        assert server.connections == 1
