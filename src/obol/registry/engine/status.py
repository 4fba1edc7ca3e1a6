"""What runs and what it did, as one value; its JSON is what `obol cache status -o json` shows, and stable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from obol.registry.policy.health import describe

if TYPE_CHECKING:
    from obol.registry.engine.engine import Engine
    from obol.registry.store.ports import Usage
    from obol.registry.upstream.ports import RateLimit


class Amount(msgspec.Struct, frozen=True):
    """Number of objects and their bytes."""

    count: int
    size: int


class UpstreamStatus(msgspec.Struct, frozen=True):
    """One upstream: its health, and what was asked of us and of it."""

    registry: str
    url: str
    health: str
    """unknown (not asked yet), ok, failing, or rate-limited"""
    detail: str
    """The last trouble; "" where there was none."""
    retry_after: float | None
    """Seconds until it is asked again, None if it may be asked now."""
    requests: dict[str, int]
    """Clients' requests by outcome: hit, miss, stale, error."""
    bytes_from_cache: int
    bytes_from_upstream: int
    upstream_requests: int
    throughput: float | None
    """Bytes a second that blobs came with, None where too little came to tell."""
    ratelimit: RateLimit | None
    transfers: dict[str, int] = {}
    """Transfers that brought nothing, by what became of them: failed (all), corrupt, stalled."""


class ListenerStatus(msgspec.Struct, frozen=True):
    """One open port."""

    registry: str
    address: str
    port: int


class Status(msgspec.Struct, frozen=True):
    """The whole engine."""

    version: str
    pid: int
    store: str
    started_at: float
    """Wall time, seconds since 1970."""
    offline: bool
    fills: int
    """Blobs being fetched now."""
    content: Amount
    partials: Amount
    listeners: list[ListenerStatus]
    upstreams: list[UpstreamStatus]
    store_state: str = "ok"
    """ok; full, read-only or failing: what comes is passed on, and not kept"""
    store_detail: str = ""
    """The last trouble; "" where there was none."""


def upstreams(engine: Engine) -> list[UpstreamStatus]:
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
                requests={
                    "hit": counters.hit,
                    "miss": counters.miss,
                    "stale": counters.stale,
                    "error": counters.error,
                },
                bytes_from_cache=counters.bytes_from_cache,
                bytes_from_upstream=counters.bytes_from_upstream,
                upstream_requests=upstream.requests,
                throughput=counters.throughput(),
                ratelimit=upstream.budget,
                transfers={
                    "failed": counters.fills_failed,
                    "corrupt": counters.corrupt,
                    "stalled": counters.fills_stalled,
                },
            )
        )
    return found


def amount(usage: Usage) -> Amount:
    """A usage for people and programs outside."""
    return Amount(usage.count, usage.size)
