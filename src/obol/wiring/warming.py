"""The way to bring images into a cache, as commands use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from obol.caches.warming import Warming
from obol.machine.clock import SystemClock

if TYPE_CHECKING:
    from obol.caches.builtin.process import BuiltinEngine
    from obol.client.platforms import Selection
    from obol.client.ports import Limits


def warming(cache: BuiltinEngine, platforms: Selection, limits: Limits) -> Warming:
    """The way to bring images into a cache."""
    return Warming(cache, platforms, limits, SystemClock())
