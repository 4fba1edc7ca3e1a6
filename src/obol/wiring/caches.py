"""The builtin engine as commands use it. It stands alone: `cache status` loads neither Docker nor an HTTP client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from obol.caches.builtin.process import BuiltinEngine

if TYPE_CHECKING:
    from obol.caches.builtin.plan import BuiltinPlan


def builtin_cache(plan: BuiltinPlan) -> BuiltinEngine:
    """The builtin engine as a background process."""
    return BuiltinEngine(plan)
