from __future__ import annotations

from dataclasses import replace

import msgspec

from obol.registry.engine.status import Amount, ListenerStatus, Status, UpstreamStatus, amount, upstreams
from obol.registry.policy.health import Health
from obol.registry.store.ports import Usage
from obol.registry.upstream.ports import RateLimit
from tests.fakes.upstream import FakeUpstream
from tests.unit.registry.world import world


async def test_upstreams() -> None:
    """Each upstream is told with its health and what was asked of us and of it."""
    one, other = FakeUpstream("one.test"), FakeUpstream("other.test")
    async with world(one, other) as w:
        w.scopes[0].counters.hit = 3
        w.scopes[0].counters.bytes_from_cache = 700
        one.health = Health(answered=True)
        one.budget = RateLimit(100, 76, 21600)
        one.last_problem = "was down yesterday"
        one.requests = 5
        w.scopes[0].counters.fills_stalled = 2
        first, second = upstreams(w.engine)

    assert first == UpstreamStatus(
        registry="one.test",
        url="https://one.test",
        health="ok",
        detail="",
        retry_after=None,
        requests={"hit": 3, "miss": 0, "stale": 0, "error": 0},
        bytes_from_cache=700,
        bytes_from_upstream=0,
        upstream_requests=5,
        throughput=None,
        ratelimit=RateLimit(100, 76, 21600),
        transfers={"failed": 0, "corrupt": 0, "stalled": 2},
    )
    assert (second.health, second.ratelimit) == ("unknown", None)


async def test_trouble() -> None:
    """An upstream in trouble is told with what was wrong, and when it is asked again."""
    async with world() as w:
        w.upstream.health = replace(Health(), limited_until=w.clock.monotonic() + 30.0)
        w.upstream.last_problem = "too many requests"
        (told,) = upstreams(w.engine)

    assert (told.health, told.detail, told.retry_after) == ("rate-limited", "too many requests", 30.0)


def test_json() -> None:
    """The JSON has the names that scripts rely on."""
    status = Status(
        version="0.1",
        pid=42,
        store="/store",
        started_at=1.5,
        offline=False,
        fills=0,
        content=Amount(1, 2),
        partials=Amount(0, 0),
        listeners=[ListenerStatus("docker.io", "::1", 5)],
        upstreams=[],
    )

    assert msgspec.to_builtins(status) == {
        "version": "0.1",
        "pid": 42,
        "store": "/store",
        "started_at": 1.5,
        "offline": False,
        "fills": 0,
        "content": {"count": 1, "size": 2},
        "partials": {"count": 0, "size": 0},
        "listeners": [{"registry": "docker.io", "address": "::1", "port": 5}],
        "upstreams": [],
        "store_state": "ok",
        "store_detail": "",
    }


def test_amount() -> None:
    """A usage is told as it is."""
    assert amount(Usage(3, 4)) == Amount(3, 4)
