"""An origin in the test's own loop, with two small images."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from obol.demo.images import Collection, Shape, make
from obol.demo.origin import OriginServer, SlowLink

SHAPES = (Shape("ghcr.io/demo/app:1", (5_000, 300_000)), Shape("quay.io/demo/tool:1", (9_000,)))


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    """Two images, made into a directory."""
    folder = tmp_path / "images"
    folder.mkdir()
    return make(SHAPES, folder, lambda _: None)


@pytest.fixture
async def origin(collection: Collection) -> AsyncIterator[OriginServer]:
    """Their registry, on a link without limits."""
    async with OriginServer(collection, SlowLink()) as running:
        yield running
