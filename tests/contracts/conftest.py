"""The adapters of the store, so that a contract test runs on each."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from obol.registry.store.disk.opening import open_store
from obol.registry.store.ports import Store
from tests.fakes.store import MemoryStore


@pytest.fixture(params=["disk", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store of each kind."""
    if request.param == "memory":
        yield MemoryStore()
        return
    opened = open_store(tmp_path / "store")
    yield opened
    await opened.close()
