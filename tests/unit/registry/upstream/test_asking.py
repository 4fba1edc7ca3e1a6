import asyncio
from dataclasses import replace

import pytest

from obol.machine.tasks import spawn
from obol.oci.references import Digest, Repository, Tag
from obol.registry.control.api import Problem
from obol.registry.policy.health import FAILURES_TO_OPEN, FIRST_COOLDOWN, Ask, Hold
from obol.registry.upstream.asking import ATTEMPTS, UNKNOWN_BURST
from obol.registry.upstream.ports import (
    Absent,
    Busy,
    Denied,
    Misbehaved,
    NoConnection,
    OnHold,
    RateLimited,
    TooManyMisses,
    Unavailable,
    UpstreamError,
)
from tests.fakes import behaviours
from tests.fakes.behaviours import Behaviour, Exchange
from tests.fakes.clock import START, FakeClock
from tests.fakes.content import make_image
from tests.fakes.hostile import HostileRegistry
from tests.fakes.hub import FakeHub
from tests.fakes.registry import FakeRegistry, Forced
from tests.fakes.server import Answer
from tests.limits import eventually, scaled
from tests.unit.registry.upstream.reach import (
    ACCEPT,
    APP,
    DATA,
    DIGEST,
    IMAGE,
    LIMITS,
    NONE,
    NOWHERE,
    QUICK,
    SIZE,
    TAG,
    TOP,
    everything,
    failures,
    filled,
    shelved,
    upstream_at,
)


async def unavailable(exchange: Exchange) -> None:
    """503."""
    await exchange.say(Answer(503))


async def test_what_may_pass_is_tried_again() -> None:
    """503, a closed connection, then the answer: one success, after short waits, and no failure is counted."""
    # aiohttp, too, sends a request once more when the connection is closed without an answer.
    trouble = [unavailable, behaviours.closed_at_once, behaviours.closed_at_once]

    async def recovering(exchange: Exchange) -> None:
        await (trouble.pop()(exchange) if trouble else exchange.say(exchange.honest))

    clock = FakeClock()
    async with HostileRegistry({"manifest": recovering}) as server, upstream_at(server.url, clock=clock) as upstream:
        filled(server, APP)

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
        filled(server, APP)
        loop = asyncio.get_running_loop()
        asked = loop.time()

        with pytest.raises(Unavailable):
            await upstream.get_manifest(APP, TAG, ACCEPT)

        assert loop.time() - asked < scaled(0.5)
        assert upstream.health.failures == 1


async def test_the_breaker_opens_and_closes() -> None:
    """A broken upstream is soon not asked at all; after the cool-down one question decides."""
    clock = FakeClock()
    async with FakeRegistry() as server, upstream_at(server.url, clock=clock) as upstream:
        filled(server, APP)
        server.status_for = {"/manifests/": 500}
        await failures(upstream, FAILURES_TO_OPEN)
        asked = server.count()

        with pytest.raises(OnHold, match="failing; next try in 5 s") as told:
            await upstream.get_manifest(APP, TAG, ACCEPT)

        assert told.value.hold.reason is Problem.FAILING
        assert server.count() == asked
        clock.advance(FIRST_COOLDOWN)
        assert upstream.gate() == Ask(probe=True)
        await failures(upstream, 1)
        assert isinstance(upstream.gate(), Hold)
        server.status_for = {}
        clock.advance(2 * FIRST_COOLDOWN)
        await upstream.get_manifest(APP, TAG, ACCEPT)
        assert upstream.gate() == Ask()


async def test_only_one_probe_is_sent() -> None:
    """While the breaker is open and the cool-down over, one of many who ask is let through."""
    clock = FakeClock()
    async with FakeRegistry() as server, upstream_at(server.url, clock=clock) as upstream:
        filled(server, APP)
        server.status_for = {"/manifests/": 500}
        await failures(upstream, FAILURES_TO_OPEN)
        server.status_for = {}
        server.delay = asyncio.Event()
        asked = server.count()
        clock.advance(FIRST_COOLDOWN)
        probe = spawn(upstream.get_manifest(APP, TAG, ACCEPT), name="probe")
        await server.until(asked + 1)

        for _ in range(3):
            with pytest.raises(OnHold):
                await upstream.get_manifest(APP, TAG, ACCEPT)

        server.delay.set()
        assert (await probe).digest == TOP
        assert server.count() == asked + 1


async def test_questions_that_fail_together_open_the_breaker_once() -> None:
    """Twenty at once leave the first cool-down, not the longest."""
    async with FakeRegistry() as server, upstream_at(server.url) as upstream:
        server.status_for = {"/manifests/": 500}
        names = [Repository(f"library/bad{one}") for one in range(20)]
        await asyncio.gather(*(upstream.get_manifest(name, TAG, ACCEPT) for name in names), return_exceptions=True)

        held = upstream.gate()
        assert isinstance(held, Hold)
        assert held.seconds <= FIRST_COOLDOWN


async def test_one_bad_path_leaves_the_others_alone() -> None:
    """What always fails is soon not asked for itself, for a while; other paths are asked as ever."""
    clock = FakeClock()
    async with FakeRegistry() as server, upstream_at(server.url, clock=clock) as upstream:
        filled(server, APP)
        server.status_for = {"bad": 500}
        bad = Repository("library/bad")
        for _ in range(FAILURES_TO_OPEN):
            with pytest.raises(Unavailable):
                await upstream.get_manifest(bad, TAG, ACCEPT)
        asked = server.count()

        with pytest.raises(OnHold, match="failing; next try in 5 s"):
            await upstream.get_manifest(bad, TAG, ACCEPT)

        assert server.count() == asked
        assert upstream.gate() == Ask()
        assert (await upstream.get_manifest(APP, TAG, ACCEPT)).digest == TOP
        server.status_for = {}
        server.add(bad, TAG, IMAGE)
        clock.advance(FIRST_COOLDOWN)
        assert (await upstream.get_manifest(bad, TAG, ACCEPT)).digest == TOP


async def test_a_busy_path_is_asked_when_it_said() -> None:
    """503 with Retry-After is not asked again at once, and holds this path only."""
    clock = FakeClock()
    async with FakeRegistry() as server, upstream_at(server.url, clock=clock) as upstream:
        filled(server, APP)
        server.status_for = {"/manifests/none": Forced(503, (("Retry-After", "30"),))}

        with pytest.raises(Busy):
            await upstream.get_manifest(APP, NONE, ACCEPT)
        with pytest.raises(OnHold, match="next try in 30 s"):
            await upstream.get_manifest(APP, NONE, ACCEPT)

        assert server.count() == 1
        assert (await upstream.get_manifest(APP, TAG, ACCEPT)).digest == TOP
        server.status_for = {}
        clock.advance(30.0)
        with pytest.raises(Absent):
            await upstream.get_manifest(APP, NONE, ACCEPT)


async def test_a_store_that_is_away_leaves_the_registry() -> None:
    """That a host which blobs are redirected to is not there is a matter of their repository."""
    async with (
        HostileRegistry({"blob": behaviours.redirect_to("http://127.0.0.1:1/x")}) as server,
        upstream_at(server.url) as upstream,
    ):
        filled(server, APP)
        for _ in range(FAILURES_TO_OPEN + 1):
            with pytest.raises((NoConnection, OnHold)):
                await upstream.blob(APP, Digest(DIGEST), SIZE).open(0, 10)

        assert isinstance(upstream.gate(), Ask)
        assert (await upstream.get_manifest(APP, TAG, ACCEPT)).digest == TOP


async def test_a_rate_limit_of_the_store_leaves_the_registry() -> None:
    """A host that blobs are redirected to limits what is there; only that blob is left alone."""
    async with FakeHub() as hub, upstream_at(hub.url) as upstream:
        shelved(hub.api)
        hub.cdn.status_for = {"/": Forced(429, (("Retry-After", "30"),))}

        with pytest.raises(Busy, match="429"):
            await upstream.blob(APP, Digest(DIGEST), SIZE).open(0, None)
        with pytest.raises(OnHold, match="next try in 30 s"):
            await upstream.blob(APP, Digest(DIGEST), SIZE).open(0, None)

        assert isinstance(upstream.gate(), Ask)


async def test_nobody_there_closes_the_registry() -> None:
    """A connection that is refused is no matter of one repository."""
    async with upstream_at(NOWHERE) as upstream:
        for _ in range(FAILURES_TO_OPEN):
            with pytest.raises(NoConnection):
                await upstream.head_manifest(APP, TAG, ACCEPT)

        assert isinstance(upstream.gate(), Hold)


async def test_a_late_answer_comes() -> None:
    """An upstream that is slower than clients wait is a failing one until it answers, and then a good one."""
    async with FakeRegistry() as server, upstream_at(server.url, replace(LIMITS, manifest=0.05)) as upstream:
        filled(server, APP)
        server.delay = asyncio.Event()
        asking = spawn(upstream.get_manifest(APP, TAG, ACCEPT), name="asking")
        await server.until(1)
        await eventually(lambda: upstream.health.failures == 1)

        server.delay.set()

        assert (await asking).digest == TOP
        assert upstream.health.failures == 0


@pytest.mark.parametrize("retry_after", ["30", "Mon, 21 Sep 2026 14:13:50 GMT"])
async def test_a_rate_limit_stops_all_questions(retry_after: str) -> None:
    """After one 429 nothing is asked until the moment it named, about any repository; then again."""
    clock = FakeClock(date=START)
    async with FakeRegistry() as server, upstream_at(server.url, clock=clock) as upstream:
        filled(server, APP)
        server.status_for = {"/manifests/": Forced(429, (("Retry-After", retry_after),), b"x" * 1000)}
        with pytest.raises(RateLimited, match="next try in 30 s"):
            await upstream.get_manifest(APP, TAG, ACCEPT)

        with pytest.raises(OnHold, match="rate-limited"):
            await upstream.head_manifest(Repository("library/other"), TAG, ACCEPT)
        with pytest.raises(OnHold):
            await upstream.blob(APP, Digest(DIGEST), None).open(0, None)

        assert server.count() == 1
        assert "rate limit" in upstream.last_problem
        server.status_for = {}
        clock.advance(30.0)
        await upstream.head_manifest(APP, TAG, ACCEPT)


async def test_opening_a_blob_observes_health() -> None:
    """It is tried again like any question, counted as one, and not asked for while the breaker is open."""
    async with (
        HostileRegistry({"blob": behaviours.times(1, unavailable)}) as server,
        upstream_at(server.url) as upstream,
    ):
        shelved(server)

        assert await everything(await upstream.blob(APP, Digest(DIGEST), SIZE).open(0, None)) == DATA
        server.behaviours["blob"] = unavailable
        for _ in range(FAILURES_TO_OPEN):
            with pytest.raises(Unavailable):
                await upstream.blob(APP, Digest(DIGEST), SIZE).open(0, 10)
        with pytest.raises(OnHold):
            await upstream.blob(APP, Digest(DIGEST), SIZE).open(0, 10)


@pytest.mark.parametrize(
    ("status", "kind"), [(404, Absent), (401, Denied), (403, Denied), (400, Misbehaved), (429, RateLimited)]
)
async def test_a_healthy_no_is_asked_for_once(status: int, kind: type[UpstreamError]) -> None:
    """Absent, denied, limited: no second attempt, no failure, and the next question starts afresh."""
    async with FakeRegistry() as server, upstream_at(server.url) as upstream:
        filled(server, APP)
        server.status_for = {"/manifests/none": status}

        with pytest.raises(kind):
            await upstream.get_manifest(APP, NONE, ACCEPT)

        assert server.count(part="none") == 1
        assert upstream.health.failures == 0
        upstream.health = replace(upstream.health, limited_until=None)
        assert (await upstream.get_manifest(APP, TAG, ACCEPT)).digest == TOP


async def test_made_up_names_cost_a_bounded_number_of_requests() -> None:
    """After a burst of names that it does not have the upstream is not asked, and real images are pulled meanwhile."""
    async with FakeRegistry() as server, upstream_at(server.url) as upstream:
        image = make_image(1000)
        server.add("library/app", "1", image)
        await upstream.get_manifest(APP, Tag("1"), ACCEPT)
        refused = 0

        for number in range(UNKNOWN_BURST + 50):
            try:
                await upstream.get_manifest(Repository(f"none/{number}"), Tag("1"), ACCEPT)
            except TooManyMisses:
                refused += 1
            except Absent:
                pass

        assert refused == 50
        assert server.count(part="none/") == UNKNOWN_BURST
        with pytest.raises(TooManyMisses):
            await upstream.head_manifest(Repository("none/0"), Tag("1"), ACCEPT)
        assert server.count(part="none/") == UNKNOWN_BURST
        assert (await upstream.get_manifest(APP, Tag("1"), ACCEPT)).digest == image.top
