from __future__ import annotations

from typing import TYPE_CHECKING

from obol.caches.builtin import BuiltinEngine
from obol.caches.plan import BuiltinPlan
from obol.caches.warming import Warming
from obol.client.base import Limits
from obol.wiring.caches import builtin_cache, warming

if TYPE_CHECKING:
    from pathlib import Path


def test_builtin_cache(tmp_path: Path) -> None:
    """The engine as a background process is one of the caches that the command line knows."""
    engine = builtin_cache(BuiltinPlan(tmp_path / "store"))

    assert isinstance(engine, BuiltinEngine)
    assert engine.status() is None


def test_warming(tmp_path: Path) -> None:
    """Warming fills the cache that it was given."""
    engine = builtin_cache(BuiltinPlan(tmp_path / "store"))

    assert isinstance(warming(engine, None, Limits()), Warming)
