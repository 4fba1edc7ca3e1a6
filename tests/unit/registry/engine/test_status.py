from __future__ import annotations

from dataclasses import replace

from obol.registry.control.api import RateLimit, RequestCounts, UpstreamStatus
from obol.registry.engine.status import ended_badly, upstreams
from obol.registry.policy.health import Health
from tests.fakes.upstream import FakeUpstream
from tests.unit.registry.world import world


async def test_upstreams() -> None:
    """Each upstream is told with its health and what was asked of us and of it."""
    one, other = FakeUpstream("one.test"), FakeUpstream("other.test")
    async with world(one, other) as w:
        w.scopes[0].counters.hit = 3
        w.scopes[0].counters.bytes_from_cache = 700
        one.health = Health(answered=True)
        one.budget = RateLimit(100, 76)
        one.last_problem = "was down yesterday"
        one.requests = 5
        w.scopes[0].counters.fills_stalled = 2
        first, second = upstreams(w.engine)
        bad = ended_badly(w.engine)

    assert first == UpstreamStatus(
        registry="one.test",
        url="https://one.test",
        health="ok",
        detail="",
        retry_after=None,
        requests=RequestCounts(hit=3),
        bytes_from_cache=700,
        bytes_from_upstream=0,
        upstream_requests=5,
        throughput=None,
        ratelimit=RateLimit(100, 76),
    )
    assert (second.health, second.ratelimit) == ("unknown", None)
    assert bad["one.test"] == {"failed": 0, "corrupt": 0, "stalled": 2}


async def test_trouble() -> None:
    """An upstream in trouble is told with what was wrong, and when it is asked again."""
    async with world() as w:
        w.upstream.health = replace(Health(), limited_until=w.clock.monotonic() + 30.0)
        w.upstream.last_problem = "too many requests"
        (told,) = upstreams(w.engine)

    assert (told.health, told.detail, told.retry_after) == ("rate-limited", "too many requests", 30.0)
