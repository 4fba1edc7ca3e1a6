"""What the engine did, for the control socket and for /metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from obol.registry.control.api import RequestCounts, UpstreamStatus
from obol.registry.policy.health import describe

if TYPE_CHECKING:
    from obol.registry.engine.engine import Engine


def upstreams(engine: Engine) -> tuple[UpstreamStatus, ...]:
    """The part about upstreams."""
    now = engine.clock.monotonic()
    found = []
    for scope in engine.scopes:
        upstream, counters = scope.upstream, scope.counters
        health, retry_after = describe(upstream.health, now)
        found.append(
            UpstreamStatus(
                registry=scope.registry,
                url=upstream.settings.url,
                health=health,
                detail=upstream.last_problem if health not in {"ok", "unknown"} else "",
                retry_after=retry_after,
                requests=RequestCounts(counters.hit, counters.miss, counters.stale, counters.error),
                bytes_from_cache=counters.bytes_from_cache,
                bytes_from_upstream=counters.bytes_from_upstream,
                upstream_requests=upstream.requests,
                throughput=counters.throughput(),
                ratelimit=upstream.budget,
            )
        )
    return tuple(found)


def ended_badly(engine: Engine) -> dict[str, dict[str, int]]:
    """By registry: transfers that brought nothing, by what became of them."""
    return {
        scope.registry: {
            "failed": scope.counters.fills_failed,
            "corrupt": scope.counters.corrupt,
            "stalled": scope.counters.fills_stalled,
        }
        for scope in engine.scopes
    }
