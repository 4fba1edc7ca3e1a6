from pathlib import Path

import pytest

from obol.caches.builtin.plan import BuiltinPlan
from obol.caches.builtin.process import BuiltinEngine
from obol.caches.containers.plan import ContainersPlan
from obol.caches.warming import Warming
from obol.client.ports import Limits
from obol.errors import DependencyMissing
from obol.wiring.caches import builtin_cache
from obol.wiring.containers import cache_containers, start_containers
from obol.wiring.warming import warming


def test_builtin_cache(tmp_path: Path) -> None:
    """The engine as a background process is one of the caches that the command line knows."""
    engine = builtin_cache(BuiltinPlan(tmp_path / "store"))

    assert isinstance(engine, BuiltinEngine)
    assert engine.status() is None


def test_warming(tmp_path: Path) -> None:
    """Warming fills the cache that it was given."""
    engine = builtin_cache(BuiltinPlan(tmp_path / "store"))

    assert isinstance(warming(engine, None, Limits()), Warming)


def test_cache_containers(tmp_path: Path) -> None:
    """A cache root that is not there has no trace of containers."""
    assert not cache_containers(tmp_path / "none").traces()


async def test_start_containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Docker there are no containers to start."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(DependencyMissing):
        await start_containers(ContainersPlan(tmp_path, ()))
