from obol.registry.control.api import Amount, EngineStatus, HealthName, RateLimit, RequestCounts, UpstreamStatus
from obol.registry.server.pages import healthz, metrics

OUTCOMES = RequestCounts(3, 2, 1, 0)


def upstream(registry: str, health: HealthName, limit: RateLimit | None) -> UpstreamStatus:
    """One upstream as a status tells it."""
    return UpstreamStatus(registry, f"https://{registry}", health, "", None, OUTCOMES, 700, 500, 9, None, limit)


def status(*upstreams: UpstreamStatus) -> EngineStatus:
    """A whole status."""
    return EngineStatus("0.1", 1, "/store", 0.0, False, (), Amount(4, 1000), Amount(0, 0), upstreams, fills=2)


def page(*upstreams: UpstreamStatus) -> dict[str, float]:
    """The page as names with labels, and their values."""
    _, _, body = metrics(status(*upstreams), {"docker.io": {"stalled": 1}})
    lines = [line for line in body.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def test_healthz() -> None:
    """Who answers, lives: nothing else is asked."""
    assert await healthz() == (200, "text/plain; charset=utf-8", b"ok\n")


def test_metrics() -> None:
    """What is counted is told per registry, for Prometheus."""
    told = page(upstream("docker.io", "ok", RateLimit(100, 76)), upstream("quay.io", "failing", None))

    assert told['obol_cache_requests_total{outcome="hit",registry="docker.io"}'] == 3
    assert told['obol_cache_served_bytes_total{registry="docker.io"}'] == 700
    assert told['obol_cache_fetched_bytes_total{registry="docker.io"}'] == 500
    assert told['obol_cache_upstream_requests_total{registry="quay.io"}'] == 9
    assert told['obol_cache_ratelimit_remaining{registry="docker.io"}'] == 76
    assert told['obol_cache_bad_transfers_total{registry="docker.io",why="stalled"}'] == 1
    assert told['obol_cache_upstream_ok{registry="docker.io"}'] == 1
    assert told['obol_cache_upstream_ok{registry="quay.io"}'] == 0
    assert told["obol_cache_content_bytes"] == 1000
    assert told["obol_cache_content_objects"] == 4
    assert told["obol_cache_fills"] == 2


def test_rate_limit_that_is_not_told() -> None:
    """Where an upstream does not say what it allows, there is no number."""
    told = page(upstream("docker.io", "unknown", RateLimit(None, None)))

    assert not any("ratelimit" in name for name in told)
    assert told['obol_cache_upstream_ok{registry="docker.io"}'] == 1


def test_content_type() -> None:
    """The page says what format it has."""
    code, content_type, _ = metrics(status(), {})

    assert code == 200
    assert content_type.startswith("text/plain; version=")
