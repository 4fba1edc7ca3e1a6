"""The caches as commands use them: the background process, and the way to bring images into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from obol.caches.builtin import BuiltinEngine

if TYPE_CHECKING:
    from obol.caches.base import CacheEngine
    from obol.caches.plan import BuiltinPlan
    from obol.caches.warming import Warming
    from obol.client.base import Limits
    from obol.client.platforms import Selection


def builtin_cache(plan: BuiltinPlan) -> CacheEngine:
    """The builtin engine as a background process."""
    return BuiltinEngine(plan)


def warming(cache: CacheEngine, platforms: Selection, limits: Limits) -> Warming:
    """The way to bring images into a cache."""
    from obol.caches.warming import Warming  # noqa: PLC0415 - loads the HTTP client, which `cache status` has no use for
    from obol.machine.clock import SystemClock  # noqa: PLC0415 - loads the HTTP client, which `cache status` has no use for

    return Warming(cache, platforms, limits, SystemClock())
