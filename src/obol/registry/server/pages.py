"""Pages beside the registry: /healthz and /metrics. Neither changes anything, and neither waits for an upstream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from msgspec.structs import asdict

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from obol.registry.control.api import EngineStatus

PLAIN = "text/plain; charset=utf-8"


class StatusCollector:
    """A status as Prometheus metrics. Labels are registries only, so their number is that of the settings."""

    def __init__(self, status: EngineStatus, bad_transfers: Mapping[str, Mapping[str, int]]) -> None:
        self._status = status
        self._bad_transfers = bad_transfers
        """By registry and reason."""

    def collect(self) -> Iterator[Metric]:
        """What prometheus-client calls."""
        # Imported here: it takes longer than the whole start of the engine may, and most engines are never scraped.
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415 - takes longer than a whole start may, and most engines are never scraped

        status = self._status
        requests = CounterMetricFamily("obol_cache_requests", "Requests by outcome.", labels=["registry", "outcome"])
        cached = CounterMetricFamily("obol_cache_served_bytes", "Bytes served from the cache.", labels=["registry"])
        fetched = CounterMetricFamily("obol_cache_fetched_bytes", "Bytes from the upstream.", labels=["registry"])
        asked = CounterMetricFamily("obol_cache_upstream_requests", "Requests to the upstream.", labels=["registry"])
        left = GaugeMetricFamily("obol_cache_ratelimit_remaining", "What the upstream allows.", labels=["registry"])
        healthy = GaugeMetricFamily("obol_cache_upstream_ok", "1 unless failing or limited.", labels=["registry"])
        ended = CounterMetricFamily("obol_cache_bad_transfers", "Blobs not fetched.", labels=["registry", "why"])
        for upstream in status.upstreams:
            label = [upstream.registry]
            for why, count in self._bad_transfers.get(upstream.registry, {}).items():
                ended.add_metric([upstream.registry, why], count)
            for outcome, count in asdict(upstream.requests).items():
                requests.add_metric([upstream.registry, outcome], count)
            cached.add_metric(label, upstream.bytes_from_cache)
            fetched.add_metric(label, upstream.bytes_from_upstream)
            asked.add_metric(label, upstream.upstream_requests)
            healthy.add_metric(label, float(upstream.health in {"ok", "unknown"}))
            if upstream.ratelimit is not None and upstream.ratelimit.remaining is not None:
                left.add_metric(label, upstream.ratelimit.remaining)
        yield from (requests, cached, fetched, asked, left, healthy, ended)
        yield GaugeMetricFamily("obol_cache_content_bytes", "Bytes of complete content.", value=status.content.size)
        yield GaugeMetricFamily("obol_cache_content_objects", "Complete objects.", value=status.content.count)
        yield GaugeMetricFamily("obol_cache_fills", "Blobs being fetched.", value=status.fills)


def metrics(status: EngineStatus, bad_transfers: Mapping[str, Mapping[str, int]]) -> tuple[int, str, bytes]:
    """The page that Prometheus scrapes."""
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest  # noqa: PLC0415 - takes longer than a whole start may, and most engines are never scraped

    registry = CollectorRegistry(auto_describe=False)
    registry.register(StatusCollector(status, bad_transfers))
    return 200, CONTENT_TYPE_LATEST, generate_latest(registry)


async def healthz() -> tuple[int, str, bytes]:
    """We answer, therefore we live."""
    return 200, PLAIN, b"ok\n"
