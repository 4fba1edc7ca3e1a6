"""What happened, counted per upstream. Plain integers: a hit must not pay for a metrics library."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Counts since the engine started; bytes are of manifests and blobs, without headers."""

    hit: int = 0
    """Answered from what was stored, or by joining a transfer that somebody else had started."""
    miss: int = 0
    """Answered by asking the upstream."""
    stale: int = 0
    """Answered with what a tag meant before, because the upstream could not be asked."""
    error: int = 0
    """Refused."""
    bytes_from_cache: int = 0
    bytes_from_upstream: int = 0
    fill_seconds: float = 0.0
    """Time in which at least one blob was being fetched; with `fill_bytes` the throughput."""
    fill_bytes: int = 0
    fills_failed: int = 0
    fills_stalled: int = 0
    """Transfers that were ended because nothing advanced them."""
    corrupt: int = 0
    """Transfers whose digest was wrong."""

    def throughput(self) -> float | None:
        """Bytes a second of blobs from the upstream, None where too little was fetched to tell."""
        if self.fill_bytes < 1024 * 1024 or self.fill_seconds <= 0:
            return None
        return self.fill_bytes / self.fill_seconds
